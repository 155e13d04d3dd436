"""The table of Triton's backends that we serve with: what each is told, and what of it can be tuned.

One row has all that depends on the Triton backend. A candidate of ours names the backend in its own row
(compile/backends/table.py). Sources: NVIDIA's documentation of each backend (the FIL backend's model_config.md, the
READMEs of the onnxruntime, python and TensorRT backends).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..compile.kernel import TRITON_BACKEND
from ..errors import UsageError

if TYPE_CHECKING:
    from .config import ConfigRequest

Parameters = dict[str, str]


@dataclass(frozen=True)
class OwnSetting:
    """A setting that this backend alone has, on a GPU. ``path``: where config.pbtxt says it; ``what`` it means, for the
    comment there; ``values``: those worth trying, the simplest first, from the Triton release ``since`` on."""

    name: str
    path: str
    what: str
    values: tuple[str, ...]
    since: tuple[int, int] = (0, 0)

    @property
    def is_parameter(self) -> bool:
        """Whether it is one of config.pbtxt's ``parameters``; all others have a field of their own."""
        return self.path == f"parameters[{self.name}]"


@dataclass(frozen=True)
class TritonBackendRow:
    """``default_file``: what it opens where ``default_model_filename`` names none. ``parameters``: those that
    config.pbtxt has for a model, whatever is tuned.

    ``threads``: the parameter that says how many threads one call has; empty for a backend that runs on GPUs alone.
    ``settings``: its own that are tuned; ``untuned``: parameters that are settings, too, and stay as they are found.
    ``instances``: those that Triton makes on a CPU where nothing is said. ``gpu_rows``: whether it takes rows where
    they lie on the GPU, if the candidate can. ``call_us``, ``request_us``: what it adds to each call, and for each
    request in it, in microseconds (measured; python: a hop to another process).
    """

    name: str
    default_file: str
    parameters: Callable[[ConfigRequest], Parameters]
    threads: str = ""
    settings: tuple[OwnSetting, ...] = ()
    untuned: tuple[str, ...] = ()
    instances: int = 1
    gpu_rows: bool = False
    call_us: float = 15.0
    request_us: float = 3.0

    @property
    def own_parameters(self) -> tuple[str, ...]:
        """Its own settings that are parameters."""
        return (*self.untuned, *(setting.name for setting in self.settings if setting.is_parameter))


def takes_gpu_rows(request: ConfigRequest) -> bool:
    """Whether rows are taken where they lie on the GPU; such a candidate runs nowhere else."""
    return find(request.triton_backend).gpu_rows and request.parameters.get("tensors") == "device"


# ── what each is told ─────────────────────────────────────────────────────────────────────────────────────


def _onnxruntime(_: ConfigRequest) -> Parameters:
    """The graph's optimization level is left at all; operators of a tree ensemble don't run side by side."""
    return {"inter_op_thread_count": "1"}


def _fil(request: ConfigRequest) -> Parameters:
    """A Treelite checkpoint, in the words of the release.

    A classifier is what answers with probabilities: its margins, like a regressor's values, are the plain sums of
    the trees (``threshold`` is then unused, and is required for classifiers only).
    """
    classifier = request.output.kind == "probability"
    parameters = {
        "model_type": "treelite_checkpoint",
        "predict_proba": _boolean(classifier),
        request.release.fil_dialect: _boolean(classifier),
    }
    if classifier:
        threshold = request.output.threshold
        parameters["threshold"] = repr(0.5 if threshold is None else threshold)
    if request.release.fil_dialect == "output_class":
        parameters |= {"algo": "ALGO_AUTO", "storage_type": "AUTO"}
    return parameters


def _python(request: ConfigRequest) -> Parameters:
    """The backend says yes and no where FIL says true and false."""
    return {"FORCE_CPU_ONLY_INPUT_TENSORS": "no" if takes_gpu_rows(request) else "yes"}


def _millwork(request: ConfigRequest) -> Parameters:
    """Our own backend makes labels of probabilities, and chooses its plan on a GPU, as the runner does."""
    return {name: request.parameters[name] for name in ("decision", "cut", "crossover") if name in request.parameters}


def _nothing(_: ConfigRequest) -> Parameters:
    return {}


def _boolean(value: bool) -> str:
    return "true" if value else "false"


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────

ROWS: tuple[TritonBackendRow, ...] = (
    TritonBackendRow(
        name="onnxruntime",
        default_file="model.onnx",
        parameters=_onnxruntime,
        threads="intra_op_thread_count",
        settings=(
            OwnSetting(
                "gpu_execution_accelerator",
                "optimization.execution_accelerators",
                "what runs the graph on the GPU",
                ("cuda", "tensorrt"),
            ),
        ),
        untuned=("execution_mode",),
        instances=2,
    ),
    TritonBackendRow(
        name="fil",
        default_file="checkpoint.tl",
        parameters=_fil,
        threads="cpu_nthread",
        settings=(
            OwnSetting(
                "transfer_threshold",
                "parameters[transfer_threshold]",
                "smaller batches are answered on the CPU",
                ("0", "16", "128"),
            ),
            OwnSetting(
                "chunk_size",
                "parameters[chunk_size]",
                "rows in a block of the kernel",
                ("1", "4", "16", "32"),
                since=(25, 9),
            ),
            OwnSetting(
                "layout",
                "parameters[layout]",
                "layout of the trees in memory",
                ("depth_first", "breadth_first", "layered"),
                since=(25, 9),
            ),
        ),
    ),
    TritonBackendRow(
        name="python",
        default_file="model.py",
        parameters=_python,
        threads="threads",
        gpu_rows=True,
        call_us=150.0,
        request_us=25.0,
    ),
    TritonBackendRow(
        name=TRITON_BACKEND,
        default_file="forest.packed",
        parameters=_millwork,
        threads="threads",
        gpu_rows=True,
    ),
    TritonBackendRow(
        name="tensorrt",
        default_file="model.plan",
        parameters=_nothing,
        settings=(
            OwnSetting(
                "cuda_graphs",
                "optimization.cuda.graphs",
                "kernels launched as one recorded graph",
                ("false", "true"),
            ),
            OwnSetting(
                "busy_wait_events",
                "optimization.cuda.busy_wait_events",
                "wait for the GPU by spinning instead of sleeping",
                ("false", "true"),
            ),
        ),
        untuned=("execution_context_allocation_strategy",),
    ),
)

TRITON_BACKENDS = {row.name: row for row in ROWS}


def find(name: str) -> TritonBackendRow:
    """The row of the Triton backend called ``name``. UsageError where there is none."""
    if name not in TRITON_BACKENDS:
        raise UsageError(
            f"millwork doesn't support Triton's backend {name[:100]!r}", f"Supported: {', '.join(TRITON_BACKENDS)}."
        )
    return TRITON_BACKENDS[name]
