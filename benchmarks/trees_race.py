"""How trees.py and nets.py time engines against each other: a process each, all on one core, one at work at a time.

In a round each engine has a turn: some calls untimed, which bring its forest back into the caches, then calls timed one
by one. The next round goes the other way round (ABBA), so that a drift of the machine is nobody's. An interval is that
of medians over rounds drawn anew, the same ones for both engines of a ratio: calls of one turn aren't independent.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

WORKER = Path(__file__).with_name("trees_worker.py")
ROUNDS, FEWEST, MOST = 20, 6, 60
"""Rounds that a cell's time is cut for; no fewer, however long calls take; no more, however short."""
CALLS = 100
"""Calls of a turn, at most."""
WARM, LONG_S = 256, 0.1
"""Rows that an engine is asked, untimed, at the start of its turn; none where a call takes so many seconds."""
LONGER = 3
"""How many times a cell's time the fewest rounds may take before slow engines are left out."""
DRAWS, INTERVAL = 300, (2.5, 97.5)
SINGLE = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "DAAL")}


class EngineError(Exception):
    """The engine can't be loaded, or died: its own words."""


class Engine:
    """A worker that waits. ``forest``: what it is to load, ``cores``: where it runs."""

    def __init__(self, name: str, python: str, forest: Path, cores: Sequence[int], worker: Path = WORKER) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [python, str(worker), name, str(forest), *map(str, cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | SINGLE,
        )
        self.version: str = self._hear()["version"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def answers(self, n: int, file: Path) -> Any:
        """For the first ``n`` rows, float64 [n]."""
        self._ask({"answers": n, "to": str(file)})
        return np.load(file)

    def margins(self, n: int, file: Path) -> Any:
        """Raw scores, float64 [n]: a framework's, or ours by Python."""
        self._ask({"margins": n, "to": str(file)})
        return np.load(file)

    def turn(self, batch: int, warm: float, seconds: float, most: int = CALLS) -> Any:
        """Times of calls, ns [≥ 1]."""
        return np.array(self._ask({"batch": batch, "warm": warm, "seconds": seconds, "most": most})["ns"])

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise EngineError(f"it died: {self.process.wait()}") from error
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"error": f"it died: {self.process.wait()}"}
        if "error" in said:
            self.__exit__(None, None, None)
            raise EngineError(said["error"])
        return said


@dataclass(frozen=True)
class Race:
    """``times``: of each engine, the calls of each round in ns; ``left_out``: seconds of a call of those that were."""

    times: dict[str, list[Any]]
    left_out: dict[str, float]

    @property
    def rounds(self) -> int:
        return len(next(iter(self.times.values())))

    def medians(self) -> dict[str, tuple[float, float, float]]:
        """Of each engine: µs a call, with the interval's ends."""
        return {
            name: (float(np.median(np.concatenate(times))) / 1e3, *_ends(self._drawn[name] / 1e3))
            for name, times in self.times.items()
        }

    def ratios(self, own: str) -> dict[str, tuple[float, float, float]]:
        """Of each other engine: its median over ``own``'s, with the interval's ends."""
        drawn, medians = self._drawn, self.medians()
        return {
            name: (medians[name][0] / medians[own][0], *_ends(drawn[name] / drawn[own]))
            for name in self.times
            if name != own
        }

    @cached_property
    def _drawn(self) -> dict[str, Any]:
        """Medians of rounds drawn anew, ns [DRAWS], with the same rounds for every engine."""
        rng = np.random.default_rng(0)
        chosen = rng.integers(0, self.rounds, (DRAWS, self.rounds))
        return {
            name: np.array([np.median(np.concatenate([times[i] for i in draw])) for draw in chosen])
            for name, times in self.times.items()
        }


def _ends(drawn: Any) -> tuple[float, float]:
    low, high = np.percentile(drawn, INTERVAL)
    return float(low), float(high)


def race(engines: list[Engine], batch: int, seconds: float, kept: set[str], expected: dict[str, float]) -> Race:
    """Rounds for about ``seconds``. ``kept``: engines that aren't left out; ``expected``: seconds of a call, where it
    is known that it can't be short."""
    costs = {e.name: _cost(e, batch, expected.get(e.name, 0), seconds) for e in engines}
    turn = seconds / ROUNDS / len(engines)
    warm = {name: _warm(cost, batch, turn) for name, cost in costs.items()}
    lasts = {name: warm[name] + max(turn, cost) for name, cost in costs.items()}
    left_out = _too_slow(lasts, seconds, kept)
    racing = [engine for engine in engines if engine.name not in left_out]
    times: dict[str, list[Any]] = {engine.name: [] for engine in racing}
    n, until = 0, time.perf_counter() + seconds
    while n < FEWEST or n % 2 or (n < MOST and time.perf_counter() < until):
        for engine in racing if n % 2 == 0 else reversed(racing):
            times[engine.name].append(engine.turn(batch, warm[engine.name], turn))
        n += 1
    return Race(times=times, left_out={name: costs[name] for name in left_out})


def _warm(cost: float, batch: int, turn: float) -> float:
    """Seconds of untimed calls: a forest is out of the caches when it is its engine's turn again."""
    return 0.0 if cost > LONG_S else min(max(0.3 * turn, cost * WARM / batch), max(3 * turn, cost))


def _cost(engine: Engine, batch: int, expected: float, seconds: float) -> float:
    """Seconds of a call; one that must take longer than the whole cell isn't tried."""
    return expected if expected > seconds else min(engine.turn(batch, 0, 0, 1)[0] for _ in range(2)) / 1e9


def _too_slow(lasts: dict[str, float], seconds: float, kept: set[str]) -> set[str]:
    """Those whose turns would make the fewest rounds too long: never ``kept``, never the fastest of the others."""
    others = sorted((name for name in lasts if name not in kept), key=lambda name: lasts[name])
    out: set[str] = set()
    for name in reversed(others[1:]):
        if FEWEST * sum(each for other, each in lasts.items() if other not in out) <= LONGER * seconds:
            break
        out.add(name)
    return out
