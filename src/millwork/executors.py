"""Where a step runs: ``--executor local`` now; a cluster is one more function here."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from . import worker
from .errors import UsageError
from .values import Value
from .worker import USUAL, USUAL_SANDBOX, Done, Failure, Limits, Sandbox

R = TypeVar("R")


class Executor(Protocol):
    """Runs one step somewhere; the rest is as :func:`millwork.worker.run` says."""

    def run(
        self,
        step: str,
        request: msgspec.Struct,
        reply: type[R],
        *,
        folder: Path,
        limits: Limits = USUAL,
        threads: int | None = None,
        sandbox: Sandbox = USUAL_SANDBOX,
    ) -> Done[R] | Failure:
        """The step's reply, or why there is none."""
        ...


class LocalExecutor(Value, frozen=True):
    """A process on this machine for every step."""

    def run(
        self,
        step: str,
        request: msgspec.Struct,
        reply: type[R],
        *,
        folder: Path,
        limits: Limits = USUAL,
        threads: int | None = None,
        sandbox: Sandbox = USUAL_SANDBOX,
    ) -> Done[R] | Failure:
        """:func:`millwork.worker.run`, here."""
        return worker.run(step, request, reply, folder=folder, limits=limits, threads=threads, sandbox=sandbox)


def parse(text: str) -> Executor:
    """The executor that ``--executor`` names: ``local``. Raises :class:`UsageError` for any other."""
    if text == "local":
        return LocalExecutor()
    if text.startswith("ray://"):
        raise UsageError(
            f"--executor {text}: Ray isn't supported in this version",
            "Use --executor local, on the machine that has the target.",
        )
    raise UsageError(f"--executor {text}: expected local", "Leave it out to run the steps on this machine.")
