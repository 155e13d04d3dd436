"""The trees in CatBoost's JSON export to a Forest.

The forest's features: the numeric ones, then the one-hot features, then the CTRs. Leaf index bit i of a symmetric tree
is split i; ``x > border`` goes right; leaves of other trees are numbered left to right in a model that CatBoost has
loaded from JSON, but in the order of their making in a .cbm; values are doubles, summed in tree order, times scale,
plus bias; borders are float32, as inputs and CTRs are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.forest import SUNK, VECTOR_LEAF, Forest, check

Document = Mapping[str, Any]
Columns = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Splits:
    """What splits refer to. ``one_hot``: for each one-hot feature (by its number among the categorical ones) its
    number in the forest, and its values; ``ctr_border``: the global split number of each CTR's border -> the CTR's
    number in the forest, its border."""

    n_floats: int
    one_hot: Mapping[int, tuple[int, Mapping[int, int]]]
    ctr_border: Mapping[int, tuple[int, float]]
    n_features: int


def splits_of(information: Document) -> Splits:
    floats = information.get("float_features") or ()
    categorical = information.get("categorical_features") or ()
    ctrs = information.get("ctrs") or ()
    at = sum(len(feature.get("borders") or ()) for feature in floats)
    number, one_hot, ctr_border = len(floats), {}, {}
    for c, feature in enumerate(categorical):
        values = feature.get("values") or ()
        if values:
            one_hot[c] = (number, {int(value): k for k, value in enumerate(values)})
            number += 1
        at += len(values)
    for ctr in ctrs:
        for border in ctr["borders"]:
            ctr_border[at] = (number, float(border))
            at += 1
        number += 1
    return Splits(len(floats), one_hot, ctr_border, number)


def forest(
    document: Document, splits: Splits, nan_left: npt.NDArray[np.bool_], leaf_order: Sequence[Sequence[int]]
) -> Forest:
    """``nan_left``: [floats], where NaN goes. ``leaf_order``: as ``catboost.load`` has it.
    Raises ModelError for trees that don't hold together."""
    scale, bias = document["scale_and_bias"]
    base = np.atleast_1d(np.asarray(bias, np.float64))
    outputs = len(base)
    if not outputs:
        raise ModelError("the model has no base scores")
    whole, start = _node_table(document, splits, outputs, leaf_order)
    left = np.ones(splits.n_features + 1, np.bool_)  # codes and CTRs are never NaN
    left[: len(nan_left)] = nan_left
    whole["value"] *= float(scale)
    values = int(whole["set"].max(initial=-1)) + 1  # one-hot value k is the set {k}
    return check(
        Forest(
            tree_start=np.array(start, np.int32),
            feature=whole["feature"],
            threshold=whole["border"],
            left=whole["left"],
            right=whole["right"],
            default_left=left[whole["feature"]] & (whole["left"] >= 0),
            leaf_value=whole["value"],
            leaf_number=whole["number"],
            tree_output=np.full(len(start) - 1, 0 if outputs == 1 else VECTOR_LEAF, np.int32),
            base_scores=base,
            n_features=splits.n_features,
            comparison="<=",
            category_set=whole["set"],
            set_start=np.arange(values + 1, dtype=np.int64),
            set_member=np.arange(values, dtype=np.int32),
        )
    )


def with_outputs(forest: Forest, places: Sequence[int], outputs: int) -> Forest:
    """The forest with ``outputs`` outputs, its own at ``places``; no leaf adds to the others."""
    value = np.zeros((forest.n_nodes, outputs))
    value[:, places] = forest.leaf_value
    base = np.full(outputs, float(SUNK))
    base[list(places)] = forest.base_scores
    return check(
        forest.replacing(leaf_value=value, base_scores=base, tree_output=np.full(forest.n_trees, VECTOR_LEAF, np.int32))
    )


def _node_table(
    document: Document, splits: Splits, outputs: int, leaf_order: Sequence[Sequence[int]]
) -> tuple[Columns, list[int]]:
    """The columns of all trees' nodes, one tree after the other, and each tree's first row."""
    symmetric = "oblivious_trees" in document
    trees = document["oblivious_trees"] if symmetric else document["trees"]
    if not trees:
        raise ModelError("the model has no trees")
    make = _oblivious if symmetric else _nested
    parts: list[Columns] = []
    start = [0]
    orders: Sequence[Sequence[int] | None] = leaf_order or [None] * len(trees)
    for tree, order in zip(trees, orders, strict=True):
        part = make(tree, outputs, splits, start[-1])
        if order is not None:
            part["number"] = _renumbered(part["number"], order)
        parts.append(part)
        start.append(start[-1] + len(part["feature"]))
    if start[-1] > np.iinfo(np.int32).max:
        raise ModelError(f"the model has {start[-1]} nodes, more than a forest can have")
    # One column after the other: a large model's trees are in memory once, not twice.
    return {name: np.concatenate([part.pop(name) for part in parts]) for name in tuple(parts[0])}, start


