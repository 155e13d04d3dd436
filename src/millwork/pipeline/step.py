"""A step of a run: in a process of its own, within limits, its result kept in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ..artifacts.manifest import stays_inside
from ..errors import MachineError, ModelError, TargetError, UsageError
from ..storage.run_directory import Stage
from ..worker import MOST_MEMORY, Done, Failure, Limits, Sandbox
from .run import Run

R = TypeVar("R")

LIMITS = Limits(seconds=1800.0, memory_bytes=MOST_MEMORY)
"""A step that takes longer, or more of the machine's memory, has failed."""


class StepError(Exception):
    """A step failed. Where a candidate's did, it ends with its candidate, and the run goes on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure

    @classmethod
    def saying(cls, message: str) -> StepError:
        """Of a step that ended well and left what nobody asked for."""
        return cls(Failure(kind="error", message=message))


@dataclass(frozen=True)
class Step(Generic[R]):
    """What a process is asked: ``name`` is ``module:function``, ``reply`` the type of its answer. ``reads``: folders
    that it may read beside the files that ``request`` names. ``gpu``: it works on a GPU."""

    name: str
    request: msgspec.Struct
    reply: type[R]
    reads: tuple[Path, ...] = ()
    gpu: bool = False


def run_step(run: Run, step: Step[R], folder: Path) -> Done[R]:
    """The step's answer, its files in ``folder``. StepError where it fails."""
    done = run.executor.run(
        step.name,
        step.request,
        step.reply,
        folder=folder,
        limits=LIMITS,
        sandbox=Sandbox(reads=step.reads, on=not run.plan.trust, gpu=step.gpu),
    )
    return succeeded(done)


def succeeded(done: R | Failure) -> R:
    """The answer; StepError where there is none."""
    if isinstance(done, Failure):
        raise StepError(done)
    return done


@dataclass(frozen=True)
class Required:
    """A step that the run can't do without. ``subject`` begins the message of its failure, ``otherwise`` is the error's
    type where the step raised none of ours (a bug of ours, if None)."""

    stage: str
    subject: str
    otherwise: type[ModelError | UsageError] | None = None


def required(
    run: Run, what: Required, key: Mapping[str, object], step: Step[R], files: Callable[[R], Iterable[str]]
) -> Stage[R]:
    """The step's stage, from the run directory if it is there. Its failure ends the run, and so does a change of the
    run's own files: they are digested before, and what a step made of others isn't kept. ``files``: those that an
    answer promises."""

    def produce(folder: Path) -> R:
        try:
            answer = run_step(run, step, folder).value
        except StepError as error:
            if what.otherwise is None:
                error.failure.raise_(subject=what.subject)
            error.failure.raise_(what.otherwise, what.subject)
        run.given.require_unchanged()
        lacking = missing_files(folder, files(answer))
        if lacking:
            raise ModelError(f"{what.subject} failed: {lacking}.")
        return answer

    return run.directory.stage(what.stage, key, produce, step.reply)


def missing_files(folder: Path, names: Iterable[str]) -> str:
    """What of the files that a step's answer promises isn't there, or isn't its folder's; or nothing."""
    for name in names:
        if not stays_inside(folder, name):
            return f"it named {name[:100]!r}, which isn't a file of its own"
        if not (folder / name).is_file():
            return f"it left no {name}"
    return ""


def reason(error: StepError) -> tuple[str, bool]:
    """Why a candidate's step failed, and whether that is for want of something that could be installed. What is the
    machine's fault (a disk that is full, a limit), or another UsageError, ends the run instead."""
    failure = error.failure
    if failure.error_type in (UsageError.__name__, MachineError.__name__):
        failure.raise_()
    missing = failure.error_type == TargetError.__name__
    hint = f" ({failure.error_hint})" if failure.error_hint else ""
    return f"{failure.message}{hint}", missing


def on_gpu(run: Run) -> bool:
    """Whether the target is a GPU, and it (or another that was allowed) is here: candidates are then built and run on
    it, under the sandbox's profile for that."""
    return run.plan.target.kind == "gpu" and run.plan.measurable
