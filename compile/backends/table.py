"""The table of backends: one row each. Importing it imports no backend: a row's thunk does, when it is asked.

A new backend is a folder beside this file, a thunk and a row here. Where its engine is new, too, it has a runner and
that runner's row (compile/runners/runner_rows.py). Nothing else has to be touched.

A third party's package declares ``[project.entry-points."millwork.backends"]`` with ``name = "module:function"``,
the function returning a :class:`~millwork.compile.backends.base.Backend`. A name clash is an error.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from ...errors import InternalError, UsageError
from ..runners.load import GROUP, distributions_of
from .base import Backend, NetBackend
from .row import BackendRow, Form

# ── how each is imported ──────────────────────────────────────────────────────────────────────────────────


def _reference(_precision: str) -> Backend:
    from .reference import backend

    return backend()


def _net_reference(precision: str) -> NetBackend:
    from .net_reference import backend

    return backend(precision)


def _onnx(_precision: str) -> Backend:
    from .onnx.trees import backend

    return backend()


def _net_onnx(precision: str) -> NetBackend:
    from .onnx.nets import backend

    return backend(precision)


def _fil(_precision: str) -> Backend:
    from .fil.cpu import backend

    return backend()


def _fil_cuda(_precision: str) -> Backend:
    from .fil.cuda import backend

    return backend()


def _native(_precision: str) -> Backend:
    from .native.cpu import backend

    return backend()


def _native_cuda(_precision: str) -> Backend:
    from .native.cuda import backend

    return backend()


def _tensor(precision: str) -> Backend:
    from .tensor.trees import backend

    return backend(precision)


def _hummingbird(_precision: str) -> Backend:
    from .hummingbird.backend import backend

    return backend()


def _onnx_cuda(precision: str) -> Backend:
    from .tensor.gpu import onnx_cuda

    return onnx_cuda(precision)


def _net_onnx_cuda(precision: str) -> NetBackend:
    from .tensorrt.nets import onnx_cuda

    return onnx_cuda(precision)


def _onnx_tensorrt(precision: str) -> Backend:
    from .tensor.gpu import onnx_tensorrt

    return onnx_tensorrt(precision)


def _net_onnx_tensorrt(precision: str) -> NetBackend:
    from .tensorrt.nets import onnx_tensorrt

    return onnx_tensorrt(precision)


def _tensorrt(precision: str) -> Backend:
    from .tensor.gpu import tensorrt

    return tensorrt(precision)


def _net_tensorrt(precision: str) -> NetBackend:
    from .tensorrt.nets import tensorrt

    return tensorrt(precision)


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────

PRECISIONS = ("fp32", "fp16", "int8", "int32")
"""All that there are."""
EXACT = ("fp32", "fp16", "int32")
"""Those in which trees can be compared without a loss."""

ROWS: tuple[BackendRow, ...] = (
    BackendRow(
        name="reference",
        trees=Form(_reference),
        nets=Form(_net_reference),
        runners=("xgboost_runner", "catboost_runner", "torch_runner"),
    ),
    BackendRow(
        name="onnx",
        trees=Form(_onnx),
        nets=Form(_net_onnx, ("fp32", "fp16", "int8")),
        runners=("onnx_runner",),
        triton_backend="onnxruntime",
    ),
    BackendRow(name="fil", trees=Form(_fil), runners=("treelite_runner",), triton_backend="fil"),
    BackendRow(name="native", trees=Form(_native), runners=("native_runner",), triton_backend="millwork"),
    BackendRow(name="tensor", trees=Form(_tensor, EXACT), runners=("onnx_runner",), triton_backend="onnxruntime"),
    BackendRow(
        name="hummingbird",
        trees=Form(_hummingbird),
        runners=("onnx_runner",),
        triton_backend="onnxruntime",
        toolchain="hummingbird",
    ),
    BackendRow(
        name="fil-cuda",
        trees=Form(_fil_cuda),
        runners=("nvforest_runner",),
        triton_backend="fil",
        gpu=True,
    ),
    BackendRow(
        name="native-cuda",
        trees=Form(_native_cuda),
        runners=("cuda_runner",),
        triton_backend="millwork",
        gpu=True,
    ),
    BackendRow(
        name="onnx-cuda",
        trees=Form(_onnx_cuda, EXACT),
        nets=Form(_net_onnx_cuda, ("fp32", "fp16")),
        runners=("onnx_runner",),
        triton_backend="onnxruntime",
        gpu=True,
        extra="gpu",
    ),
    BackendRow(
        name="onnx-tensorrt",
        trees=Form(_onnx_tensorrt, EXACT),
        nets=Form(_net_onnx_tensorrt, ("fp32", "fp16", "int8")),
        runners=("onnx_runner",),
        triton_backend="onnxruntime",
        gpu=True,
        extra="gpu",
        more=("tensorrt",),
    ),
    BackendRow(
        name="tensorrt",
        trees=Form(_tensorrt, EXACT),
        nets=Form(_net_tensorrt, ("fp32", "fp16", "int8")),
        runners=("tensorrt_runner",),
        triton_backend="tensorrt",
        gpu=True,
    ),
)

OURS = {one.name: one for one in ROWS}
ON_CPU = tuple(one.name for one in ROWS if one.trees is not None and not one.gpu and not one.toolchain)
"""Our backends of forests that any machine runs."""

# ── looking it up ─────────────────────────────────────────────────────────────────────────────────────────


def rows() -> tuple[BackendRow, ...]:
    """Every backend's row: ours, then those that third parties' entry points make. UsageError on a clash of names."""
    found = dict(OURS)
    for point in entry_points(group=GROUP):
        if point.name in found:
            raise UsageError(
                f"two backends are called {point.name!r}: one is from {point.value}",
                "Uninstall one of them, or ask its author to rename it.",
            )
        found[point.name] = _of_third_party(point)
    return tuple(found.values())


def row(name: str) -> BackendRow:
    """The row of the backend called ``name``. UsageError where there is none."""
    found = OURS if name in OURS else {one.name: one for one in rows()}
    if name not in found:
        raise UsageError(f"unknown backend {name!r}", f"Known backends: {', '.join(found)}.")
    return found[name]


def names() -> tuple[str, ...]:
    """The backends of forests, ours first. UsageError on a clash of names."""
    return tuple(one.name for one in rows() if one.trees is not None)


def net_names() -> tuple[str, ...]:
    """The backends of nets."""
    return tuple(one.name for one in rows() if one.nets is not None)


def known() -> tuple[str, ...]:
    """Every name that ``--backends`` may have."""
    return tuple(one.name for one in rows())


def find(name: str, precision: str = "fp32") -> Backend:
    """The backend of forests called ``name``. UsageError where there is none."""
    form = row(name).trees
    if form is None:
        raise UsageError(f"the backend {name!r} takes no forests", f"Those that do: {', '.join(names())}.")
    return form.thunk(precision)


def find_net(name: str, precision: str) -> NetBackend | None:
    """The backend of nets called ``name``; None where it has nothing for nets in that precision. UsageError where there
    is none of that name."""
    form = row(name).nets
    return form.thunk(precision) if form is not None and precision in form.precisions else None


def rank(name: str) -> int:
    """How simple and portable a candidate of this backend is: the smaller, the more."""
    found = row(name)
    if found.trees is not None:
        return found.trees.thunk("fp32").rank
    if found.nets is not None:
        return found.nets.thunk("fp32").rank
    raise InternalError(f"the backend {name} has a form neither for forests nor for nets")


def provider(name: str) -> str:
    """The distribution that a third party's backend comes from, with its version; empty for ours."""
    return row(name).provider


def _of_third_party(point: EntryPoint) -> BackendRow:
    """The row of a third party's backend, of forests in fp32. Its code isn't imported before it is built."""

    def theirs(_precision: str) -> Backend:
        made: Backend = point.load()()
        return made

    if point.dist is None:
        raise InternalError(f"the backend {point.name} comes from no installed distribution: {point.value}")
    return BackendRow(
        name=point.name,
        trees=Form(theirs),
        more=distributions_of(point.dist),
        provider=f"{point.dist.name} {point.dist.version}",
    )