def _resolve(split: Document, splits: Splits) -> tuple[int, float, int]:
    """A split's feature in the forest, its border, and its set (-1 where it compares with the border)."""
    kind = split.get("split_type")
    if kind == "FloatFeature":
        feature = int(split["float_feature_index"])
        if not 0 <= feature < splits.n_floats:
            raise ModelError(f"a tree tests a feature outside the model's {splits.n_floats}")
        border = float(split["border"])
        with np.errstate(over="ignore"):
            if float(np.float32(border)) != border:
                raise ModelError("a border isn't a float32 number")
        return feature, border, -1
    if kind == "OneHotFeature":
        number, values = splits.one_hot[int(split["cat_feature_index"])]
        return number, 0.0, values[int(split["value"])]
    if kind == "OnlineCtr":
        number, border = splits.ctr_border[int(split["split_index"])]
        if border != float(split["border"]):
            raise ModelError("a split's border isn't one of its CTR's borders")
        return number, border, -1
    raise ModelError(f"a split of type {kind!r} is not supported")


def _oblivious(tree: Document, outputs: int, resolver: Splits, start: int) -> Columns:
    """A symmetric tree as a perfect one in heap order: level l tests split depth-1-l, so that the leaves stand in
    the order of their indexes. ``start``: its first row of the node table."""
    splits = tree.get("splits") or []
    depth = len(splits)
    tests, leaf_count = 2**depth - 1, 2**depth
    if len(tree["leaf_values"]) != leaf_count * outputs:  # before anything of 2**depth is made
        raise ModelError(f"a tree of depth {depth} has {len(tree['leaf_values'])} leaf values for {outputs} outputs")
    resolved = [_resolve(split, resolver) for split in splits]
    part = _columns(tests + leaf_count, outputs)
    split_of = np.repeat(np.arange(depth)[::-1], 2 ** np.arange(depth))
    for name, of_split in zip(("feature", "border", "set"), zip(*resolved, strict=True), strict=False):
        part[name][:tests] = np.array(of_split, part[name].dtype)[split_of]
    part["left"][:tests] = np.arange(start + 1, start + 2 * tests + 1, 2)
    part["right"][:tests] = np.arange(start + 2, start + 2 * tests + 2, 2)
    part["value"][tests:] = np.asarray(tree["leaf_values"], np.float64).reshape(leaf_count, outputs)
    part["number"][tests:] = np.arange(leaf_count)
    return part


def _nested(tree: Document, outputs: int, resolver: Splits, start: int) -> Columns:
    """A Lossguide or Depthwise tree: nested objects, walked left first without recursion."""
    tests: list[tuple[int, float, int]] = []
    left: list[int] = []
    right: list[int] = []
    value: list[npt.NDArray[np.float64]] = []
    number: list[int] = []
    stack: list[tuple[Document, int, bool]] = [(tree, -1, True)]
    none = np.zeros(outputs)
    leaves = 0
    while stack:
        node, parent, is_left = stack.pop()
        row = len(tests)
        if parent >= 0:
            (left if is_left else right)[parent] = start + row
        left.append(-1)
        right.append(-1)
        if "split" in node:
            tests.append(_resolve(node["split"], resolver))
            value.append(none)
            number.append(-1)
            stack.append((node["right"], row, False))
            stack.append((node["left"], row, True))
        else:
            tests.append((-1, 0.0, -1))
            value.append(np.atleast_1d(np.asarray(node["value"], np.float64)))
            number.append(leaves)
            leaves += 1
    part = _columns(len(tests), outputs)
    part["feature"][:], part["border"][:], part["set"][:] = zip(*tests, strict=True)
    part["left"][:], part["right"][:], part["number"][:] = left, right, number
    part["value"][:] = np.array(value).reshape(len(tests), outputs)
    return part


def _columns(nodes: int, outputs: int) -> Columns:
    """A tree's columns, of leaves only so far, in the dtypes of :class:`Forest`."""
    whole = {name: np.full(nodes, -1, np.int32) for name in ("feature", "set", "left", "right", "number")}
    return {**whole, "border": np.zeros(nodes, np.float32), "value": np.zeros((nodes, outputs))}


def _renumbered(number: npt.NDArray[np.int32], order: Sequence[int]) -> npt.NDArray[np.int32]:
    """``number``: -1 on tests, 0, 1, 2, … on leaves; the latter replaced by ``order``."""
    if sorted(order) != list(range(int(number.max()) + 1)):
        raise ModelError("CatBoost numbers a tree's leaves otherwise than the exported tree does")
    return np.where(number < 0, -1, np.asarray(order, np.int32)[np.maximum(number, 0)])
