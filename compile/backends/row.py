"""One row of the table of backends: all that the rest of millwork knows of a backend before it builds anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...errors import InternalError
from ..runners.runner_rows import RUNNERS
from .base import Backend, NetBackend

B = TypeVar("B", Backend, NetBackend)


@dataclass(frozen=True)
class Form(Generic[B]):
    """What a backend has for one kind of model. ``thunk`` imports the backend, and gives it in a precision, one of
    ``precisions``."""

    thunk: Callable[[str], B]
    precisions: tuple[str, ...] = ("fp32",)


@dataclass(frozen=True)
class BackendRow:
    """``trees``, ``nets``: what it has for forests and for nets; at least one of them.

    ``runners``: under compile/runners, those that its artifacts may name (of ours, one at least). ``triton_backend``:
    the Triton backend that serves its files where it can; Triton's python backend can always. ``gpu``: it is built and
    run on a GPU only, where the target is one that is here, or where somebody names it. ``toolchain``: the environment
    of its own that makes it (toolchains.py); then it is built only where somebody names it, since what is in the cache
    decides no run. ``extra``: our extra that brings its engine, where that isn't its runner's. ``more``: distributions
    beside those of its runners' engines whose version decides what it answers or how fast. ``provider``: of a third
    party's, its distribution with the version; empty for ours.
    """

    name: str
    trees: Form[Backend] | None = None
    nets: Form[NetBackend] | None = None
    runners: tuple[str, ...] = ()
    triton_backend: str = "python"
    gpu: bool = False
    toolchain: str = ""
    extra: str = ""
    more: tuple[str, ...] = ()
    provider: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self.runners if name not in RUNNERS]
        if unknown:
            raise InternalError(
                f"the backend {self.name} is run by {unknown[0]!r}, which isn't in the table of runners",
                "Add its row to compile/runners/runner_rows.py.",
            )
        if self.trees is None and self.nets is None:
            raise InternalError(f"the backend {self.name} has a form neither for forests nor for nets")
        if not self.distributions:
            raise InternalError(
                f"the backend {self.name} names no runner, and no distribution of its engine",
                "Another version of the engine would be taken for the one that was checked and measured.",
            )

    @property
    def distributions(self) -> tuple[str, ...]:
        """Those whose versions are part of the cache key: of its runners' engines, and its own."""
        of_runners = itertools.chain.from_iterable(RUNNERS[name].versioned for name in self.runners)
        return tuple(dict.fromkeys((*of_runners, *self.more)))
