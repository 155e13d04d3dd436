"""How long an engine's work takes on a GPU, copies counted and shown apart. Standalone: numpy (and, for
:class:`CudaClock`, cuda-bindings).

A :class:`Work` has inputs that it takes in turn, so many that together they are larger than the L2 cache: one input
again and again would be read from there. Each sample is copy in, run, copy out, with a mark of the clock between them;
then the same number of runs on rows that lie on the GPU already, as a caller on the GPU has it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

SAMPLES, WARM = 704, 32
"""Above the 662 samples that a p99 takes."""
FEWEST_FOR_P99 = 662
BUDGET_S = 5.0
OVER_L2 = 2
"""The inputs together are so many times the L2 cache."""
MOST_INPUTS, MOST_BYTES = 4096, 2 << 30


class Clock(Protocol):
    """Marks on a stream, and the microseconds between two of them once :meth:`wait` came back."""

    def mark(self, place: int) -> None: ...
    def wait(self) -> None: ...
    def elapsed_us(self, first: int, last: int) -> float: ...


class Work(Protocol):
    """One engine at one batch size. ``which``: the input's number; each call enqueues on the clock's stream, or is done
    when it comes back."""

    def copy_in(self, which: int) -> None: ...
    def run(self, which: int) -> None: ...
    def copy_out(self, which: int) -> None: ...


class WallClock:
    """For engines that come back when they are done; ``finish``: what waits for those that don't."""

    def __init__(self, finish: Callable[[], object] = lambda: None) -> None:
        self._finish = finish
        self._at = [0] * 4

    def mark(self, place: int) -> None:
        self._finish()
        self._at[place] = time.perf_counter_ns()

    def wait(self) -> None:
        self._finish()

    def elapsed_us(self, first: int, last: int) -> float:
        return (self._at[last] - self._at[first]) / 1e3


class CudaClock:
    """CUDA events on a stream of the CUDA runtime (``cuda.bindings.runtime``, or what stands for it)."""

    def __init__(self, runtime: Any, stream: Any) -> None:
        self._runtime, self.stream = runtime, stream
        self._events = [_taken(runtime.cudaEventCreate()) for _ in range(4)]

    def mark(self, place: int) -> None:
        _taken(self._runtime.cudaEventRecord(self._events[place], self.stream))

    def wait(self) -> None:
        _taken(self._runtime.cudaStreamSynchronize(self.stream))

    def elapsed_us(self, first: int, last: int) -> float:
        return 1e3 * float(_taken(self._runtime.cudaEventElapsedTime(self._events[first], self._events[last])))


@dataclass(frozen=True, eq=False)
class Times:
    """Microseconds: ``parts`` float64 [N, 3] (in, run, out) of samples with copies, ``resident`` float64 [M] of runs
    alone."""

    parts: Any
    resident: Any

    def figures(self, batch: int) -> dict[str, Any]:
        """Medians of each part, of the whole and of a run alone; p99 where there are samples for it."""
        whole = self.parts.sum(axis=1)
        found: dict[str, Any] = {
            "batch": batch,
            "samples": len(self.resident),
            "run_p50_us": _quantile(self.resident, 0.5),
            "in_p50_us": _quantile(self.parts[:, 0], 0.5),
            "out_p50_us": _quantile(self.parts[:, 2], 0.5),
            "with_copies_p50_us": _quantile(whole, 0.5),
        }
        found["rows_per_s"] = batch / max(found["run_p50_us"], 1e-9) * 1e6
        if len(self.resident) >= FEWEST_FOR_P99:
            found["run_p99_us"] = _quantile(self.resident, 0.99)
            found["with_copies_p99_us"] = _quantile(whole, 0.99) if len(whole) >= FEWEST_FOR_P99 else None
        return found


def measure(work: Work, clock: Clock, inputs: int, *, samples: int = SAMPLES, budget_s: float = BUDGET_S) -> Times:
    """At least 8 samples of each kind, up to ``samples`` within the budget."""
    for which in range(min(WARM, max(inputs, 2))):
        _whole(work, clock, which % inputs)
    parts: list[tuple[float, ...]] = []
    resident: list[float] = []
    for kept, once in ((parts, _whole), (resident, _alone)):
        until = time.perf_counter() + budget_s / 2
        for number in range(samples):
            if number >= 8 and time.perf_counter() > until:
                break
            kept.append(once(work, clock, number % inputs))  # type: ignore[arg-type]
    return Times(np.array(parts), np.array(resident))


def inputs_for(l2_bytes: int, row_bytes: int, batch: int) -> int:
    """How many inputs of ``batch`` rows are more than the L2 cache, within 2 GiB; at least 3."""
    size = max(row_bytes * batch, 1)
    return max(3, min(-(-OVER_L2 * l2_bytes // size), MOST_INPUTS, MOST_BYTES // size))


def _whole(work: Work, clock: Clock, which: int) -> tuple[float, ...]:
    clock.mark(0)
    work.copy_in(which)
    clock.mark(1)
    work.run(which)
    clock.mark(2)
    work.copy_out(which)
    clock.mark(3)
    clock.wait()
    return tuple(clock.elapsed_us(first, last) for first, last in itertools.pairwise(range(4)))


def _alone(work: Work, clock: Clock, which: int) -> float:
    clock.mark(0)
    work.run(which)
    clock.mark(1)
    clock.wait()
    return clock.elapsed_us(0, 1)


def _quantile(us: Any, q: float) -> float:
    ordered = np.sort(us)
    return float(ordered[min(int(np.ceil(q * len(ordered))) - 1, len(ordered) - 1)])


def _taken(answer: tuple[Any, ...]) -> Any:
    status, *given = answer
    if int(status) != 0:
        raise RuntimeError(f"CUDA: {getattr(status, 'name', status)}")
    return given[0] if given else None
