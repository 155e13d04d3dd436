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

from ...errors import ModelError
from ...passes.forest import VECTOR_LEAF, Forest, check

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
    symmetric = "oblivious_trees" in document
    trees = document["oblivious_trees"] if symmetric else document["trees"]
    if not trees:
        raise ModelError("the model has no trees")
    make = _oblivious if symmetric else _nested
    parts = [make(tree, outputs, splits) for tree in trees]
    for part, order in zip(parts, leaf_order, strict=bool(leaf_order)):
        part["number"] = _renumbered(part["number"], order)
    sizes = np.array([len(part["feature"]) for part in parts], np.int64)
    start = np.concatenate([[0], np.cumsum(sizes)])
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    offset, test = np.repeat(start[:-1], sizes), whole["left"] >= 0
    feature, chosen = whole["feature"], whole["set"]
    if np.any(feature[test] < 0) or np.any(feature >= splits.n_features):  # before int32 could wrap them
        raise ModelError(f"a tree tests a feature outside the model's {splits.n_features}")
    with np.errstate(over="ignore"):
        border = whole["border"].astype(np.float32)
    if not np.array_equal(border.astype(np.float64), whole["border"]):
        raise ModelError("a border isn't a float32 number")
    left = np.ones(splits.n_features + 1, np.bool_)  # codes and CTRs are never NaN
    left[: len(nan_left)] = nan_left
    values = int(chosen.max(initial=-1)) + 1  # one-hot value k is the set {k}
    return check(
        Forest(
            tree_start=start.astype(np.int32),
            feature=feature.astype(np.int32),
            threshold=border,
            left=np.where(test, whole["left"] + offset, -1).astype(np.int32),
            right=np.where(test, whole["right"] + offset, -1).astype(np.int32),
            default_left=left[feature] & test,
            leaf_value=whole["value"].astype(np.float64) * float(scale),
            leaf_number=whole["number"].astype(np.int32),
            tree_output=np.full(len(trees), 0 if outputs == 1 else VECTOR_LEAF, np.int32),
            base_scores=base,
            n_features=splits.n_features,
            comparison="<=",
            category_set=chosen.astype(np.int32),
            set_start=np.arange(values + 1, dtype=np.int64),
            set_member=np.arange(values, dtype=np.int32),
        )
    )


def _resolve(split: Document, splits: Splits) -> tuple[int, float, int]:
    """A split's feature in the forest, its border, and its set (-1 where it compares with the border)."""
    kind = split.get("split_type")
    if kind == "FloatFeature":
        feature = int(split["float_feature_index"])
        if not 0 <= feature < splits.n_floats:
            raise ModelError(f"a tree tests a feature outside the model's {splits.n_floats}")
        return feature, float(split["border"]), -1
    if kind == "OneHotFeature":
        number, values = splits.one_hot[int(split["cat_feature_index"])]
        return number, 0.0, values[int(split["value"])]
    if kind == "OnlineCtr":
        number, border = splits.ctr_border[int(split["split_index"])]
        if border != float(split["border"]):
            raise ModelError("a split's border isn't its CTR's")
        return number, border, -1
    raise ModelError(f"a split of type {kind!r} is not supported")


def _oblivious(tree: Document, outputs: int, resolver: Splits) -> Columns:
    """A symmetric tree as a perfect one in heap order: level l tests split depth-1-l, so that the leaves stand in
    the order of their indexes."""
    splits = tree.get("splits") or []
    depth = len(splits)
    tests, leaf_count = 2**depth - 1, 2**depth
    if len(tree["leaf_values"]) != leaf_count * outputs:  # before anything of 2**depth is made
        raise ModelError(f"a tree of depth {depth} has {len(tree['leaf_values'])} leaf values for {outputs} outputs")
    split_of = np.repeat(np.arange(depth)[::-1], 2 ** np.arange(depth)) if depth else np.zeros(0, np.int64)
    resolved = [_resolve(split, resolver) for split in splits] or [(0, 0.0, -1)]
    feature, border, chosen = (np.array(part) for part in zip(*resolved, strict=True))
    values = np.asarray(tree["leaf_values"], np.float64).reshape(leaf_count, outputs)
    node = np.arange(tests)
    no_child, leaves = np.full(leaf_count, -1), np.arange(leaf_count)
    return {
        "feature": np.concatenate([feature[split_of], no_child]),
        "border": np.concatenate([border[split_of], np.zeros(leaf_count)]),
        "set": np.concatenate([chosen[split_of], no_child]),
        "left": np.concatenate([2 * node + 1, no_child]),
        "right": np.concatenate([2 * node + 2, no_child]),
        "value": np.concatenate([np.zeros((tests, outputs)), values]),
        "number": np.concatenate([np.full(tests, -1), leaves]),
    }


def _nested(tree: Document, outputs: int, resolver: Splits) -> Columns:
    """A Lossguide or Depthwise tree: nested objects, walked left first without recursion."""
    tests: list[tuple[int, float, int]] = []
    left: list[int] = []
    right: list[int] = []
    value: list[npt.NDArray[np.float64]] = []
    number: list[int] = []
    stack: list[tuple[Document, int, bool]] = [(tree, -1, True)]
    leaves = 0
    while stack:
        node, parent, is_left = stack.pop()
        row = len(tests)
        if parent >= 0:
            (left if is_left else right)[parent] = row
        left.append(-1)
        right.append(-1)
        if "split" in node:
            tests.append(_resolve(node["split"], resolver))
            value.append(np.zeros(outputs))
            number.append(-1)
            stack.append((node["right"], row, False))
            stack.append((node["left"], row, True))
        else:
            tests.append((-1, 0.0, -1))
            value.append(np.atleast_1d(np.asarray(node["value"], np.float64)))
            number.append(leaves)
            leaves += 1
    feature, border, chosen = (np.array(part) for part in zip(*tests, strict=True))
    return {
        "feature": feature, "border": border, "set": chosen, "left": np.array(left), "right": np.array(right),
        "value": np.array(value).reshape(len(feature), outputs), "number": np.array(number),
    }  # fmt: skip


def _renumbered(number: npt.NDArray[np.int64], order: Sequence[int]) -> npt.NDArray[np.int64]:
    """``number``: -1 on tests, 0, 1, 2, … on leaves; the latter replaced by ``order``."""
    if sorted(order) != list(range(int(number.max()) + 1)):
        raise ModelError("CatBoost's own numbers of a tree's leaves aren't those of the exported tree")
    return np.where(number < 0, -1, np.asarray(order)[np.maximum(number, 0)])
