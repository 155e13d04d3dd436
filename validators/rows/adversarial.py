"""Rows that sit on the model's own decisions: for every test, a row that reaches it with its feature at the
threshold, one float below, one above, and missing.

For a node, the tests on its path bound each feature to [low, high); the row takes values at those bounds (so that
the ancestors' thresholds are tried as well), and random values near some threshold where nothing bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...passes.forest import Forest, Rows
from ...passes.program import Program

VARIANTS = 4
"""Rows a test node: below, at, above its threshold; NaN."""
INFINITE = 0.5
"""Share of the rows that belong to no test in which infinities stand."""


@dataclass(frozen=True, eq=False)
class Adversarial:
    """``rows``: float32 [N, F], the client's. Counts say how much of the model they cover."""

    rows: Rows
    tests: int
    tests_covered: int
    thresholds: int
    thresholds_covered: int

    @property
    def coverage(self) -> str:
        """In words, for the report."""
        return (
            f"{self.thresholds_covered:,} of {self.thresholds:,} distinct thresholds and {self.tests_covered:,} of "
            f"{self.tests:,} tests, each reached at, one float below and one above its threshold, and with NaN"
        )


def adversarial(program: Program, *, limit: int, seed: int = 0) -> Adversarial:
    """At most about ``limit`` rows for a lowered program. Where its tests need more, every distinct threshold comes
    first, then tests at random."""
    forest = program.forest
    rng = np.random.default_rng(seed)
    tests = np.flatnonzero(~forest.is_leaf)
    chosen, distinct, covered = _choose(forest, tests, limit // VARIANTS, rng)
    pool = _Pool.of(forest)
    width = max(forest.n_features, 1)
    step = max(1, (1 << 22) // width)
    parts = [_rows_at(forest, chosen[i : i + step], pool, rng) for i in range(0, len(chosen), step)]
    parts.append(pool.draw(rng, min(limit // 10, 2000) + 16, width, infinite=INFINITE))
    inner = np.concatenate(parts)
    rows = _clients_rows(program, inner[:, : forest.n_features], rng)
    return Adversarial(rows, len(tests), len(chosen), distinct, covered)


def _choose(
    forest: Forest, tests: npt.NDArray[np.intp], limit: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], int, int]:
    keys = np.stack([forest.feature[tests].astype(np.int64), forest.threshold[tests].view(np.int32).astype(np.int64)])
    shuffled = rng.permutation(len(tests))
    _, first = np.unique(keys[:, shuffled], axis=1, return_index=True)
    distinct = len(first)
    if len(tests) <= limit:
        return tests, distinct, distinct
    rest = np.setdiff1d(np.arange(len(tests)), first)
    order = np.concatenate([rng.permutation(first), rng.permutation(rest)])[: max(limit, 1)]
    return tests[shuffled[order]], distinct, min(distinct, len(order))


@dataclass(frozen=True, eq=False)
class _Pool:
    """Every feature's distinct thresholds, one after the other; a feature that none tests has a 0."""

    values: npt.NDArray[np.float32]
    start: npt.NDArray[np.int64]

    @classmethod
    def of(cls, forest: Forest) -> _Pool:
        tests = ~forest.is_leaf
        feature, threshold = forest.feature[tests], forest.threshold[tests]
        columns = [np.unique(threshold[feature == f]) for f in range(max(forest.n_features, 1))]
        columns = [column if len(column) else np.zeros(1, np.float32) for column in columns]
        start = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
        return cls(np.concatenate(columns).astype(np.float32), start)

    def draw(self, rng: np.random.Generator, rows: int, width: int, *, infinite: float = 0.0) -> Rows:
        """Random thresholds, nudged by a float or not; some NaN, zeros of both signs, extremes; and infinities in the
        share ``infinite`` of the rows. XGBoost names no leaf for a row that holds one, so the tests' own rows don't."""
        size = np.diff(self.start)[:width]
        at = self.start[:width] + (rng.random((rows, width)) * size).astype(np.int64)
        out = _nudge(self.values[at], rng.integers(-1, 2, (rows, width)))
        special = np.array([np.nan, 0.0, -0.0, 1e-44, 1e38, -1e38], np.float32)
        weights = np.array([8, 1, 1, 0.5, 0.5, 0.5])
        odd = rng.random((rows, width)) < 0.08
        out[odd] = rng.choice(special, int(odd.sum()), p=weights / weights.sum())
        where = (rng.random((rows, 1)) < infinite) & (rng.random((rows, width)) < 0.1)
        out[where] = rng.choice(np.array([np.inf, -np.inf], np.float32), int(where.sum()))
        return out


def _nudge(values: npt.NDArray[np.float32], by: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """One float down, none, or one up."""
    with np.errstate(over="ignore", under="ignore"):
        below = np.nextafter(values, np.float32(-np.inf))
        above = np.nextafter(values, np.float32(np.inf))
    return np.where(by < 0, below, np.where(by > 0, above, values))


def _rows_at(forest: Forest, nodes: npt.NDArray[np.intp], pool: _Pool, rng: np.random.Generator) -> Rows:
    """[4 C, features of the forest]: the rows of C nodes."""
    low, high, nan = _bounds(forest, nodes)
    values = pool.draw(rng, len(nodes), low.shape[1])
    bounded = np.isfinite(low) | np.isfinite(high) | ~nan
    at_low = np.isfinite(low) & (~np.isfinite(high) | (rng.random(low.shape) < 0.5))
    inside = np.where(at_low, low, _nudge(high, np.full(high.shape, -1)))
    values = np.where(bounded, inside, values)
    only_nan = bounded & nan & ((low >= high) | (rng.random(low.shape) < 0.1))
    values[only_nan] = np.nan
    feature, threshold = forest.feature[nodes], forest.threshold[nodes]
    rows = np.repeat(values, VARIANTS, axis=0)
    tried = np.stack(
        [_nudge(threshold, np.full(len(nodes), by)) for by in (-1, 0, 1)] + [np.full_like(threshold, np.nan)]
    )
    rows[np.arange(len(rows)), np.repeat(feature, VARIANTS)] = tried.T.ravel()
    return rows


def _bounds(
    forest: Forest, nodes: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """[C, features] each: the numbers [low, high) of each feature that lead to the node, and whether NaN does."""
    strict = forest.strict_thresholds()
    parent, is_left = forest.parents()
    shape = (len(nodes), max(forest.n_features, 1))
    low, high = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    nan = np.ones(shape, np.bool_)
    row, below = np.arange(len(nodes)), nodes.astype(np.int32)
    while len(row):
        above = parent[below]
        alive = above >= 0
        row, below, above = row[alive], below[alive], above[alive]
        f, s, left = forest.feature[above], strict[above], is_left[below]
        high[row, f] = np.where(left, np.minimum(high[row, f], s), high[row, f])
        low[row, f] = np.where(left, low[row, f], np.maximum(low[row, f], s))
        nan[row, f] &= forest.default_left[above] == left
        below = above
    return low, high, nan


def _clients_rows(program: Program, inner: Rows, rng: np.random.Generator) -> Rows:
    """The forest's columns put where the client has them; the others are noise, which must not matter. Some of the
    missing values are the sentinel instead of NaN, and some numbers lie one float beside it."""
    rows = rng.normal(size=(len(inner), program.n_columns)).astype(np.float32)
    rows[:, program.columns] = inner
    for encoder in program.encoders:
        sentinel = np.float32(encoder.value)
        swapped = np.isnan(rows) & (rng.random(rows.shape) < 0.5)
        rows[swapped] = sentinel
        beside = rng.random(rows.shape) < 0.01
        rows[beside] = _nudge(np.full(int(beside.sum()), sentinel), rng.integers(-1, 2, int(beside.sum())))
    return rows
