"""``toy``: the trees as arrays in one .npz, which its runner walks in numpy. Numbers, and one value or two classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....passes.forest import Rows
from ....passes.program import Program
from ....triton_releases import Release
from ...runners.load import runner
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported

MODEL_FILE, RUNNER = "trees.npz", "toy_runner"


@dataclass(frozen=True)
class Toy:
    name: str = "toy"
    precision: str = "fp32"
    rank: int = 12

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        encoded = program.encoders or program.categories is not None or program.decision is not None
        if encoded or not program.forest.n_trees or program.postprocess not in ("identity", "binary"):
            return Unsupported(reason="toy: takes trees of numbers alone, that answer with one value or two classes")
        if program.forest.n_outputs > 1 or program.forest.n_sets or program.forest.reduction != "sum":
            return Unsupported(reason="toy: takes trees of one output, with no sets of categories, that are summed")
        np.savez(folder / MODEL_FILE, **arrays(program))  # type: ignore[arg-type]
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner=RUNNER,
            triton_backend="python",
            parameters={"answer": program.postprocess},
            requirements=(),
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        walker = runner(artifact.runner)(folder / artifact.model_file, artifact.parameters, 1)
        return walker.leaves(rows)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        must = arrays(program)
        with np.load(folder / artifact.model_file, allow_pickle=False) as held:
            return in_one({name: held[name] for name in must}), in_one(must)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf


def backend() -> Backend:
    return Toy()


def arrays(program: Program) -> dict[str, npt.NDArray[Any]]:
    """The artifact's file: the forest's node table, with columns of the client's rows for its features."""
    forest = program.forest
    return {
        "root": forest.tree_start[:-1],
        "column": np.where(forest.is_leaf, 0, program.columns[forest.feature]),
        "threshold": forest.strict_thresholds(),
        "default_left": forest.default_left,
        "left": forest.left,
        "right": forest.right,
        "value": forest.leaf_value[:, 0],
        "base": forest.base_scores,
    }


def in_one(columns: dict[str, npt.NDArray[Any]]) -> Table:
    return np.concatenate([columns[name].astype(np.float64) for name in sorted(columns)])
