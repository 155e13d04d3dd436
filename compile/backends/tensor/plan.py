"""How a forest becomes tables for plain tensor operators: ranks of columns, and one of three forms of its trees.

A test reads a *source*: the rank of a column, in which a missing value has the lowest rank where the test sends it
left, and the highest where it sends it right. It goes right where that rank is above the test's own.

    table     every distinct test of a tree is a bit, the bits are a number (a product with powers of two), and a table
              has the leaf of each number: symmetric trees of any depth, others of few tests
    perfect   trees padded to the same depth, children of i at 2 i and 2 i + 1: one look-up of nodes less a level
    walk      children where a table says: trees too deep to be padded
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ....passes.forest import Forest
from ....passes.program import Program
from ....passes.threshold_ranks import Ranking, rank
from ..onnx.layout import Layout, layout

Form = Literal["table", "perfect", "walk"]
Integers = npt.NDArray[np.int64]

PERFECT_DEPTH = 10
"""Deeper trees are walked: each level of padding would double the tables."""
TABLE_BITS = 16
MOST_SLOTS = 1 << 24
"""Entries that padding may make of a forest."""
MOST_NODES = 1 << 25
MOST_LEVELS = 256
"""A walk is unrolled, so that each level is seven operators of the graph."""

PADDING = -1
"""Stands for a node where there is none: its test sends every row left."""


@dataclass(frozen=True, eq=False)
class Sources:
    """What tests read. ``column`` int64 [C]: columns of the encoded row, those of few thresholds first; ``ranking``:
    of them. ``of_column`` int64 [V]: which of the C each source ranks; ``missing`` int64 [V]: its rank of NaN.

    ``source`` and ``rank`` int64 [M]: of each test of the forest, 0 on leaves.
    """

    column: Integers
    ranking: Ranking
    of_column: Integers
    missing: Integers
    source: Integers
    rank: Integers


@dataclass(frozen=True, eq=False)
class Plan:
    """``levels``: of each step, the nodes of the forest whose tests it holds, int64, PADDING where there is none:
    [T, q] (table, one step), [T, 2^l] (perfect, a step a level) or [slots] (walk, one table for all steps, with
    ``left`` [slots]: the slot of the left child, the right one's being the next).

    ``leaf_at``: the leaf that each last slot stands for, by its place among the forest's leaves.
    """

    form: Form
    trees: int
    depth: int
    sources: Sources
    layout: Layout
    levels: tuple[Integers, ...]
    leaf_at: Integers
    left: Integers

    def tests(self, level: int) -> tuple[Integers, Integers]:
        """Source and rank of each entry of a level, flat: what pads is above no rank."""
        node = self.levels[level].ravel()
        highest = int(self.sources.ranking.counts[self.sources.of_column[0]])
        there = node != PADDING
        source = np.where(there, self.sources.source[node], 0)
        return source, np.where(there, self.sources.rank[node], highest)


def plan(program: Program) -> Plan | str:
    """The tables of a lowered program; or why there are none, in words."""
    forest = program.forest
    if program.linear is not None or not forest.n_trees:
        return "the model has no trees"
    where = layout(program)
    if not where.width:
        return "the model's trees read no feature"
    sources = _sources(forest, where)
    depth = max(forest.depth(), 1)
    bits = _bits(forest, sources)
    most = max(1, int(np.bincount(bits.tree, minlength=1).max(initial=0)))
    form = choose(forest.n_trees, depth, most)
    if form == "table":
        levels, leaf_at = _table(forest, bits, most)
        return Plan(form, forest.n_trees, depth, sources, where, (levels,), leaf_at, np.zeros(0, np.int64))
    if form == "perfect":
        steps, leaf_at = _perfect(forest, depth)
        return Plan(form, forest.n_trees, depth, sources, where, steps, leaf_at, np.zeros(0, np.int64))
    if forest.n_nodes > MOST_NODES:
        return f"the model has {forest.n_nodes:,} nodes; a graph of tensors can have up to {MOST_NODES:,}"
    if depth > MOST_LEVELS:
        return f"a tree is {depth:,} levels deep; walks are unrolled for up to {MOST_LEVELS:,} levels"
    nodes, leaf_at, left = _walk(forest)
    return Plan(form, forest.n_trees, depth, sources, where, (nodes,), leaf_at, left)


def choose(trees: int, depth: int, tests: int) -> Form:
    """``tests``: the most distinct ones of a tree. A test of a table costs about half of what a level of a walk does,
    which looks up a node first."""
    if tests <= min(2 * depth, TABLE_BITS) and trees << tests <= MOST_SLOTS:
        return "table"
    return "perfect" if depth <= PERFECT_DEPTH and trees << depth <= MOST_SLOTS else "walk"


def _sources(forest: Forest, where: Layout) -> Sources:
    test = np.flatnonzero(~forest.is_leaf)
    used, own = np.unique(where.column[test], return_inverse=True)
    if not len(test):  # something has to be compared for a row to have a place
        used = np.zeros(1, np.int64)
    ranking = rank(own, where.threshold[test], len(used))
    order = np.argsort(_group(ranking.counts), kind="stable")
    moved = np.empty(len(used), np.int64)
    moved[order] = np.arange(len(used))
    own = moved[own]
    ranking = rank(own, where.threshold[test], len(used))
    right = ~forest.default_left[test]
    kinds, which = np.unique(own * 2 + right, return_inverse=True)
    if not len(test):
        kinds = np.zeros(1, np.int64)
    source, place = np.zeros(forest.n_nodes, np.int64), np.zeros(forest.n_nodes, np.int64)
    source[test], place[test] = which, ranking.place
    of_column = kinds // 2
    missing = np.where(kinds % 2 == 1, ranking.counts[of_column], 0)
    return Sources(used[order], ranking, of_column, missing, source, place)


FEW = 32
"""From more thresholds than this on, a column's rank is found in two steps: its block, then its place there."""


def _group(counts: Integers) -> Integers:
    """0: at most one threshold; 1: few; 2: many."""
    return (counts > 1).astype(np.int64) + (counts > FEW)


def groups(ranking: Ranking) -> list[slice]:
    """The columns that are ranked alike."""
    group = _group(ranking.counts)
    ends = np.searchsorted(group, np.arange(4))
    return [slice(int(a), int(b)) for a, b in pairwise(ends) if a < b]


@dataclass(frozen=True, eq=False)
class _Bits:
    """The distinct tests of each tree: ``tree`` and ``node`` (one that has the test) int64 [B]; ``bit`` int64 [M]:
    which of its tree's distinct tests a node has."""

    tree: Integers
    node: Integers
    bit: Integers


def _bits(forest: Forest, sources: Sources) -> _Bits:
    test = np.flatnonzero(~forest.is_leaf)
    tree = forest.tree_of_node()[test].astype(np.int64)
    key = np.stack([tree, sources.source[test], sources.rank[test]])
    _, first, which = np.unique(key, axis=1, return_index=True, return_inverse=True)
    own = tree[first]
    start = np.searchsorted(own, np.arange(forest.n_trees))
    bit = np.zeros(forest.n_nodes, np.int64)
    bit[test] = which.ravel() - start[tree]
    return _Bits(own, test[first].astype(np.int64), bit)


def _table(forest: Forest, bits: _Bits, most: int) -> tuple[Integers, Integers]:
    """Nodes [T, most], and the leaf of each tree and number, [T * 2^most]."""
    nodes = np.full((forest.n_trees, most), PADDING, np.int64)
    nodes[bits.tree, bits.bit[bits.node]] = bits.node
    number = np.arange(1 << most)
    current = np.repeat(forest.tree_start[:-1].astype(np.int64)[:, None], len(number), axis=1)
    for _ in range(forest.depth()):
        right = (number >> bits.bit[current]) & 1
        below = np.where(right == 1, forest.right[current], forest.left[current])
        current = np.where(below < 0, current, below)
    return nodes, _places(forest)[current].ravel()


def _perfect(forest: Forest, depth: int) -> tuple[tuple[Integers, ...], Integers]:
    level = forest.tree_start[:-1].astype(np.int64)[:, None]
    steps = []
    for _ in range(depth):
        leaf = forest.is_leaf[level]
        steps.append(np.where(leaf, PADDING, level))
        pair = np.stack([forest.left[level], forest.right[level]], axis=-1)
        level = np.where(leaf[..., None], level[..., None], pair).reshape(len(level), -1)
    return tuple(steps), _places(forest)[level].ravel()


def _walk(forest: Forest) -> tuple[Integers, Integers, Integers]:
    """Nodes by slot, roots first and then siblings side by side; the leaf of each slot; the slot of its left child,
    which is the slot itself on leaves."""
    level = forest.tree_start[:-1].astype(np.int64)
    nodes, left, count = [], [], 0
    while len(level):
        test = ~forest.is_leaf[level]
        nodes.append(level)
        below = count + len(level) + 2 * (np.cumsum(test) - 1)
        left.append(np.where(test, below, count + np.arange(len(level))))
        count += len(level)
        level = np.stack([forest.left[level[test]], forest.right[level[test]]], axis=1).ravel().astype(np.int64)
    slots = np.concatenate(nodes)
    return np.where(forest.is_leaf[slots], PADDING, slots), _places(forest)[slots], np.concatenate(left)


def _places(forest: Forest) -> Integers:
    """[M]: each leaf's place among the leaves; 0 on tests, which no row ends in."""
    leaf: Any = forest.is_leaf
    return np.where(leaf, np.cumsum(leaf) - 1, 0)
