"""Rows for a model with CTRs, whose columns no client sets: they follow from categories, and from numbers too.

Rows that reach a test can't be written down, so they are found: a pool of random ones is walked through the trees, and
for each test a row that comes there is varied. What is covered is counted on the rows themselves, afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...passes.categories import Categories
from ...passes.forest import Forest, Rows, as_categories
from ...passes.program import Program, encode
from .category_rows import stacked, values
from .given import Given, joined
from .pool import Pool, nudge

POOL = 12_000
"""Rows that are walked to find who comes where."""
VARIANTS = 4


@dataclass(frozen=True, eq=False)
class Found:
    """``both``: tests that some row passes to the left and some to the right; ``reached``: tests that one reaches."""

    given: Given
    reached: int
    both: int


def find(program: Program, tests: npt.NDArray[np.intp], limit: int, rng: np.random.Generator) -> Found:
    """At most about ``limit`` rows. ``tests``: the nodes worth trying first."""
    forest = program.forest
    known, numbers = _random(program, min(POOL, max(limit // 2, 64)), rng)
    pool = _given(program, known, numbers, rng)
    visitor = _visitors(program, pool)
    chosen = tests[visitor[tests] >= 0][: limit // (2 * VARIANTS)]
    varied = _vary(program, chosen, visitor[chosen], known, numbers, rng)
    given = joined([pool, varied])
    left, right = _sides(program, given)
    test = ~forest.is_leaf
    return Found(given, int((left | right)[test].sum()), int((left & right)[test].sum()))


def _random(program: Program, rows: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], Rows]:
    """Positions in the vocabularies [N, C] (one in twenty unknown), and numbers [N, F] near thresholds and borders."""
    categories = program.categories or Categories(integer=False, vocabularies=())
    sizes = np.array([len(words) for words in categories.vocabularies])
    known = (rng.random((rows, len(sizes))) * sizes).astype(np.int64)
    known[rng.random(known.shape) < 0.05] = -1
    return known, Pool.of_columns(program).draw(rng, rows, max(program.n_columns, 1))[:, : program.n_columns]


def _given(program: Program, known: npt.NDArray[np.int64], numbers: Rows, rng: np.random.Generator) -> Given:
    categories = program.categories
    if categories is None:
        return Given(numbers)
    columns = [values(categories, c, known[:, c], rng) for c in range(categories.n_features)]
    return Given(numbers, stacked(columns, len(numbers), categories))


def _walk(
    program: Program, given: Given
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]]:
    """Level by level: which rows stand at which test, and whether they go left."""
    forest = program.forest
    rows = encode(program, given.numbers, given.categories)
    member, none = forest.membership(), forest.n_categories
    node = np.broadcast_to(forest.tree_start[:-1], (len(rows), forest.n_trees)).ravel().astype(np.int32)
    row = np.repeat(np.arange(len(rows)), forest.n_trees)
    levels: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.bool_]]] = []
    while True:
        alive = forest.left[node] >= 0
        node, row = node[alive], row[alive]
        if not len(node):
            return levels
        left = _goes_left(forest, node, rows[row, forest.feature[node]], member, none)
        levels.append((row, node, left))
        node = np.where(left, forest.left[node], forest.right[node]).astype(np.int32)


def _goes_left(
    forest: Forest, node: npt.NDArray[np.int32], value: Rows, member: npt.NDArray[np.bool_], none: int
) -> npt.NDArray[np.bool_]:
    threshold = forest.threshold[node]
    passes = value < threshold if forest.comparison == "<" else value <= threshold
    chosen = forest.category_set[node]
    if len(member):
        passes = np.where(chosen >= 0, ~member[chosen, as_categories(value, none)], passes)
    return np.asarray(np.where(np.isnan(value), forest.default_left[node], passes))


def _visitors(program: Program, given: Given) -> npt.NDArray[np.int64]:
    """[M]: a row that comes to each node, -1 where none does."""
    visitor = np.full(program.forest.n_nodes, -1, np.int64)
    for start in range(0, len(given), 1000):
        for row, node, _ in _walk(program, given[start : start + 1000]):
            visitor[node] = row + start
    return visitor


def _sides(program: Program, given: Given) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """[M], [M]: whether some row goes left, and right, from each node."""
    sides = np.zeros((2, program.forest.n_nodes), np.bool_)
    for start in range(0, len(given), 1000):
        for _, node, left in _walk(program, given[start : start + 1000]):
            sides[0, node[left]] = True
            sides[1, node[~left]] = True
    return sides[0], sides[1]


def _vary(
    program: Program,
    nodes: npt.NDArray[np.intp],
    visitor: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    numbers: Rows,
    rng: np.random.Generator,
) -> Given:
    """Four rows a node: a number one float below, at and above its threshold, and NaN; a category swapped."""
    forest, categories = program.forest, program.categories
    column = program.columns[forest.feature[nodes]]
    rows, words = np.repeat(numbers[visitor], VARIANTS, axis=0), np.repeat(known[visitor], VARIANTS, axis=0)
    number = np.flatnonzero(column < program.n_columns)
    threshold = forest.threshold[nodes[number]]
    tried = np.stack(
        [nudge(threshold, np.full(len(number), by)) for by in (-1, 0, 1)] + [np.full_like(threshold, np.nan)]
    )
    at = (number[:, None] * VARIANTS + np.arange(VARIANTS)).ravel()
    rows[at, np.repeat(column[number], VARIANTS)] = tried.T.ravel()
    if categories is not None and categories.n_features:
        sources = _sources(program)
        other = np.flatnonzero(column >= program.n_columns)
        for n in other:
            feature = rng.choice(sources[int(column[n]) - program.n_columns])
            size = len(categories.vocabularies[feature])
            words[n * VARIANTS + 1 : (n + 1) * VARIANTS, feature] = rng.integers(-1, size, VARIANTS - 1)
    return _given(program, words, rows, rng)


def _sources(program: Program) -> list[list[int]]:
    """For each column after the numeric ones, the category features that it is made of."""
    categories = program.categories
    if categories is None:
        return []
    found = [[code.feature] for code in categories.codes]
    for ctr in categories.ctrs:
        found += [sorted({*ctr.categories.tolist(), *ctr.features.tolist()})] * ctr.width
    return found
