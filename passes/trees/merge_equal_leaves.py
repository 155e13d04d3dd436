"""A test whose two leaves hold the same bits decides nothing: the leaf takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..program import Program
from .compact import compact
from .tree_pass import TreePass, TreeRewrite, unchanged


@dataclass(frozen=True)
class MergeEqualLeaves(TreePass):
    """One level at a time; run it until stable for chains. Bits are compared, so 0.0 and -0.0 stay apart."""

    name: ClassVar[str] = "merge-equal-leaves"

    def apply(self, program: Program) -> TreeRewrite:
        forest = program.forest
        tests = np.flatnonzero(~forest.is_leaf)
        left, right = forest.left[tests], forest.right[tests]
        value = np.ascontiguousarray(forest.leaf_value)
        bits = value.view(np.int32 if value.dtype == np.float32 else np.int64)
        equal = forest.is_leaf[left] & forest.is_leaf[right] & np.all(bits[left] == bits[right], axis=1)
        merged, gone = tests[equal], right[equal]
        if len(merged) == 0:
            return unchanged(program, "no test has two equal leaves")
        # The left leaf takes the test's place, and stands for the right one too.
        stands_for = np.arange(forest.n_nodes, dtype=np.int32)
        stands_for[merged] = left[equal]
        after, new_row = compact(forest, stands_for)
        home = np.arange(forest.n_nodes, dtype=np.int32)
        home[gone] = left[equal]
        leaf_map = np.where(forest.is_leaf, new_row[home], np.int32(-1))
        summary = f"merged {len(merged)} pairs of equal leaves"
        return TreeRewrite(replace(program, forest=after), True, summary, leaf_map)
