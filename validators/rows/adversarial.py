"""Rows that sit on the model's own decisions: for every test, a row that reaches it with its feature at the
threshold, one float below, one above, and missing; for a test of a category, one in its set, one that isn't, one that
is no category at all, and missing.

For a node, the tests on its path bound each feature to [low, high); the row takes values at those bounds (so that
the ancestors' thresholds are tried as well), and random values near some threshold where nothing bounds it. Of a
category it takes one that every test on the path lets through. A model with CTRs is another matter: see ``ctr_rows``.
A linear model has no tests: its rows are in ``linear_rows``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...passes.forest import Forest, Rows
from ...passes.program import Program
from .category_rows import allowed, as_numbers, pick, stacked, values
from .ctr_rows import find
from .given import Given
from .linear_rows import linear_rows
from .pool import Pool, nudge

VARIANTS = 4
"""Rows a test node: below, at, above its threshold; NaN."""
PATH_STEPS = 20_000_000
"""Tests above those that rows are made for, in all: of a tree that is a long chain fewer are tried."""
INFINITE = 0.5
"""Share of the rows that belong to no test in which infinities stand."""


@dataclass(frozen=True, eq=False)
class Adversarial:
    """``given``: what a client sends. Counts say how much of the model it covers; ``both``: with CTRs, how many tests
    some row passes to the left and some to the right. ``linear``: the model is."""

    given: Given
    tests: int
    tests_covered: int
    thresholds: int
    thresholds_covered: int
    both: int | None = None
    linear: bool = False

    @property
    def coverage(self) -> str:
        """In words, for the report."""
        if self.linear:
            return "no trees: rows around 0 with NaN, zeros of both signs, denormals and large numbers in their columns"
        if self.both is not None:
            return (
                f"rows take both branches of {self.both:,} of {self.tests:,} tests, and reach {self.tests_covered:,}; "
                "they vary a number to one float below, at, and above the threshold, and NaN, and swap categories"
            )
        return (
            f"{self.thresholds_covered:,} of {self.thresholds:,} distinct thresholds and {self.tests_covered:,} of "
            f"{self.tests:,} tests, each reached at, one float below and one above its threshold, and with NaN"
        )


def adversarial(program: Program, *, limit: int, seed: int = 0) -> Adversarial:
    """At most about ``limit`` rows for a lowered program. Where its tests need more, every distinct threshold comes
    first, then tests at random."""
    forest = program.forest
    rng = np.random.default_rng(seed)
    if program.linear is not None:
        rows = linear_rows(program.linear, program.n_columns, _loose(limit), rng)
        return Adversarial(Given(_with_sentinels(program, rows, rng)), 0, 0, 0, 0, linear=True)
    tests = np.flatnonzero(~forest.is_leaf)
    limit = min(limit, VARIANTS * (PATH_STEPS // max(forest.depth(), 1)))
    chosen, distinct, covered = _choose(forest, tests, limit // VARIANTS, rng)
    if program.categories is not None and program.categories.ctrs:
        found = find(program, rng.permutation(chosen), limit, rng)
        return Adversarial(found.given, len(tests), found.reached, distinct, covered, found.both)
    pool = Pool.of(forest)
    width = max(forest.n_features, 1)
    step = max(1, (1 << 22) // (width + len(forest.category_features()) * (forest.n_categories + 1)))
    parts = [_rows_at(forest, chosen[i : i + step], pool, rng) for i in range(0, len(chosen), step)]
    loose = pool.draw(rng, _loose(limit), width, infinite=INFINITE)
    features = forest.category_features()
    loose[:, features] = as_numbers(
        rng.integers(0, forest.n_categories + 1, (len(loose), len(features))), forest.n_categories, rng
    )
    loose[:, features] = np.where(rng.random((len(loose), len(features))) < 0.08, np.nan, loose[:, features])
    inner = np.concatenate([*parts, loose])
    given = _clients_rows(program, inner[:, : forest.n_features], rng)
    return Adversarial(given, len(tests), len(chosen), distinct, covered)


def _loose(limit: int) -> int:
    """How many rows belong to no test."""
    return min(limit // 10, 2000) + 16


def _choose(
    forest: Forest, tests: npt.NDArray[np.intp], limit: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], int, int]:
    what = np.where(forest.is_categorical[tests], forest.category_set[tests], forest.threshold[tests].view(np.int32))
    keys = np.stack([forest.feature[tests].astype(np.int64), what.astype(np.int64)])
    shuffled = rng.permutation(len(tests))
    _, first = np.unique(keys[:, shuffled], axis=1, return_index=True)
    distinct = len(first)
    if len(tests) <= limit:
        return tests, distinct, distinct
    rest = np.setdiff1d(np.arange(len(tests)), first)
    order = np.concatenate([rng.permutation(first), rng.permutation(rest)])[: max(limit, 1)]
    return tests[shuffled[order]], distinct, min(distinct, len(order))


def _rows_at(forest: Forest, nodes: npt.NDArray[np.intp], pool: Pool, rng: np.random.Generator) -> Rows:
    """[4 C, features of the forest]: the rows of C nodes."""
    low, high, nan = _bounds(forest, nodes)
    values = pool.draw(rng, len(nodes), low.shape[1])
    bounded = np.isfinite(low) | np.isfinite(high) | ~nan
    at_low = np.isfinite(low) & (~np.isfinite(high) | (rng.random(low.shape) < 0.5))
    inside = np.where(at_low, low, nudge(high, np.full(high.shape, -1)))
    values = np.where(bounded, inside, values)
    codes = allowed(forest, nodes)
    values[:, codes.features] = as_numbers(pick(codes.codes, rng), forest.n_categories, rng)
    impossible = low >= high
    impossible[:, codes.features] = ~codes.codes.any(axis=2)
    only_nan = bounded & nan & (impossible | (rng.random(low.shape) < 0.1))
    values[only_nan] = np.nan
    feature, threshold = forest.feature[nodes], forest.threshold[nodes]
    rows = np.repeat(values, VARIANTS, axis=0)
    tried = np.stack(
        [nudge(threshold, np.full(len(nodes), by)) for by in (-1, 0, 1)] + [np.full_like(threshold, np.nan)]
    )
    of_category = np.flatnonzero(forest.category_set[nodes] >= 0)
    if len(of_category):
        tried[:3, of_category] = _codes_tried(forest, nodes[of_category], codes.codes[of_category], codes.features, rng)
    rows[np.arange(len(rows)), np.repeat(feature, VARIANTS)] = tried.T.ravel()
    return rows


def _codes_tried(
    forest: Forest,
    nodes: npt.NDArray[np.intp],
    reaching: npt.NDArray[np.bool_],
    features: npt.NDArray[np.int32],
    rng: np.random.Generator,
) -> Rows:
    """[3, C]: a category in the node's set, one that isn't, and what is none; of those that reach it, if any do."""
    own = reaching[np.arange(len(nodes)), np.searchsorted(features, forest.feature[nodes])]
    member = forest.membership()[forest.category_set[nodes]]
    none = np.zeros_like(member)
    none[:, -1] = True
    chosen = [
        pick(np.where(np.any(own & side, axis=1)[:, None], own & side, side), rng) for side in (member, ~member, none)
    ]
    return as_numbers(np.stack(chosen), forest.n_categories, rng)


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
        number = ~forest.is_categorical[above]
        high[row, f] = np.where(number & left, np.minimum(high[row, f], s), high[row, f])
        low[row, f] = np.where(number & ~left, np.maximum(low[row, f], s), low[row, f])
        nan[row, f] &= forest.default_left[above] == left
        below = above
    return low, high, nan


def _clients_rows(program: Program, inner: Rows, rng: np.random.Generator) -> Given:
    """The forest's columns put where the client has them; the others are noise, which must not matter."""
    categories = program.categories
    rows = rng.normal(size=(len(inner), program.n_columns)).astype(np.float32)
    numeric = program.columns < program.n_columns
    rows[:, program.columns[numeric]] = inner[:, numeric]
    rows = _with_sentinels(program, rows, rng)
    if categories is None:
        return Given(rows)
    sizes = np.array([len(words) for words in categories.vocabularies])
    known = (rng.random((len(rows), len(sizes))) * sizes).astype(np.int64)
    for f in np.flatnonzero(~numeric):
        code = categories.codes[int(program.columns[f]) - program.n_columns]
        known[:, code.feature] = _positions(code.table, inner[:, f])
    columns = [values(categories, c, known[:, c], rng) for c in range(categories.n_features)]
    return Given(rows, stacked(columns, len(rows), categories))


def _with_sentinels(program: Program, rows: Rows, rng: np.random.Generator) -> Rows:
    """Some of the missing values are the sentinel instead of NaN, and some numbers lie one float beside it."""
    for encoder in program.encoders:
        sentinel = np.float32(encoder.value)
        swapped = np.isnan(rows) & (rng.random(rows.shape) < 0.5)
        rows[swapped] = sentinel
        beside = rng.random(rows.shape) < 0.01
        rows[beside] = nudge(np.full(int(beside.sum()), sentinel), rng.integers(-1, 2, int(beside.sum())))
    return rows


def _positions(table: npt.NDArray[np.float32], codes: Rows) -> npt.NDArray[np.int64]:
    """The place in a vocabulary that has each code; -1 where none has."""
    order = np.argsort(table[:-1], kind="stable")
    with np.errstate(invalid="ignore"):
        whole = np.trunc(codes)
    at = np.minimum(np.searchsorted(table[order], whole), max(len(order) - 1, 0))
    return np.where(table[order][at] == whole, order[at], -1) if len(order) else np.full(len(codes), -1)
