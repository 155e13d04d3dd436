"""``onnx``: trees as ai.onnx.ml's TreeEnsembleRegressor; how the graph looks is in ``writer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ....passes.forest import Rows
from ....passes.program import Program
from ....triton_releases import Release
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from .artifact import constants, leaf_probe, lookup, must_be, read_back, tree_node, vocabulary_keys
from .encoders import lookups, table_constants
from .layout import layout
from .probe import asked
from .writer import BASE_TREE, TREES, write

MODEL_FILE = "model.onnx"
DEEPEST = 5_000
"""Tests above a leaf: ONNX Runtime reads a tree by a function that calls itself, so that a chain of 100,000 ends the
process that loads it, Triton too."""


@dataclass(frozen=True)
class OnnxTrees:
    name: str = "onnx"
    precision: str = "fp32"
    rank: int = 0

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        if program.forest.reduction != "sum":
            return Unsupported(
                reason="onnx: the model averages its trees, and base scores added as a first tree would be averaged too"
            )
        if (deep := program.forest.depth()) > DEEPEST:
            return Unsupported(reason=f"onnx: a tree is {deep:,} tests deep; ONNX Runtime takes {DEEPEST:,} at most")
        operators = write(program, release, source.signature.provenance.sha256, folder / MODEL_FILE)
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="onnx_runner",
            triton_backend="onnxruntime",
            parameters={},
            requirements=("onnxruntime",),
            foreign=operators,
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        model = onnx.load_model(str(folder / artifact.model_file))
        if not any(node.op_type == TREES for node in model.graph.node):
            return np.zeros((len(rows), 0), np.int32)
        probe = leaf_probe(model)
        parts = list(asked(probe, artifact.parameters, rows, categories, block=4096))
        return np.concatenate(parts).astype(np.int32)[:, BASE_TREE:]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        model = onnx.load_model(str(folder / artifact.model_file))
        plan = layout(program)
        wanted = table_constants(program, plan)
        got = [constants(model, wanted), vocabulary_keys(model)]
        keys = lookups(program, plan)
        must = [*(table.ravel() for table in wanted.values()), *(lookup(*keys[name]) for name in sorted(keys))]
        if program.linear is None:
            got.append(read_back(tree_node(model)))
            must.append(must_be(program.forest, plan))
        return np.concatenate(got), np.concatenate([np.zeros(0), *must]).astype(np.float64)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf - program.forest.tree_start[:-1]


def backend() -> Backend:
    return OnnxTrees()
