"""The table of backends: typed thunks, imported when asked for; third parties add theirs by an entry point.

A third party's package declares ``[project.entry-points."millwork.backends"]`` with ``name = "module:function"``,
the function returning a :class:`~millwork.compile.backends.base.Backend`. A name clash is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from ...errors import UsageError
from .base import Backend

GROUP = "millwork.backends"


def _reference() -> Backend:
    from .reference import backend

    return backend()


def _onnx() -> Backend:
    from .onnx_trees import backend

    return backend()


def _fil() -> Backend:
    from .fil import backend

    return backend()


def _native() -> Backend:
    from .native import backend

    return backend()


def _tensor() -> Backend:
    from .tensor import backend

    return backend()


TABLE: dict[str, Callable[[], Backend]] = {
    "reference": _reference, "onnx": _onnx, "fil": _fil, "native": _native, "tensor": _tensor,
}  # fmt: skip


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


def provider(name: str) -> str:
    """The distribution that a third party's backend comes from, with its version; empty for ours."""
    points = [] if name in TABLE else [point for point in entry_points(group=GROUP) if point.name == name]
    return f"{points[0].dist.name} {points[0].dist.version}" if points and points[0].dist is not None else ""


def find(name: str) -> Backend:
    """The backend called ``name``. UsageError where there is none."""
    known = names()
    if name not in known:
        raise UsageError(f"unknown backend {name!r}", f"Known backends: {', '.join(known)}.")
    if name in TABLE:
        return TABLE[name]()
    point = next(point for point in entry_points(group=GROUP) if point.name == name)
    make: Callable[[], Backend] = point.load()
    return make()
