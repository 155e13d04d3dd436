"""Drop branches that no row can reach: a test whose answer the tests above it have already decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..program import Program
from .compact import compact, settle
from .reach import reach
from .tree_pass import TreePass, TreeRewrite, unchanged


@dataclass(frozen=True)
class DropUnreachable(TreePass):
    name: ClassVar[str] = "drop-unreachable"

    def apply(self, program: Program) -> TreeRewrite:
        forest = program.forest
        strict, seen = forest.strict_thresholds(), reach(forest)
        test = ~forest.is_leaf
        # Numbers go left if some x in [low, high) has x < s, that is low < s (and low < high); +inf never does.
        left_lives = (seen.low < np.minimum(strict, seen.high)) | (seen.nan & forest.default_left)
        # Numbers go right if some x in [low, high) has x >= s; where high is +inf, +inf itself is one.
        right_lives = (np.maximum(seen.low, strict) < seen.high) | np.isposinf(seen.high)
        right_lives |= seen.nan & ~forest.default_left
        stands_for = np.arange(forest.n_nodes, dtype=np.int32)
        test &= ~forest.is_categorical  # what categories can come isn't followed
        only_left, only_right = test & left_lives & ~right_lives, test & ~left_lives & right_lives
        stands_for[only_left] = forest.left[only_left]
        stands_for[only_right] = forest.right[only_right]
        after, new_row = compact(forest, settle(stands_for))
        dropped = forest.n_nodes - after.n_nodes
        if dropped == 0:
            return unchanged(program, "every branch can be reached")
        leaf_map = np.where(forest.is_leaf, new_row, np.int32(-1))
        summary = f"dropped {dropped} of {forest.n_nodes} nodes that no row reaches"
        return TreeRewrite(replace(program, forest=after), True, summary, leaf_map)
