"""The tables of backends, of forests and of nets: typed thunks, imported when asked for; third parties add theirs by
an entry point.

A third party's package declares ``[project.entry-points."millwork.backends"]`` with ``name = "module:function"``,
the function returning a :class:`~millwork.compile.backends.base.Backend`. A name clash is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from ...errors import UsageError
from ..runners.load import GROUP
from .base import Backend, NetBackend


def _reference() -> Backend:
    from .reference import backend

    return backend()


def _onnx() -> Backend:
    from .onnx.trees import backend

    return backend()


def _fil() -> Backend:
    from .fil.cpu import backend

    return backend()


def _fil_cuda() -> Backend:
    from .fil.cuda import backend

    return backend()


def _native() -> Backend:
    from .native.cpu import backend

    return backend()


def _tensor(precision: str = "fp32") -> Backend:
    from .tensor.trees import backend

    return backend(precision)


def _native_cuda() -> Backend:
    from .native.cuda import backend

    return backend()


def _onnx_cuda(precision: str = "fp32") -> Backend:
    from .tensor.gpu import onnx_cuda

    return onnx_cuda(precision)


def _onnx_tensorrt(precision: str = "fp32") -> Backend:
    from .tensor.gpu import onnx_tensorrt

    return onnx_tensorrt(precision)


def _tensorrt(precision: str = "fp32") -> Backend:
    from .tensor.gpu import tensorrt

    return tensorrt(precision)


def _hummingbird() -> Backend:
    from .hummingbird.backend import backend

    return backend()


def _net_onnx(precision: str) -> NetBackend:
    from .onnx.nets import backend

    return backend(precision)


def _net_onnx_cuda(precision: str) -> NetBackend:
    from .tensorrt.nets import onnx_cuda

    return onnx_cuda(precision)


def _net_onnx_tensorrt(precision: str) -> NetBackend:
    from .tensorrt.nets import onnx_tensorrt

    return onnx_tensorrt(precision)


def _net_tensorrt(precision: str) -> NetBackend:
    from .tensorrt.nets import tensorrt

    return tensorrt(precision)


def _net_reference(precision: str) -> NetBackend:
    from .net_reference import backend

    return backend(precision)


TABLE: dict[str, Callable[[], Backend]] = {
    "reference": _reference, "onnx": _onnx, "fil": _fil, "native": _native, "tensor": _tensor,
    "hummingbird": _hummingbird, "fil-cuda": _fil_cuda, "native-cuda": _native_cuda,
    "onnx-cuda": _onnx_cuda, "onnx-tensorrt": _onnx_tensorrt, "tensorrt": _tensorrt,
}  # fmt: skip

IN_PRECISIONS: dict[str, Callable[[str], Backend]] = {
    "tensor": _tensor, "onnx-cuda": _onnx_cuda, "onnx-tensorrt": _onnx_tensorrt, "tensorrt": _tensorrt,
}  # fmt: skip
"""Those of them that have more than fp32; a precision that one can't hold is refused by it, with the reason."""
EXACT = ("fp32", "fp16", "int32")
"""What those of them have."""

NETS: dict[str, Callable[[str], NetBackend]] = {
    "reference": _net_reference, "onnx": _net_onnx, "onnx-cuda": _net_onnx_cuda,
    "onnx-tensorrt": _net_onnx_tensorrt, "tensorrt": _net_tensorrt,
}  # fmt: skip
"""The backends of nets, by name, for a precision."""

PRECISIONS = ("fp32", "fp16", "int8", "int32")
NET_PRECISIONS = {
    "reference": ("fp32",), "onnx": ("fp32", "fp16", "int8"), "onnx-cuda": ("fp32", "fp16"),
    "onnx-tensorrt": ("fp32", "fp16", "int8"), "tensorrt": ("fp32", "fp16", "int8"),
}  # fmt: skip
ON_GPU = frozenset({"fil-cuda", "native-cuda", "onnx-cuda", "onnx-tensorrt", "tensorrt"})
"""Built where the target is a GPU that is here, or where somebody names them."""
ELSEWHERE = frozenset({"hummingbird"})
"""Made by a tool of an environment of its own (toolchains.py), and only where somebody names them: what is in the cache
decides no run."""
ON_CPU = tuple(name for name in TABLE if name not in ON_GPU | ELSEWHERE)
"""Our backends of forests that any machine runs."""


