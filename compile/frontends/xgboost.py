"""XGBoost's model document (its JSON and UBJSON have one schema) to a LoadedModel.

Read by us and not through Treelite: node numbers stay XGBoost's own, which is what parity compares leaf by leaf;
thresholds and leaf values stay the float32 that they are; and no native parser sees a stranger's file.
Schema: XGBoost's documentation, "Introduction to Model IO", files of 1.7 to 3.x.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelError
from ...passes.forest import Forest, check
from ...passes.program import Program
from ...values import OutputContract, Provenance
from . import objectives
from .loaded import LoadedModel, Oracle, Signature
from .xgboost_signature import (
    as_asked,
    feature_contract,
    output_kind,
    output_labels,
    rounds_that_count,
    saved_estimator,
    version_of,
    with_version,
)

Document = Mapping[str, Any]

MAX_FEATURES = 1 << 20
"""A row of more would be 4 MiB. Also what keeps a file's number from becoming an array of any size."""


def load(
    document: object,
    native: bytes,
    native_file: str,
    provenance: Provenance,
    *,
    margin: bool = False,
    missing: float | None = None,
    labels: Sequence[str] = (),
    wrapped: bool | None = None,
    best_iteration: int | None = None,
    estimator: str = "",
) -> LoadedModel:
    """A parsed model document to a LoadedModel.

    ``margin``: raw scores are the answer. ``missing``: the wrapper's sentinel. ``wrapped``: the model answers as the
    scikit-learn wrapper does (rounds up to ``best_iteration`` only); None: as the file's own attributes say.
    ``best_iteration``: the wrapper's, where the file doesn't hold it (before xgboost 2.0). ``estimator``: the wrapper's
    class, where it is known.
    Raises ModelError for what isn't an XGBoost model, or isn't supported.
    """
    learner = _mapping(_get(document, "learner", provenance.path), "learner", provenance.path)
    try:
        return _load(
            learner, document, native, native_file, provenance,
            margin=margin, missing=missing, labels=labels, wrapped=wrapped, best_iteration=best_iteration,
            estimator=estimator,
        )  # fmt: skip
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{provenance.path}: not a complete XGBoost model: {type(error).__name__}: {error}",
            "Save it again with Booster.save_model and check that the file was copied whole.",
        ) from error


def _load(
    learner: Document,
    document: object,
    native: bytes,
    native_file: str,
    provenance: Provenance,
    *,
    margin: bool,
    missing: float | None,
    labels: Sequence[str],
    wrapped: bool | None,
    best_iteration: int | None,
    estimator: str,
) -> LoadedModel:
    attributes = {str(k): str(v) for k, v in dict(learner.get("attributes") or {}).items()}
    if best_iteration is not None:
        attributes.setdefault("best_iteration", str(best_iteration))
    parameters = learner["learner_model_param"]
    name = str(learner["objective"]["name"])
    kind_of_estimator = estimator or saved_estimator(attributes)
    objective = as_asked(objectives.find(objectives.XGBOOST, name, "XGBoost"), kind_of_estimator)
    n_features, n_classes = int(parameters["num_feature"]), int(parameters.get("num_class", 0))
    _refuse_unsupported(learner, parameters)
    model = learner["gradient_booster"]["model"]
    outputs = max(n_classes, 1)
    if not 1 <= n_features <= MAX_FEATURES:
        raise ModelError(f"the model has {n_features} features, expected 1 to {MAX_FEATURES:,}")
    if not model["trees"]:
        raise ModelError("the model has no trees")
    if outputs > len(model["trees"]):
        raise ModelError(
            f"the model has {outputs} classes and {len(model['trees'])} trees, expected one a class at least"
        )
    forest = _forest(model, n_features, outputs, _base_scores(parameters, objective, outputs))
    as_wrapper = "scikit_learn" in attributes if wrapped is None else wrapped
    rounds, notes = rounds_that_count(attributes, as_wrapper)
    if wrapped is None and as_wrapper:
        notes += ("the file doesn't hold the wrapper's missing=: if that wasn't NaN, optimize the pickle instead",)
    sentinel = None if missing is None or math.isnan(missing) else float(missing)
    if sentinel is not None and not abs(sentinel) <= float(np.finfo(np.float32).max):
        raise ModelError(f"missing={sentinel:g}, which is no finite float32 number, is not supported in this version")
    program = Program(
        forest=forest,
        postprocess="identity" if margin else objective.postprocess,
        columns=np.arange(n_features, dtype=np.int32),
        n_columns=n_features,
        missing=sentinel,
        n_iterations=rounds,
        trees_per_iteration=_trees_per_round(model, outputs),
    )
    kind = output_kind(objective, margin)
    version = version_of(_get(document, "version", provenance.path))
    signature = Signature(
        provenance=with_version(provenance, version),
        features=feature_contract(learner, n_features, sentinel),
        output=OutputContract(
            kind=kind,
            task=objective.task,
            labels=output_labels(objective, outputs, labels, kind),
            threshold=0.5 if objective.task == "binary" and kind == "probability" else None,
        ),
        objective=name,
        oracle=Oracle(
            framework="xgboost",
            version=version,
            native_file=native_file,
            parameters={
                "answer": program.postprocess,
                "missing": repr(float("nan") if sentinel is None else sentinel),
                "rounds": str(rounds or 0),
            },
        ),
        notes=notes,
    )
    return LoadedModel(signature=signature, program=program, native=native)


