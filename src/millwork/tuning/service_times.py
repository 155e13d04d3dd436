"""How long one call takes in process, by batch size and threads, for the queueing estimate: the step ``profile``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ..artifacts.bundle import Bundle
from ..compile.runners.load import runner
from ..errors import TargetError
from ..executors import Executor
from ..values import Value
from ..values.base import FilePath
from ..worker import MOST_MEMORY, Failure, Limits, Sandbox
from .load import tensors

PROFILED = (1, 4, 16, 64, 256, 1024)
"""Rows a call."""
LIMITS = Limits(seconds=120.0, memory_bytes=MOST_MEMORY)
STEP = "millwork.tuning.service_times:profile"

CALLS, BUDGET_S = 24, 0.25
"""Calls a point, or as many as fit."""


class RunnerFile(Value):
    """A candidate's file and what runs it: ``runner`` of compile/runners, ``model_file`` absolute."""

    id: str
    runner: str
    model_file: FilePath
    parameters: dict[str, str]

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """The file that ``bundle`` serves."""
        manifest = bundle.manifest
        return cls(
            id=manifest.candidate_id,
            runner=manifest.runner,
            model_file=str(bundle.folder / manifest.model_file),
            parameters=manifest.parameters,
        )


class ProfileRequest(Value):
    """``rows``: a file of :mod:`.load.tensors`."""

    files: tuple[RunnerFile, ...]
    rows: FilePath
    batches: tuple[int, ...]
    threads: tuple[int, ...]


class ServiceTime(Value):
    """Microseconds of one call by batch size, ascending."""

    id: str
    threads: int
    batches: tuple[int, ...]
    us: tuple[float, ...]

    def at(self, rows: int) -> float:
        """Microseconds of a call of ``rows``: linear between what was measured, and beyond the largest in its slope."""
        if rows >= self.batches[-1]:
            if len(self.batches) == 1:
                return self.us[0] * rows / self.batches[0]
            slope = (self.us[-1] - self.us[-2]) / (self.batches[-1] - self.batches[-2])
            return self.us[-1] + max(slope, 0.0) * (rows - self.batches[-1])
        return float(np.interp(rows, self.batches, self.us))


class ProfileReply(Value):
    times: tuple[ServiceTime, ...]


def measured(
    executor: Executor, request: ProfileRequest, folder: Path, *, gpu: bool, confined: bool = True
) -> ProfileReply:
    """How long one call of each engine takes here. It may read what lies beside a model's file, as its runner does.
    TargetError where that can't be had: an engine isn't here or dies of it, or it is to be ``confined``, and the kernel
    has no sandbox."""
    beside = tuple(Path(file.model_file).parent for file in request.files)
    done = executor.run(
        STEP,
        request,
        ProfileReply,
        folder=folder,
        limits=LIMITS,
        sandbox=Sandbox(reads=beside, on=confined, gpu=gpu),
    )
    if isinstance(done, Failure):
        raise TargetError(done.message)
    return done.value


def profile(request: ProfileRequest) -> ProfileReply:
    """Medians of a few calls; they steer a search that measures on the server, so they needn't be exact."""
    given = tensors.read(Path(request.rows))
    found = [_profiled(file, threads, given, request.batches) for file in request.files for threads in request.threads]
    return ProfileReply(times=tuple(found))


def _profiled(file: RunnerFile, threads: int, given: tensors.Tensors, batches: tuple[int, ...]) -> ServiceTime:
    made = runner(file.runner)(Path(file.model_file), file.parameters, threads)
    us = []
    for batch in batches:
        inputs = [tensors.as_called(one) for one in tensors.slices(given, batch)[:8]]
        made.predict(*inputs[0])
        us.append(_median(made.predict, inputs))
    return ServiceTime(id=file.id, threads=threads, batches=batches, us=tuple(us))


def _median(predict: object, inputs: list[list[npt.NDArray[np.float32]]]) -> float:
    taken: list[float] = []
    deadline = time.perf_counter() + BUDGET_S
    while len(taken) < CALLS and (len(taken) < 3 or time.perf_counter() < deadline):
        began = time.perf_counter_ns()
        predict(*inputs[len(taken) % len(inputs)])  # type: ignore[operator]
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return float(np.median(taken))
