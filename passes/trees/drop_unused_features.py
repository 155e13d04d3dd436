"""Number only the features that some tree tests; the client's row stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..program import Program
from .tree_pass import TreePass, TreeRewrite, same_leaves, unchanged


@dataclass(frozen=True)
class DropUnusedFeatures(TreePass):
    """``columns`` remembers where each remaining feature stands in the client's row."""

    name: ClassVar[str] = "drop-unused-features"

    def ensures(self, program: Program) -> str | None:
        used = np.unique(program.forest.feature[~program.forest.is_leaf])
        return None if len(used) == program.forest.n_features else "an unused feature is left"

    def apply(self, program: Program) -> TreeRewrite:
        forest = program.forest
        used = np.unique(forest.feature[~forest.is_leaf])
        if len(used) == forest.n_features:
            return unchanged(program, "every feature is tested somewhere")
        number = np.full(forest.n_features + 1, -1, np.int32)  # the last entry keeps a leaf's -1
        number[used] = np.arange(len(used), dtype=np.int32)
        after = forest.replacing(feature=number[forest.feature], n_features=len(used))
        summary = f"{forest.n_features - len(used)} of {forest.n_features} features are never tested"
        program_after = replace(program, forest=after, columns=program.columns[used])
        return TreeRewrite(program_after, True, summary, same_leaves(program))
