"""Write a program with ai.onnx.ml's TreeEnsembleRegressor, with encoders before it and the answer after it.

The graph::

    input__0 [N, F] -> Where(x == sentinel, NaN, x) ... -> TreeEnsembleRegressor -> margin [N, K]
                    -> 1 / (1 + Exp(-margin)) | Softmax | Exp | as it is -> output__0 [N, K]

The base scores are a first tree of a single leaf, because ONNX Runtime adds ``base_values`` last and XGBoost starts
from them: with this, one thread's float32 sums are bit-identical to XGBoost's. CatBoost's doubles use the double
operator, whose sums are double and whose output is float32. The logistic function is spelled out, since ONNX
Runtime's own Sigmoid is flat beyond +-18.
ai.onnx.ml 3 is the oldest that has double thresholds; ONNX Runtime reads it in every release of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...passes.forest import VECTOR_LEAF, Forest, Ints
from ...passes.graph.cleanup import cleanup
from ...passes.program import Program
from ...triton_releases import Release

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


def write(program: Program, release: Release, source_sha256: str) -> onnx.ModelProto:
    """The program as an ONNX model that the release's ONNX Runtime reads."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    value = "input__0"
    for i, encoder in enumerate(program.encoders):
        constants += [_constant(f"sentinel_{i}", np.float32(encoder.value)), _constant(f"nan_{i}", np.float32(np.nan))]
        nodes.append(helper.make_node("Equal", [value, f"sentinel_{i}"], [f"is_missing_{i}"]))
        nodes.append(helper.make_node("Where", [f"is_missing_{i}", f"nan_{i}", value], [f"encoded_{i}"]))
        value = f"encoded_{i}"
    if program.forest.leaf_value.dtype == np.float64:
        nodes.append(helper.make_node("Cast", [value], ["as_double"], to=TensorProto.DOUBLE))
        value = "as_double"
    outputs = program.forest.n_outputs
    nodes.append(helper.make_node(TREES, [value], ["margin"], domain="ai.onnx.ml", name="forest", n_targets=outputs))
    answer = _answer(program, nodes, constants)
    nodes.append(helper.make_node("Identity", [answer], ["output__0"]))
    graph = helper.make_graph(
        nodes, "millwork",
        [helper.make_tensor_value_info("input__0", TensorProto.FLOAT, ["N", program.n_columns])],
        [helper.make_tensor_value_info("output__0", TensorProto.FLOAT, ["N", program.n_answers])],
        constants,
    )  # fmt: skip
    limits = release.onnx
    opset = max(OPSET, min(limits.opset, NEWEST_OPSET))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(
        graph, producer_name="millwork", opset_imports=opsets, ir_version=min(limits.ir, NEWEST_IR)
    )
    helper.set_model_props(model, {"millwork.source_sha256": source_sha256})
    # The node table comes last: tidying the graph would otherwise copy millions of numbers back and forth.
    tidy = cleanup(model)
    next(node for node in tidy.graph.node if node.op_type == TREES).attribute.extend(
        _trees(program.forest, program.columns)
    )
    return tidy


def _trees(forest: Forest, columns: Ints) -> list[onnx.AttributeProto]:
    """The node table as the operator's attributes."""
    test = ~forest.is_leaf
    tree = forest.tree_of_node()
    start = forest.tree_start[tree]
    number = np.arange(forest.n_nodes, dtype=np.int64) - start
    feature = np.zeros(forest.n_nodes, np.int64)
    feature[test] = columns[forest.feature[test]]
    branch = b"BRANCH_LT" if forest.comparison == "<" else b"BRANCH_LEQ"
    leaf, target, weight = leaf_weights(forest)
    base = np.arange(forest.n_outputs)
    dtype = forest.leaf_value.dtype
    return [
        _ints("nodes_treeids", [0], tree + BASE_TREE),
        _ints("nodes_nodeids", [0], number),
        _ints("nodes_featureids", [0], feature),
        onnx.AttributeProto(
            name="nodes_modes", type=onnx.AttributeProto.STRINGS,
            strings=[b"LEAF", *np.where(test, branch, b"LEAF").tolist()],
        ),
        _ints("nodes_truenodeids", [0], np.where(test, forest.left - start, 0)),
        _ints("nodes_falsenodeids", [0], np.where(test, forest.right - start, 0)),
        _ints("nodes_missing_value_tracks_true", [0], forest.default_left),
        _ints("target_treeids", 0 * base, tree[leaf] + BASE_TREE),
        _ints("target_nodeids", 0 * base, number[leaf]),
        _ints("target_ids", base, target),
        _floats("nodes_values", np.concatenate([[0], forest.threshold]).astype(dtype)),
        _floats("target_weights", np.concatenate([forest.base_scores, weight]).astype(dtype)),
    ]  # fmt: skip


def _ints(name: str, base: npt.ArrayLike, values: npt.NDArray[Any]) -> onnx.AttributeProto:
    """``base``: the entries of the first tree, which holds the base scores."""
    whole = np.concatenate([base, values]).astype(np.int64)
    return onnx.AttributeProto(name=name, type=onnx.AttributeProto.INTS, ints=whole.tolist())


def _floats(name: str, values: npt.NDArray[Any]) -> onnx.AttributeProto:
    """float32 as a list of floats; float64 as a tensor, under the name that the operator has for that."""
    if values.dtype == np.float64:
        return helper.make_attribute(f"{name}_as_tensor", numpy_helper.from_array(values))
    return onnx.AttributeProto(name=name, type=onnx.AttributeProto.FLOATS, floats=values.tolist())


def _answer(program: Program, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> str:
    """Append what turns ``margin`` into the answer; the name of its result."""
    match program.postprocess:
        case "binary" | "sigmoid":
            constants.append(_constant("one", np.float32(1)))
            nodes += [
                helper.make_node("Neg", ["margin"], ["negative"]),
                helper.make_node("Exp", ["negative"], ["odds_against"]),
                helper.make_node("Add", ["one", "odds_against"], ["denominator"]),
                helper.make_node("Div", ["one", "denominator"], ["p"]),
            ]
            if program.postprocess == "sigmoid":
                return "p"
            nodes += _other_class(program)
            nodes.append(helper.make_node("Concat", ["not_p", "p"], ["classes"], axis=1))
            return "classes"
        case "softmax":
            nodes.append(helper.make_node("Softmax", ["margin"], ["classes"], axis=1))
            return "classes"
        case "exp":
            nodes.append(helper.make_node("Exp", ["margin"], ["value"]))
            return "value"
        case "identity":
            return "margin"


def _other_class(program: Program) -> list[onnx.NodeProto]:
    """``not_p``, as precise as the framework's own: XGBoost takes the float32 p from 1; CatBoost works in doubles, so
    that its small probabilities are exact, which 1 / (1 + Exp(margin)) is too."""
    if program.forest.leaf_value.dtype == np.float32:
        return [helper.make_node("Sub", ["one", "p"], ["not_p"])]
    return [
        helper.make_node("Exp", ["margin"], ["odds"]),
        helper.make_node("Add", ["one", "odds"], ["other_denominator"]),
        helper.make_node("Div", ["one", "other_denominator"], ["not_p"]),
    ]


def _constant(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)
