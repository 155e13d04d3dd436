"""The table of runners: one row an engine, with all that is known of the engine without importing it.

A new engine is a file beside this one, ``NAME_runner.py``, and a row here. A runner's file can't hold its own row: it
imports its engine, and knows nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InternalError, ModelError


@dataclass(frozen=True)
class RunnerRow:
    """``name``: the runner's file, without ``.py``. ``engine``: what it runs on, as reports call it.

    ``distributions``: the names under which pip may have installed the engine (any of them will do); ``more``: what the
    runner imports beside it. The versions of all of them are part of the cache key, so that what was checked and
    measured with another engine isn't taken for this one's. ``extra``: our extra that brings the engine; empty where
    none is needed. ``packages``: what an artifact may ask pip for, in the environment of Triton's python backend.
    ``framework``: the framework that reads its own models by it (the oracle, and the ``reference`` candidate); empty
    for all others. ``purpose``: what ``millwork doctor`` says that it is for; without one, doctor doesn't list it.
    ``beside``: files here that the runner imports, and that are copied beside an artifact with it.
    """

    name: str
    engine: str
    distributions: tuple[str, ...]
    more: tuple[str, ...] = ()
    extra: str = ""
    packages: tuple[str, ...] = ()
    framework: str = ""
    purpose: str = ""
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.distributions:
            raise InternalError(
                f"the runner {self.name} names no distribution of its engine",
                "Without it, another version of the engine would pass for the one that was checked and measured.",
            )

    @property
    def versioned(self) -> tuple[str, ...]:
        """The distributions whose versions are part of the cache key."""
        return (*self.distributions, *self.more)

    @property
    def hint(self) -> str:
        """How the engine is installed."""
        return install_words(self.extra)


def install_words(extra: str) -> str:
    """How what our ``extra`` brings is installed."""
    return f"pip install 'millwork[{extra}]'" if extra else "Install it."


ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
XGBOOST = ("xgboost", "xgboost-cpu")
"""xgboost-cpu is XGBoost without its GPU parts (from 2.1 on)."""
LABELS = ("labels.py",)

ROWS: tuple[RunnerRow, ...] = (
    RunnerRow(
        name="xgboost_runner",
        engine="xgboost",
        distributions=XGBOOST,
        extra="xgboost",
        packages=(*XGBOOST, "pandas"),
        framework="xgboost",
        purpose="the oracle and baseline of XGBoost models",
        beside=LABELS,
    ),
    RunnerRow(
        name="catboost_runner",
        engine="catboost",
        distributions=("catboost",),
        extra="catboost",
        packages=("catboost",),
        framework="catboost",
        purpose="reads .cbm; the oracle and baseline of CatBoost models",
        beside=LABELS,
    ),
    RunnerRow(
        name="torch_runner",
        engine="torch",
        distributions=("torch",),
        extra="torch",
        packages=("torch",),
        framework="torch",
        purpose="reads nets; their oracle and baseline",
    ),
    RunnerRow(
        name="onnx_runner",
        engine="onnxruntime",
        distributions=ONNXRUNTIME,
        extra="cpu",
        packages=ONNXRUNTIME,
        purpose="runs the onnx candidate",
    ),
    RunnerRow(
        name="treelite_runner",
        engine="treelite",
        distributions=("treelite",),
        extra="treelite",
        packages=("treelite",),
        purpose="runs the fil candidate's checkpoint",
        beside=LABELS,
    ),
    RunnerRow(name="native_runner", engine="millwork-kernel", distributions=("millwork",), beside=LABELS),
    RunnerRow(
        name="nvforest_runner",
        engine="nvForest",
        distributions=("nvforest-cu13",),
        more=("treelite",),
        extra="gpu",
        packages=("nvforest-cu13", "treelite"),
    ),
    RunnerRow(
        name="cuda_runner",
        engine="millwork-cuda",
        distributions=("millwork",),
        more=("cuda-bindings",),
        extra="gpu",
        packages=("cuda-bindings",),
        beside=LABELS,  # the modules of CUDA are among an artifact's own files
    ),
    RunnerRow(
        name="tensorrt_runner",
        engine="TensorRT",
        distributions=("tensorrt",),
        more=("cuda-bindings",),
        extra="gpu",
        packages=("tensorrt", "cuda-python"),
        purpose="builds engines of nets on a GPU machine",
    ),
)

RUNNERS = {row.name: row for row in ROWS}
FRAMEWORKS = {row.framework: row for row in ROWS if row.framework}
"""The frameworks whose models are read, and the runner of each."""


def find(name: str) -> RunnerRow:
    """The row of one of our runners. ModelError where there is none: the name stands in an artifact's manifest."""
    if name not in RUNNERS:
        raise ModelError(f"unknown runner {name[:100]!r}", f"Known runners: {', '.join(RUNNERS)}.")
    return RUNNERS[name]


def of_framework(framework: str) -> RunnerRow:
    """The row of a framework's own runner. ModelError where the framework isn't known."""
    if framework not in FRAMEWORKS:
        raise ModelError(f"unknown framework {framework[:100]!r}", f"Known frameworks: {', '.join(FRAMEWORKS)}.")
    return FRAMEWORKS[framework]
