"""Keep the boosting rounds that count: the scikit-learn wrappers predict with ``best_iteration`` only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..program import Program, first_trees
from .tree_pass import TreePass, TreeRewrite, unchanged


@dataclass(frozen=True)
class SliceIterations(TreePass):
    name: ClassVar[str] = "slice-iterations"

    def requires(self, program: Program) -> str | None:
        per_round = program.trees_per_iteration
        if per_round < 1 or (program.n_iterations is not None and program.n_iterations < 0):
            return "a count of rounds and of trees a round that isn't negative"
        return None

    def ensures(self, program: Program) -> str | None:
        return None if program.n_iterations is None else "rounds are still to be cut"

    def apply(self, program: Program) -> TreeRewrite:
        before = program.forest
        keep = before.n_trees
        if program.n_iterations is not None:
            keep = min(keep, program.n_iterations * program.trees_per_iteration)
        if keep == before.n_trees:
            return unchanged(replace(program, n_iterations=None), "every round counts")
        after = first_trees(before, keep)
        leaf_map = np.where(np.arange(before.n_nodes) < after.n_nodes, np.arange(before.n_nodes), -1)
        return TreeRewrite(
            replace(program, forest=after, n_iterations=None),
            True,
            f"kept {keep} of {before.n_trees} trees: the model stopped early at round {program.n_iterations}",
            leaf_map.astype(np.int32),
        )
