"""A test whose two leaves hold the same bits decides nothing: the leaf takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..forest import Forest, Ints
from ..program import Program
from .compact import compact
from .tree_pass import TreePass, TreeRewrite, unchanged


@dataclass(frozen=True)
class MergeEqualLeaves(TreePass):
    """All levels at once, from the leaves up. Bits are compared, so 0.0 and -0.0 stay apart."""

    name: ClassVar[str] = "merge-equal-leaves"

    def apply(self, program: Program) -> TreeRewrite:
        forest = program.forest
        value = np.ascontiguousarray(forest.leaf_value)
        bits = value.view(np.int32 if value.dtype == np.float32 else np.int64)
        levels = _levels(forest)
        one, leaf = np.arange(forest.n_nodes, dtype=np.int32), forest.is_leaf.copy()
        for tests in reversed(levels):  # the leaf that a node is, where all below it hold the same
            left, right = forest.left[tests], forest.right[tests]
            equal = leaf[left] & leaf[right]
            equal &= np.all(bits[one[left]] == bits[one[right]], axis=1)
            leaf[tests[equal]], one[tests[equal]] = True, one[left[equal]]
        merged = np.flatnonzero(leaf & ~forest.is_leaf)
        if len(merged) == 0:
            return unchanged(program, "no test has two equal leaves")
        home = np.arange(forest.n_nodes, dtype=np.int32)
        for tests in levels:  # one leaf takes the highest test's place, and stands for all below that
            inside = tests[leaf[tests]]
            home[inside] = np.where(home[inside] == inside, one[inside], home[inside])
            home[forest.left[inside]] = home[forest.right[inside]] = home[inside]
        stands_for = np.arange(forest.n_nodes, dtype=np.int32)
        stands_for[merged] = one[merged]
        after, new_row = compact(forest, stands_for)
        leaf_map = np.where(forest.is_leaf, new_row[home], np.int32(-1))
        summary = f"merged {len(merged)} pairs of equal leaves"
        return TreeRewrite(replace(program, forest=after), True, summary, leaf_map)


def _levels(forest: Forest) -> list[Ints]:
    """The tests by their distance from the root."""
    found: list[Ints] = []
    level = forest.tree_start[:-1]
    while len(level):
        found.append(level[forest.left[level] >= 0])
        level = np.concatenate([forest.left[found[-1]], forest.right[found[-1]]])
    return found
