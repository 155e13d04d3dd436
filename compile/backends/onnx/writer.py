"""Write a program with ai.onnx.ml's TreeEnsembleRegressor, with encoders before it and the answer after it.

The graph::

    input__0 [N, F], input__1 [N, C] -> encoders (onnx_encoders) -> TreeEnsembleRegressor -> margin [N, K]
                    -> 1 / (1 + Exp(-margin)) | Softmax | Exp | … | as it is -> output__0 [N, K]

A linear program is a product instead: MatMul(Where(IsNaN(x), 0, x), weights) + bias.

The base scores are a first tree of a single leaf, because ONNX Runtime adds ``base_values`` last and XGBoost starts
from them: with this, one thread's float32 sums are bit-identical to XGBoost's. CatBoost's doubles use the double
operator, whose sums are double and whose output is float32. The logistic function is spelled out, since ONNX
Runtime's own Sigmoid is flat beyond +-18.
ai.onnx.ml 3 is the oldest that has double thresholds; ONNX Runtime reads it in every release of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from ....passes import base, pass_table
from ....passes.forest import VECTOR_LEAF, Forest
from ....passes.graph.operators import foreign
from ....passes.linear import Linear
from ....passes.program import Program
from ....triton_releases import Release
from . import wire
from .answer import Tail, answered
from .encoders import Graph, encoded, inputs, scalar
from .layout import Layout, layout

OPSET, ML_OPSET = 17, 3
NEWEST_OPSET, NEWEST_IR = 21, 10
"""What the writer was tested with: a newer release still gets these."""

TREES = "TreeEnsembleRegressor"


BASE_TREE = 1
"""How many trees stand before the model's own: the one that holds the base scores."""


def leaf_weights(forest: Forest) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Leaf rows, outputs and weights, an entry a pair of a leaf and an output that it adds to."""
    leaf = np.flatnonzero(forest.is_leaf)
    output = forest.tree_output[forest.tree_of_node()[leaf]].astype(np.int64)
    scalar = output != VECTOR_LEAF
    every = np.arange(forest.n_outputs)
    vector = leaf[~scalar]
    leaves = np.concatenate([leaf[scalar], np.repeat(vector, len(every))])
    targets = np.concatenate([output[scalar], np.tile(every, len(vector))])
    weights = np.concatenate([forest.leaf_value[leaf[scalar], 0], forest.leaf_value[vector].ravel()])
    order = np.argsort(leaves, kind="stable")
    return leaves[order], targets[order], weights[order]


def write(program: Program, release: Release, source_sha256: str, path: Path) -> tuple[str, ...]:
    """The program as an ONNX file that the release's ONNX Runtime reads; its operators that aren't ai.onnx's own."""
    parts, plan = Graph(), layout(program)
    row = encoded(parts, program, plan)
    if program.linear is not None:
        _linear(parts, row, program.linear)
    else:
        if program.forest.leaf_value.dtype == np.float64:
            row = parts.add("Cast", [row], "as_double", to=TensorProto.DOUBLE)
        parts.add(TREES, [row], "margin", "ai.onnx.ml", name="forest", n_targets=program.forest.n_outputs)
    columns = () if program.linear is not None else _trees(program.forest, plan)
    model = finished(parts, program, release, source_sha256)
    wire.save(model, TREES, columns, path)
    return foreign(model)


def finished(parts: Graph, program: Program, release: Release, source_sha256: str) -> onnx.ModelProto:
    """The model of a graph that computes ``margin``: the answer appended, within what the release reads, tidied."""
    answered(Tail.of(program), parts)
    graph = helper.make_graph(
        parts.nodes,
        "millwork",
        inputs(program),
        [helper.make_tensor_value_info("output__0", TensorProto.FLOAT, ["N", program.n_answers])],
        list(parts.constants.values()),
    )
    limits = release.onnx
    opset = max(OPSET, min(limits.opset, NEWEST_OPSET))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(
        graph, producer_name="millwork", opset_imports=opsets, ir_version=min(limits.ir, NEWEST_IR)
    )
    helper.set_model_props(model, {"millwork.source_sha256": source_sha256})
    return base.run(pass_table.WRITTEN, model).program


def _linear(graph: Graph, row: str, linear: Linear) -> None:
    missing = graph.add("IsNaN", [row], "is_missing")
    zero = graph.constant("zero", scalar(0))
    present = graph.add("Where", [missing, zero, row], "present")
    product = graph.add("MatMul", [present, graph.constant("weights", linear.weight)], "product")
    graph.add("Add", [product, graph.constant("bias", linear.bias)], "margin")


def _trees(forest: Forest, plan: Layout) -> Iterator[tuple[str, wire.Column]]:
    """The node table as the operator's attributes, one after the other: together they'd be twice the forest."""
    test = ~forest.is_leaf
    tree = forest.tree_of_node()
    start = forest.tree_start[tree]
    number = np.arange(forest.n_nodes, dtype=np.int32) - start
    leaf_text = wire.TEXTS.index(b"LEAF")
    branch = wire.TEXTS.index(b"BRANCH_LT" if forest.comparison == "<" else b"BRANCH_LEQ")
    leaf, target, weight = leaf_weights(forest)
    base = np.arange(forest.n_outputs)
    dtype = forest.leaf_value.dtype
    yield "nodes_treeids", _with_base([0], tree + BASE_TREE)
    yield "nodes_nodeids", _with_base([0], number)
    yield "nodes_featureids", _with_base([0], plan.column)
    yield "nodes_modes", np.append(leaf_text, np.where(test, branch, leaf_text)).astype(np.uint8)
    yield "nodes_truenodeids", _with_base([0], np.where(test, forest.left - start, 0))
    yield "nodes_falsenodeids", _with_base([0], np.where(test, forest.right - start, 0))
    yield "nodes_missing_value_tracks_true", _with_base([0], forest.default_left)
    yield "target_treeids", _with_base(0 * base, tree[leaf] + BASE_TREE)
    yield "target_nodeids", _with_base(0 * base, number[leaf])
    yield "target_ids", _with_base(base, target)
    yield "nodes_values", np.append(0, plan.threshold).astype(dtype)
    yield "target_weights", np.append(forest.base_scores, weight).astype(dtype)


def _with_base(base: npt.ArrayLike, values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """``base``: the entries of the first tree, which holds the base scores."""
    return np.concatenate([np.asarray(base, np.int32), values], dtype=np.int32, casting="unsafe")
