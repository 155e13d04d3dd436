"""The one measurement harness: how long does a call take, candidates interleaved, raw samples kept.

Blocks of calls alternate A B C, C B A, so that a machine that drifts drifts for all; p50 and p99 have order-statistic
intervals; p99 needs 662 samples (MLPerf's minimum for early stopping), and has none with fewer. Two candidates are
compared by a bootstrap over paired blocks. Sources: MLPerf Inference's LoadGen (early stopping); the binomial
interval of a quantile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..values import Interval, Latency
from .rows.given import Given

BLOCK = 16
"""Calls a block."""
SAMPLES = 704
"""Calls a candidate and batch size: 44 blocks, above the 662 that a p99 takes."""
FEWEST_FOR_P99 = 662
BUDGET_S = 20.0
"""Seconds a candidate and batch size; a slow one ends with fewer samples, and then without a p99."""

SHORTEST_US, LONGEST_US = 1e-4, 1e12

QUANTILES = np.linspace(0, 1, 41)
"""Of the times, and of the differences of answers, for the pictures of their distributions."""

Predict = Callable[..., object]


@dataclass(frozen=True, eq=False)
class Samples:
    """Microseconds a call, [blocks, BLOCK], of one candidate at one batch size."""

    id: str
    batch: int
    us: npt.NDArray[np.float64]


def measure(
    candidates: Sequence[tuple[str, Predict]], given: Given, batch: int, *, budget_s: float = BUDGET_S
) -> list[Samples]:
    """Time ``predict`` on batches of ``batch`` rows, taken from ``given`` (repeated if too few)."""
    batches = _batches(given, batch)
    for _, predict in candidates:
        for warm_up in batches[:4]:
            predict(*warm_up.parts)
    blocks: dict[str, list[list[float]]] = {name: [] for name, _ in candidates}
    spent = 0.0
    turn = 0
    while turn < SAMPLES // BLOCK and (turn < 4 or spent < budget_s * len(candidates)):
        order = candidates if turn % 2 == 0 else list(reversed(candidates))
        for name, predict in order:
            block = [_time(predict, batches[(turn * BLOCK + i) % len(batches)]) for i in range(BLOCK)]
            blocks[name].append(block)
            spent += sum(block) * 1e-6
        turn += 1
    return [Samples(name, batch, np.array(blocks[name])) for name, _ in candidates]


def are_times(us: npt.NDArray[Any]) -> bool:
    """Whether the array may be what :func:`measure` makes: no more blocks, and no time that can't be divided by."""
    if us.dtype != np.float64 or us.ndim != 2 or us.shape[1] != BLOCK or not 0 < len(us) <= SAMPLES // BLOCK:
        return False
    return bool(((us > SHORTEST_US) & (us < LONGEST_US)).all())


def summarise(samples: Samples, threads: int) -> Latency:
    """p50 and p99 with their 95% intervals."""
    us = np.sort(samples.us, axis=None)
    p50, p50_ci = quantile(us, 0.5)
    ci = {} if p50_ci is None else {"p50_us": p50_ci}
    p99, p99_ci = (None, None) if len(us) < FEWEST_FOR_P99 else quantile(us, 0.99)
    if p99_ci is not None:
        ci["p99_us"] = p99_ci
    return Latency(
        batch=samples.batch,
        p50_us=p50,
        p99_us=p99,
        rows_per_s=samples.batch / p50 * 1e6,
        ci=ci,
        samples=len(us),
        threads=threads,
        quantiles=tuple(round(float(q), 3) for q in np.quantile(us, QUANTILES)),
    )


def quantile(ordered: npt.NDArray[np.float64], q: float, level: float = 0.95) -> tuple[float, Interval | None]:
    """The quantile of sorted samples, and its interval between two order statistics (binomial, at least ``level``);
    None where the sample is too small to have one."""
    n = len(ordered)
    value = float(ordered[min(int(np.ceil(q * n)) - 1, n - 1)])
    tail = (1 - level) / 2
    below = _binomial_cdf(n, q)
    low, high = int(np.searchsorted(below, tail, side="right")), int(np.searchsorted(below, 1 - tail)) + 1
    if low < 1 or high > n:
        return value, None
    return value, Interval(low=float(ordered[low - 1]), high=float(ordered[high - 1]))


def slower_by(a: Samples, b: Samples, *, resamples: int = 2000) -> tuple[float, Interval]:
    """How many times a's call b's takes: the median over blocks of the ratio of the two blocks' medians, which were
    timed one after the other, so that a drift of the machine cancels; and the 95% interval, by a bootstrap of blocks.
    """
    n = min(len(a.us), len(b.us))
    ratios = np.median(b.us[:n], axis=1) / np.median(a.us[:n], axis=1)
    drawn = np.random.default_rng(0).integers(0, n, (resamples, n))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), Interval(low=float(low), high=float(high))


def _binomial_cdf(n: int, q: float) -> npt.NDArray[np.float64]:
    """P(at most k of n samples lie below the quantile), k = 0 … n."""
    k = np.arange(n + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return np.cumsum(np.exp(factorials[n] - factorials - factorials[::-1] + k * np.log(q) + (n - k) * np.log1p(-q)))


def _batches(given: Given, batch: int) -> list[Given]:
    """Up to 64 different batches, so that one row's path isn't all that the branch predictor ever sees."""
    needed = max(min(64 * batch, 1 << 16), batch)
    repeated = given[np.arange(needed) % len(given)]
    starts = range(0, needed - batch + 1, batch)
    return [repeated[i : i + batch] for i in starts]


def _time(predict: Predict, batch: Given) -> float:
    parts = batch.parts
    start = time.perf_counter_ns()
    predict(*parts)
    return (time.perf_counter_ns() - start) / 1000
