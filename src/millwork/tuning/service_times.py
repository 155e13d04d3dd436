"""The step ``profile``: how long one call takes in process, by batch size and threads, for the queueing estimate."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..compile.runners.load import runner
from ..values import Value
from ..values.base import FilePath
from .load import tensors

CALLS, BUDGET_S = 24, 0.25
"""Calls a point, or as many as fit."""


class Engine(Value):
    """A candidate's artifact and what runs it: ``runner`` of compile/runners, ``model_file`` absolute."""

    id: str
    runner: str
    model_file: FilePath
    parameters: dict[str, str]


class ProfileRequest(Value):
    """``rows``: a file of :mod:`.load.tensors`."""

    engines: tuple[Engine, ...]
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


def profile(request: ProfileRequest) -> ProfileReply:
    """Medians of a few calls; they steer a search that measures on the server, so they needn't be exact."""
    given = tensors.read(Path(request.rows))
    found = [
        _profiled(engine, threads, given, request.batches) for engine in request.engines for threads in request.threads
    ]
    return ProfileReply(times=tuple(found))


def _profiled(engine: Engine, threads: int, given: tensors.Tensors, batches: tuple[int, ...]) -> ServiceTime:
    made = runner(engine.runner)(Path(engine.model_file), engine.parameters, threads)
    us = []
    for batch in batches:
        inputs = [tensors.as_called(one) for one in tensors.slices(given, batch)[:8]]
        made.predict(*inputs[0])
        us.append(_median(made.predict, inputs))
    return ServiceTime(id=engine.id, threads=threads, batches=batches, us=tuple(us))


def _median(predict: object, inputs: list[list[npt.NDArray[np.float32]]]) -> float:
    taken: list[float] = []
    deadline = time.perf_counter() + BUDGET_S
    while len(taken) < CALLS and (len(taken) < 3 or time.perf_counter() < deadline):
        began = time.perf_counter_ns()
        predict(*inputs[len(taken) % len(inputs)])  # type: ignore[operator]
        taken.append((time.perf_counter_ns() - began) / 1e3)
    return float(np.median(taken))
