"""Read a built ONNX artifact back: its node table to the bit, and the leaf that a row ends in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....errors import ModelError
from ....passes.forest import Forest
from ..base import Table
from .layout import Layout
from .writer import BASE_TREE, TREES, leaf_weights

MODES = {b"LEAF": 0, b"BRANCH_LT": 1, b"BRANCH_LEQ": 2}


NODE_COLUMNS = (
    "treeids",
    "nodeids",
    "featureids",
    "values",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)


def read_back(trees: onnx.NodeProto) -> Table:
    """The operator's node table, then what each leaf adds to each output, as the artifact has them."""
    attributes = {a.name: helper.get_attribute_value(a) for a in trees.attribute}
    for name in ("nodes_values", "target_weights"):
        if f"{name}_as_tensor" in attributes:
            attributes[name] = numpy_helper.to_array(attributes[f"{name}_as_tensor"])
    modes = [MODES.get(mode, -1) for mode in attributes["nodes_modes"]]
    nodes = [np.asarray(attributes[f"nodes_{name}"]) for name in NODE_COLUMNS]
    leaves = [np.asarray(attributes[f"target_{name}"]) for name in ("treeids", "nodeids", "ids", "weights")]
    return np.concatenate([_in_order(2, *nodes, np.asarray(modes)), _in_order(3, *leaves)])


def must_be(forest: Forest, plan: Layout) -> Table:
    """The same of the lowered forest: the tree of the base scores, then its own."""
    tree = forest.tree_of_node()
    start = forest.tree_start[tree]
    test = ~forest.is_leaf
    branch = MODES[b"BRANCH_LT" if forest.comparison == "<" else b"BRANCH_LEQ"]
    own = [
        tree + BASE_TREE,
        np.arange(forest.n_nodes) - start,
        plan.column,
        plan.threshold,
        np.where(test, forest.left - start, 0),
        np.where(test, forest.right - start, 0),
        forest.default_left,
        np.where(test, branch, MODES[b"LEAF"]),
    ]
    nodes = [np.append(0, column) for column in own]
    nodes[-1][0] = MODES[b"LEAF"]
    leaf, target, weight = leaf_weights(forest)
    base = np.arange(forest.n_outputs)
    leaves = [
        np.concatenate([0 * base, tree[leaf] + BASE_TREE]),
        np.concatenate([0 * base, leaf - start[leaf]]),
        np.concatenate([base, target]),
        np.concatenate([forest.base_scores, weight]),
    ]
    return np.concatenate([_in_order(2, *nodes), _in_order(3, *leaves)])


def constants(model: onnx.ModelProto, names: Iterable[str]) -> Table:
    """The model's constants of these names, one after the other: float64. A missing one is a ModelError."""
    held = {constant.name: constant for constant in model.graph.initializer}
    absent = [name for name in names if name not in held]
    if absent:
        raise ModelError(f"the artifact lacks the constant {absent[0]}")
    parts = [numpy_helper.to_array(held[name]).ravel() for name in names]
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)


def vocabulary_keys(model: onnx.ModelProto) -> Table:
    """What each LabelEncoder looks up, in the order of their outputs' names: texts as checksums, integers in halves."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "LabelEncoder":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            keys = attributes.get("keys_strings", attributes.get("keys_int64s"))
            found[node.output[0]] = lookup(keys, attributes["values_int64s"], attributes["default_int64"])
    return np.concatenate([np.zeros(0), *(found[name] for name in sorted(found))])


def lookup(keys: Any, values: Any, default: int) -> Table:
    """One LabelEncoder as numbers."""
    if len(keys) and isinstance(keys[0], bytes):
        words = np.array([zlib.crc32(key) for key in keys], np.float64)
    else:
        whole = np.asarray(keys, np.int64)
        words = np.concatenate([whole >> 32, whole & 0xFFFFFFFF]).astype(np.float64)
    return np.concatenate([words, np.asarray(values, np.float64), [float(default)]])


def _in_order(keys: int, *columns: npt.NDArray[Any]) -> Table:
    """The columns' rows sorted by the first ``keys`` columns, one column after the other: float64."""
    table = np.stack([np.asarray(column, np.float64) for column in columns])
    return np.asarray(table[:, np.lexsort(table[keys - 1 :: -1])].ravel())


def tree_node(model: onnx.ModelProto) -> onnx.NodeProto:
    found = [node for node in model.graph.node if node.op_type == TREES]
    if len(found) != 1:
        raise ModelError(f"expected one {TREES} in the artifact, found {len(found)}")
    only: onnx.NodeProto = found[0]
    return only


def leaf_probe(model: onnx.ModelProto) -> onnx.ModelProto:
    """The built model with one output a tree, the number of the leaf that a row ends in, float32 [N, trees].

    Thresholds, directions and encoders are the artifact's own; only what the leaves add, and where, is replaced.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    trees = tree_node(probe)
    attributes = {a.name: helper.get_attribute_value(a) for a in trees.attribute}
    ids = np.asarray(attributes["nodes_treeids"], np.int64)
    leaf = np.asarray([mode == b"LEAF" for mode in attributes["nodes_modes"]])
    numbers = np.asarray(attributes["nodes_nodeids"], np.int64)[leaf]
    present, column = np.unique(ids[leaf], return_inverse=True)
    double = "nodes_values_as_tensor" in attributes
    weights: Any = numbers.astype(np.float64 if double else np.float32)
    replaced = {
        "n_targets": len(present),
        "target_treeids": ids[leaf].tolist(),
        "target_nodeids": numbers.tolist(),
        "target_ids": column.tolist(),
        ("target_weights_as_tensor" if double else "target_weights"): (
            numpy_helper.from_array(weights) if double else weights.tolist()
        ),
    }
    del trees.attribute[:]
    trees.attribute.extend(helper.make_attribute(k, v) for k, v in {**attributes, **replaced}.items())
    last = list(probe.graph.node).index(trees)
    del probe.graph.node[last + 1 :]
    del probe.graph.output[:]
    kind = TensorProto.FLOAT  # the operator's output is float32 whatever its input
    probe.graph.output.append(helper.make_tensor_value_info(trees.output[0], kind, ["N", len(present)]))
    del probe.graph.value_info[:]
    used = {name for node in probe.graph.node for name in node.input}
    constants = [constant for constant in probe.graph.initializer if constant.name in used]
    del probe.graph.initializer[:]
    probe.graph.initializer.extend(constants)
    return probe