@dataclass(frozen=True)
class BackendForm:
    """One candidate to be: a backend, in a precision."""

    backend: str
    precision: str

    @property
    def id(self) -> str:
        return f"{self.backend}-{self.precision}"

    @property
    def short(self) -> str:
        """Without the precision, where it is the usual one."""
        return self.backend if self.precision == "fp32" else self.id


def forms(wanted: Sequence[str], precisions: Sequence[str], *, net: bool, gpu: bool = False) -> tuple[BackendForm, ...]:
    """What is built, in the table's order. ``wanted``: backends by name, none for all; ``precisions``: none for all
    that nets have, and for fp32 of a forest, which loses nothing by another. A backend that was named and has none of
    the precisions is tried in the first of them, and says itself why it can't. ``gpu``: the target is a GPU that is
    here."""
    own = tuple(name for name in (NETS if net else names()) if name not in ELSEWHERE and (gpu or name not in ON_GPU))
    found = []
    for name in wanted or own:
        has = NET_PRECISIONS.get(name, ()) if net else PRECISIONS if name in IN_PRECISIONS else ("fp32",)
        asked = tuple(precisions) or (has if net else ("fp32",))
        fitting = [precision for precision in asked if precision in has]
        found += [
            BackendForm(name, precision)
            for precision in fitting or ((asked[:1] or ("fp32",)) if name in wanted else ())
        ]
    return tuple(found)


def demand_forms(wanted: Sequence[str], precisions: Sequence[str], *, net: bool) -> None:
    """UsageError where none of the backends that were named has anything for this kind of model, or none of them (of
    all, where none was named) has any of the ``precisions``. Of several, those that have none are lines of the
    report."""
    kind, own = ("a net", tuple(NETS)) if net else ("a forest", names())
    fitting = [name for name in wanted or own if name in own]
    if not fitting:
        raise UsageError(
            f"--backends {','.join(wanted)}: not for {kind}, which this model is", f"It has {', '.join(own)}."
        )
    has = {name: NET_PRECISIONS[name] if net else EXACT if name in IN_PRECISIONS else ("fp32",) for name in fitting}
    there = [one for one in PRECISIONS if any(one in each for each in has.values())]
    if precisions and not set(precisions) & set(there):
        by = f" by {', '.join(fitting)}" if wanted else ""
        raise UsageError(
            f"--precision {','.join(precisions)}: {kind}, which this model is, has none of it{by}",
            f"It has {', '.join(there)}.",
        )


def names() -> tuple[str, ...]:
    """Every backend's name: ours, then those of third parties. UsageError on a clash."""
    own = list(TABLE)
    for point in entry_points(group=GROUP):
        if point.name in own:
            raise UsageError(
                f"two backends are called {point.name!r}: one is from {point.value}",
                "Uninstall one of them, or ask its author to rename it.",
            )
        own.append(point.name)
    return tuple(own)


def known() -> tuple[str, ...]:
    """Every name that ``--backends`` may have."""
    return (*names(), *(name for name in NETS if name not in TABLE))


def provider(name: str) -> str:
    """The distribution that a third party's backend comes from, with its version; empty for ours."""
    points = [] if name in TABLE else [point for point in entry_points(group=GROUP) if point.name == name]
    return f"{points[0].dist.name} {points[0].dist.version}" if points and points[0].dist is not None else ""


def find_net(name: str, precision: str) -> NetBackend | None:
    """The backend of nets called ``name``; None where nets have none of that name in that precision."""
    return NETS[name](precision) if precision in NET_PRECISIONS.get(name, ()) else None


def rank(name: str) -> int:
    """How simple and portable a candidate of this backend is: the smaller, the more."""
    return NETS[name]("fp32").rank if name not in TABLE and name in NETS else find(name).rank


def find(name: str, precision: str = "fp32") -> Backend:
    """The backend of forests called ``name``. UsageError where there is none."""
    known = names()
    if name not in known:
        raise UsageError(f"unknown backend {name!r}", f"Known backends: {', '.join(known)}.")
    if precision != "fp32" and name in IN_PRECISIONS:
        return IN_PRECISIONS[name](precision)
    if name in TABLE:
        return TABLE[name]()
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    make: Callable[[], Backend] = point.load()
    return make()