def _refuse_unsupported(learner: Document, parameters: Document) -> None:
    booster = str(learner["gradient_booster"].get("name", "gbtree"))
    if booster != "gbtree":
        raise ModelError(f"XGBoost's booster {booster!r} is not supported in this version", "Supported: gbtree.")
    if int(parameters.get("num_target", 1)) > 1:
        raise ModelError("a model with several targets is not supported in this version", "Save one model a target.")
    types = [str(kind) for kind in learner.get("feature_types") or ()]
    names = [str(name) for name in learner.get("feature_names") or ()] or [f"f{i}" for i in range(len(types))]
    categorical = [name for name, kind in zip(names, types, strict=False) if kind in ("c", "categorical")]
    if categorical:
        raise ModelError(
            f"categorical features are not supported in this version: {', '.join(categorical[:5])}",
            "Encode them as numbers before training.",
        )


def _forest(model: Document, n_features: int, outputs: int, base_scores: npt.NDArray[np.float32]) -> Forest:
    trees = list(model["trees"])
    for tree in trees:
        if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise ModelError("vector leaves (multi_strategy=multi_output_tree) are not supported in this version")
        if len(tree.get("categories_nodes", ())) or np.any(np.asarray(tree.get("split_type", 0)) != 0):
            raise ModelError("splits on categories are not supported in this version")

    sizes = np.array([len(tree["left_children"]) for tree in trees], np.int64)

    def column(name: str, kinds: str, dtype: type) -> npt.NDArray[Any]:
        return np.concatenate(
            [_column(tree, name, kinds, n) for tree, n in zip(trees, sizes, strict=True)], dtype=dtype, casting="unsafe"
        )

    start = np.concatenate([[0], np.cumsum(sizes)])
    if start[-1] > np.iinfo(np.int32).max:
        raise ModelError(f"{start[-1]} nodes are more than the 2,147,483,647 that a forest holds")
    offset = np.repeat(start[:-1], sizes)
    number = np.arange(start[-1]) - offset
    left, right = column("left_children", "iu", np.int64), column("right_children", "iu", np.int64)
    test = left >= 0
    if np.any((right >= 0) != test):
        raise ModelError("a node has one child only")
    if np.any((left >= np.repeat(sizes, sizes)) | (right >= np.repeat(sizes, sizes))):
        raise ModelError("a node points at a child outside its tree")
    with np.errstate(over="ignore"):  # a number beyond float32 is an infinity, which check refuses on a leaf
        condition = column("split_conditions", "fiu", np.float32)
    feature = np.where(test, column("split_indices", "iu", np.int64), -1)
    if np.any(feature[test] < 0) or np.any(feature >= n_features):  # here, while they are whole: int32 would wrap
        raise ModelError(f"a tree tests a feature outside the model's {n_features}")
    output = _column(model, "tree_info", "iu", len(trees)) if outputs > 1 else np.zeros(len(trees), np.int32)
    if np.any((output < 0) | (output >= outputs)):
        raise ModelError(f"a tree adds to an output outside the model's {outputs}")
    return check(
        Forest(
            tree_start=start.astype(np.int32),
            feature=feature.astype(np.int32),
            threshold=np.where(test, condition, np.float32(0)),
            left=np.where(test, left + offset, -1).astype(np.int32),
            right=np.where(test, right + offset, -1).astype(np.int32),
            default_left=column("default_left", "iub", np.bool_) & test,
            leaf_value=np.where(test, np.float32(0), condition)[:, None],
            leaf_number=np.where(test, -1, number).astype(np.int32),
            tree_output=output.astype(np.int32),
            base_scores=base_scores,
            n_features=n_features,
            comparison="<",
        )
    )


def _column(fields: Document, name: str, kinds: str, length: int) -> npt.NDArray[Any]:
    """``fields[name]`` as an array of ``length`` numbers whose numpy kind is one of ``kinds``."""
    values = np.asarray(fields[name])
    if values.shape != (length,) or (length and values.dtype.kind not in kinds):
        raise ModelError(f"{name!r} should be {length} numbers, it is {values.dtype} of shape {list(values.shape)}")
    return values


def _base_scores(parameters: Document, objective: objectives.Objective, outputs: int) -> npt.NDArray[np.float32]:
    """[K]: a scalar for all outputs up to XGBoost 3.0, a list in a string from 3.1 on."""
    stored = json.loads(str(parameters["base_score"]))
    scores = [float(score) for score in (stored if isinstance(stored, list) else [stored])]
    if len(scores) not in (1, outputs):
        raise ModelError(f"base_score has {len(scores)} entries, the model {outputs} outputs")
    if len(scores) == 1:
        scores *= outputs
    return np.array([objectives.base_margin(objective.link, score) for score in scores], np.float32)


def _trees_per_round(model: Document, outputs: int) -> int:
    bounds = model.get("iteration_indptr")
    if bounds is not None and len(bounds) > 1:
        sizes = {int(after) - int(before) for before, after in itertools.pairwise(bounds)}
        if len(sizes) > 1 or (int(bounds[0]), int(bounds[-1])) != (0, len(model["trees"])):
            raise ModelError("its boosting rounds hold different numbers of trees")
        return sizes.pop()
    return outputs * max(int(model["gbtree_model_param"].get("num_parallel_tree", 1)), 1)


def _get(document: object, key: str, path: str) -> Any:
    if isinstance(document, Mapping) and key in document:
        return document[key]
    raise ModelError(f"{path}: not an XGBoost model: it has no {key!r} field")


def _mapping(value: Any, key: str, path: str) -> Document:
    if isinstance(value, Mapping):
        return value
    raise ModelError(f"{path}: not an XGBoost model: {key!r} is not an object")
