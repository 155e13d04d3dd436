"""What the GPU itself says of a measurement: its own time of a call, its clocks, what slowed it, a model's memory.

A runner on a GPU counts its last call by CUDA events (``last_us``): a number of microseconds, with ``copies_us`` where
copies are counted apart; or ``in``, ``run`` and ``out`` by name. One that is empty there counts nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from ..compile.runners import gpu_watch
from ..values import Latency
from .rows.given import Given

CALLS = 64
"""Of which the median is said."""


class Watched:
    """The state of the GPU at a few moments; nothing where there is no NVML, or nothing that runs on a GPU."""

    def __init__(self, *, on_gpu: bool) -> None:
        self._watch = gpu_watch.watch() if on_gpu else None

    def state(self) -> gpu_watch.State | None:
        return None if self._watch is None else self._watch.state()


def memory(before: gpu_watch.State | None, after: gpu_watch.State | None) -> int | None:
    """Bytes on the GPU that came between two states."""
    return None if before is None or after is None else gpu_watch.memory_of(before, after)


def noted(line: Latency, engine: Any, given: Given, *states: gpu_watch.State | None) -> Latency:
    """``line`` of an engine on a GPU with its states before and after the line was taken, and with its own time of
    calls of the line's batch where the engine counts that."""
    seen = [state for state in states if state is not None]
    line = msgspec.structs.replace(
        line, gpu_state=tuple(gpu_watch.words(state) for state in seen), slowed=gpu_watch.slowed(*seen)
    )
    if getattr(engine, "last_us", {}) == {}:
        return line
    took = [_last(engine, given, rows) for rows in _turns(len(given), line.batch)]
    copies = [apart for _, apart in took if apart is not None]
    return msgspec.structs.replace(
        line,
        gpu_us=float(np.median([run for run, _ in took])),
        copies_us=float(np.median(copies)) if len(copies) == len(took) else None,
    )


def slowed(lines: Sequence[Latency]) -> str:
    """Why these figures are worse than the GPU's own; empty where they aren't."""
    return ", ".join(dict.fromkeys(line.slowed for line in lines if line.slowed))


def _last(engine: Any, given: Given, rows: Any) -> tuple[float, float | None]:
    """The GPU's microseconds of a call, and of its copies; None where they are within."""
    engine.predict(*given[rows].parts)
    if isinstance(engine.last_us, dict):
        return engine.last_us["run"], engine.last_us["in"] + engine.last_us["out"]
    return float(engine.last_us), getattr(engine, "copies_us", None)


def _turns(rows: int, batch: int) -> list[Any]:
    """The rows of each of the calls, taken in turn."""
    starts = itertools.islice(itertools.count(0, batch), CALLS)
    return [(np.arange(batch) + start) % rows for start in starts]
