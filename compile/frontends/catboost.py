"""CatBoost's JSON export (``save_model(f, format="json")``) to a LoadedModel. A .cbm is exported first, in a worker.

Facts that hold here (measured against CatBoost 1.2): leaf index bit i of a symmetric tree is split i; ``x > border``
goes right and NaN goes left unless ``nan_value_treatment`` is AsTrue; leaves of other trees are numbered left to
right in a model that CatBoost has loaded from JSON, but in the order of their making in a .cbm; values are doubles,
summed in tree order, times scale, plus bias; borders are float32, as inputs are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelError
from ...passes.forest import VECTOR_LEAF, Forest, check
from ...passes.program import Program
from ...values import FeatureContract, OutputContract, Provenance
from . import objectives
from .loaded import LoadedModel, Oracle, Signature

Document = Mapping[str, Any]
Columns = dict[str, npt.NDArray[Any]]


def load(
    document: object,
    native: bytes,
    native_file: str,
    provenance: Provenance,
    *,
    margin: bool = False,
    leaf_order: Sequence[Sequence[int]] = (),
) -> LoadedModel:
    """A parsed JSON export to a LoadedModel. ``native``: the model as CatBoost reads it (cbm or the same JSON).

    ``leaf_order``: for each tree that isn't symmetric, ``native``'s own numbers of its leaves, left to right; empty
    where they are 0, 1, 2, …. Raises ModelError for what isn't a CatBoost export, or isn't supported.
    """
    if not isinstance(document, Mapping) or "features_info" not in document or "model_info" not in document:
        raise ModelError(f"{provenance.path}: not a CatBoost model: no 'features_info' and 'model_info' in it")
    try:
        return _load(document, native, native_file, provenance, margin=margin, leaf_order=leaf_order)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(
            f"{provenance.path}: not a complete CatBoost model: {type(error).__name__}: {error}",
            "Save it again with save_model and check that the file was copied whole.",
        ) from error


def _load(
    document: Document,
    native: bytes,
    native_file: str,
    provenance: Provenance,
    *,
    margin: bool,
    leaf_order: Sequence[Sequence[int]],
) -> LoadedModel:
    information = document["model_info"]
    name = str(information["params"]["loss_function"]["type"])
    objective = objectives.find(objectives.CATBOOST, name, "CatBoost")
    names, named, nan_left = _float_features(document["features_info"])
    forest = _forest(document, nan_left, len(names), leaf_order)
    program = Program(
        forest=forest,
        postprocess="identity" if margin else objective.postprocess,
        columns=np.arange(len(names), dtype=np.int32),
        n_columns=len(names),
    )
    probability = objective.task in ("binary", "multiclass") and not margin
    version = _version(str(information.get("catboost_version_info", "")))
    signature = Signature(
        provenance=Provenance(
            path=provenance.path,
            format=provenance.format,
            sha256=provenance.sha256,
            framework="catboost",
            framework_version=version,
            estimator=provenance.estimator,
        ),
        features=FeatureContract(names=names, named=named, dtypes=("float32",) * len(names)),
        output=OutputContract(
            kind="margin" if margin else "probability" if probability else "value",
            task=objective.task,
            labels=_labels(information, program.n_answers, margin=margin, probability=probability),
            threshold=_threshold(information) if objective.task == "binary" and probability else None,
        ),
        objective=name,
        oracle=Oracle(
            framework="catboost",
            version=version,
            native_file=native_file,
            parameters={"answer": program.postprocess, "format": "json" if native_file.endswith(".json") else "cbm"},
        ),
    )
    return LoadedModel(signature=signature, program=program, native=native)


def _float_features(information: Document) -> tuple[tuple[str, ...], bool, npt.NDArray[np.bool_]]:
    """Names by position in the client's row, whether they are the model's own, and where NaN goes for each."""
    for kind in ("categorical_features", "text_features", "embedding_features", "ctrs"):
        if information.get(kind):
            raise ModelError(
                f"CatBoost's {kind.replace('_', ' ')} are not supported in this version",
                "Numeric features only: encode the others as numbers before training.",
            )
    features = sorted(information["float_features"], key=lambda feature: int(feature["feature_index"]))
    if not features:
        raise ModelError("the model has no features")
    if [int(feature["flat_feature_index"]) for feature in features] != list(range(len(features))):
        raise ModelError("the model's features aren't numbered 0, 1, 2, …")
    names = [str(feature.get("feature_id") or "") for feature in features]
    named = all(names) and len(set(names)) == len(names) and names != [str(i) for i in range(len(names))]
    treatments = [feature.get("nan_value_treatment") for feature in features]
    unknown = [treatment for treatment in treatments if treatment not in ("AsIs", "AsFalse", "AsTrue")]
    if unknown:
        raise ModelError(f"nan_value_treatment {unknown[0]!r:.60} is not supported in this version")
    nan_left = np.array([treatment != "AsTrue" for treatment in treatments])
    return tuple(names) if named else tuple(f"f{i}" for i in range(len(names))), named, nan_left


def _forest(
    document: Document, nan_left: npt.NDArray[np.bool_], n_features: int, leaf_order: Sequence[Sequence[int]]
) -> Forest:
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
    parts = [make(tree, outputs) for tree in trees]
    for part, order in zip(parts, leaf_order, strict=bool(leaf_order)):
        part["number"] = _renumbered(part["number"], order)
    sizes = np.array([len(part["feature"]) for part in parts], np.int64)
    start = np.concatenate([[0], np.cumsum(sizes)])
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    offset, test = np.repeat(start[:-1], sizes), whole["left"] >= 0
    feature = whole["feature"]
    if np.any(feature[test] < 0) or np.any(feature >= n_features):  # before int32 could wrap them
        raise ModelError(f"a tree tests a feature outside the model's {n_features}")
    with np.errstate(over="ignore"):
        border = whole["border"].astype(np.float32)
    if not np.array_equal(border.astype(np.float64), whole["border"]):
        raise ModelError("a border isn't a float32 number")
    return check(
        Forest(
            tree_start=start.astype(np.int32),
            feature=feature.astype(np.int32),
            threshold=border,
            left=np.where(test, whole["left"] + offset, -1).astype(np.int32),
            right=np.where(test, whole["right"] + offset, -1).astype(np.int32),
            default_left=nan_left[np.maximum(feature, 0)] & test,
            leaf_value=whole["value"].astype(np.float64) * float(scale),
            leaf_number=whole["number"].astype(np.int32),
            tree_output=np.full(len(trees), 0 if outputs == 1 else VECTOR_LEAF, np.int32),
            base_scores=base,
            n_features=n_features,
            comparison="<=",
        )
    )


def _oblivious(tree: Document, outputs: int) -> Columns:
    """A symmetric tree as a perfect one in heap order: level l tests split depth-1-l, so that the leaves stand in
    the order of their indexes."""
    splits = tree.get("splits") or []
    depth = len(splits)
    tests, leaf_count = 2**depth - 1, 2**depth
    if len(tree["leaf_values"]) != leaf_count * outputs:  # before anything of 2**depth is made
        raise ModelError(f"a tree of depth {depth} has {len(tree['leaf_values'])} leaf values for {outputs} outputs")
    for split in splits:
        _need_float(split)
    split_of = np.repeat(np.arange(depth)[::-1], 2 ** np.arange(depth)) if depth else np.zeros(0, np.int64)
    feature = np.array([int(split["float_feature_index"]) for split in splits] or [0])
    border = np.array([float(split["border"]) for split in splits] or [0.0])
    values = np.asarray(tree["leaf_values"], np.float64).reshape(leaf_count, outputs)
    node = np.arange(tests)
    no_child, leaves = np.full(leaf_count, -1), np.arange(leaf_count)
    return {
        "feature": np.concatenate([feature[split_of], no_child]),
        "border": np.concatenate([border[split_of], np.zeros(leaf_count)]),
        "left": np.concatenate([2 * node + 1, no_child]),
        "right": np.concatenate([2 * node + 2, no_child]),
        "value": np.concatenate([np.zeros((tests, outputs)), values]),
        "number": np.concatenate([np.full(tests, -1), leaves]),
    }


def _nested(tree: Document, outputs: int) -> Columns:
    """A Lossguide or Depthwise tree: nested objects, walked left first without recursion."""
    feature: list[int] = []
    border: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[npt.NDArray[np.float64]] = []
    number: list[int] = []
    stack: list[tuple[Document, int, bool]] = [(tree, -1, True)]
    leaves = 0
    while stack:
        node, parent, is_left = stack.pop()
        row = len(feature)
        if parent >= 0:
            (left if is_left else right)[parent] = row
        left.append(-1)
        right.append(-1)
        if "split" in node:
            _need_float(node["split"])
            feature.append(int(node["split"]["float_feature_index"]))
            border.append(float(node["split"]["border"]))
            value.append(np.zeros(outputs))
            number.append(-1)
            stack.append((node["right"], row, False))
            stack.append((node["left"], row, True))
        else:
            feature.append(-1)
            border.append(0.0)
            value.append(np.atleast_1d(np.asarray(node["value"], np.float64)))
            number.append(leaves)
            leaves += 1
    return {
        "feature": np.array(feature),
        "border": np.array(border),
        "left": np.array(left),
        "right": np.array(right),
        "value": np.array(value).reshape(len(feature), outputs),
        "number": np.array(number),
    }


def _renumbered(number: npt.NDArray[np.int64], order: Sequence[int]) -> npt.NDArray[np.int64]:
    """``number``: -1 on tests, 0, 1, 2, … on leaves; the latter replaced by ``order``."""
    if sorted(order) != list(range(int(number.max()) + 1)):
        raise ModelError("CatBoost's own numbers of a tree's leaves aren't those of the exported tree")
    return np.where(number < 0, -1, np.asarray(order)[np.maximum(number, 0)])


def _need_float(split: Document) -> None:
    if split.get("split_type") != "FloatFeature":
        raise ModelError(f"a split of type {split.get('split_type')!r} is not supported in this version")


def _labels(information: Document, count: int, *, margin: bool, probability: bool) -> tuple[str, ...]:
    names = [str(name) for name in dict(information.get("class_params") or {}).get("class_names") or ()]
    if len(names) == count and (probability or count > 1):
        return tuple(names)
    if probability or count > 1:
        return tuple(str(i) for i in range(count))
    return ("margin",) if margin else ("value",)


def _threshold(information: Document) -> float:
    """``set_probability_threshold`` changes labels only; CatBoost decides for the second class above it."""
    stored = information.get("binclass_probability_threshold")
    return 0.5 if stored is None else float(stored)


def _version(text: str) -> str:
    found = re.search(r"release (\d+\.\d+(?:\.\d+)?)|tags/v(\d+\.\d+(?:\.\d+)?)", text)
    return next(filter(None, found.groups())) if found else ""
