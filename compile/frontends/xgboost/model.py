"""XGBoost's model document (its JSON and UBJSON have one schema) to a LoadedModel.

Schema: XGBoost's documentation, "Introduction to Model IO", files of 1.7 to 3.4. What holds of the whole model
is read in ``learner``, its trees in ``trees``, the categories' values in ``categories``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes import linear as lines
from ....passes.forest import SUNK, Forest
from ....passes.linear import Linear
from ....passes.program import Program
from ....values import OutputContract, Provenance
from ..load_options import AS_SAVED, LoadOptions
from ..loaded_model import LoadedModel, NativeFile, Oracle, Signature
from . import trees as xgboost_trees
from .categories import CategoryValues, category_values, masked_by_sentinel
from .learner import Estimator, Learner, read_learner
from .signature import feature_contract, known_nulls, output_kind, output_labels, rounds_that_count, with_version

Document = Mapping[str, Any]

BARE = Estimator()
"""A saved model: the file's own attributes say what there was of a wrapper."""


def load(
    document: object,
    native: NativeFile,
    provenance: Provenance,
    options: LoadOptions = AS_SAVED,
    estimator: Estimator = BARE,
) -> LoadedModel:
    """A parsed model document to a LoadedModel.

    Raises ModelError for what isn't an XGBoost model, or isn't supported.
    """
    learner = _mapping(_get(document, "learner", provenance.path), "learner", provenance.path)
    try:
        read = read_learner(learner, _get(document, "version", provenance.path), estimator)
        return _load(read, native, provenance, margin=options.margin, estimator=estimator)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{provenance.path}: not a complete XGBoost model: {type(error).__name__}: {error}",
            "Save it again with Booster.save_model and check that the file was copied whole.",
        ) from error


def _load(
    learner: Learner, native: NativeFile, provenance: Provenance, *, margin: bool, estimator: Estimator
) -> LoadedModel:
    as_wrapper = "scikit_learn" in learner.attributes if estimator.wrapped is None else estimator.wrapped
    rounds, notes = rounds_that_count(learner.attributes, as_wrapper)
    if estimator.wrapped is None and as_wrapper:
        notes += (
            "the file doesn't hold the wrapper's missing= value. If that wasn't NaN, optimize the pickle instead",
        )
    objective, name = learner.objective, learner.objective_name
    plain = bool(estimator.custom_objective) and objective.postprocess == "identity"
    if custom := estimator.custom_objective:
        answers = "margins" if margin or plain else f"the margins, transformed as XGBoost does for {name}"
        notes += (f"the model was trained with a custom objective ({custom}), so its answers are {answers}",)
    sentinel = _sentinel(estimator.missing)
    values = category_values(learner.booster.model, learner.n_features, learner.version_numbers, sentinel)
    program = _program(learner, values, rounds, sentinel, margin=margin)
    features = feature_contract(learner.document, learner.n_features, sentinel, values)
    if taken := known_nulls(values, features.all_names):
        word = "the smallest integer" if features.category_dtype == "int64" else "an empty text"
        notes += (f"{word} is a category of {', '.join(taken)}, so rows in which a category is missing are refused",)
    notes += _masked(values, sentinel, features.all_names)
    kind = output_kind(objective, margin or plain)
    signature = Signature(
        provenance=with_version(provenance, learner.version),
        features=features,
        output=OutputContract(
            kind=kind,
            task=objective.task,
            labels=output_labels(program.n_answers, estimator.labels, kind),
            threshold=0.5 if objective.task == "binary" and kind == "probability" else None,
        ),
        objective=estimator.custom_objective or name,
        oracle=_oracle(learner, program, values, native.name),
        notes=notes,
    )
    return LoadedModel(signature=signature, program=program, native=native.content)


def _masked(values: CategoryValues | None, sentinel: float | None, names: Sequence[str]) -> tuple[str, ...]:
    if values is None or sentinel is None or not (masked := masked_by_sentinel(values, sentinel)):
        return ()
    which = ", ".join(f"{word!a:.60} of {names[i]}" for i, word in masked.items())
    note = (
        f"missing={sentinel:g} is also the place of a category, and XGBoost takes that category for a missing one: "
        f"{which}. It goes by the order of the categories in the frame that it is asked with; here that order is the "
        "training frame's"
    )
    return (note,)


def _program(
    learner: Learner, values: CategoryValues | None, rounds: int | None, sentinel: float | None, *, margin: bool
) -> Program:
    """``rounds``: how many count, None for all. ``sentinel``: the number that stands for a missing one."""
    n_features, booster, base = learner.n_features, learner.booster, learner.base_scores()
    linear = _linear(booster.model, n_features, base) if learner.is_linear else None
    forest = (
        _no_trees(n_features, base)
        if linear
        else xgboost_trees.forest(booster.model, n_features, base, booster.weights)
    )
    if margin and np.any(base == SUNK):
        raise ModelError(
            "XGBoost's margins are minus infinity for every row: a base_score of 0 has no logarithm",
            "Leave --output margin out: its predictions are 0, and are served.",
        )
    return Program(
        forest=forest,
        postprocess="identity" if margin else learner.objective.postprocess,
        columns=np.arange(n_features, dtype=np.int32) if values is None else values.columns,
        n_columns=n_features if values is None else len(values.numeric),
        missing=sentinel,
        n_iterations=None if linear else rounds,
        trees_per_iteration=1 if linear else xgboost_trees.trees_per_round(booster.model, learner.outputs),
        categories=None if values is None else values.categories,
        linear=linear,
    )


def _oracle(learner: Learner, program: Program, values: CategoryValues | None, native_file: str) -> Oracle:
    parameters = {
        "answer": program.postprocess,
        "missing": repr(float("nan") if program.missing is None else program.missing),
        "rounds": str(program.n_iterations or 0),
    }
    if learner.is_linear:
        parameters["booster"] = learner.booster.name
    if learner.objective_name == "multi:softmax":
        parameters["softmax"] = "of margins"
    if values is not None:
        parameters |= {
            "columns": json.dumps(values.layout),
            "kinds": json.dumps(values.kinds),
            "known": json.dumps(values.categories.vocabularies),
        }
    return Oracle(framework="xgboost", version=learner.version, native_file=native_file, parameters=parameters)


def _sentinel(missing: float | None) -> float | None:
    sentinel = None if missing is None or math.isnan(missing) else float(missing)
    if sentinel is not None and not abs(sentinel) <= float(np.finfo(np.float32).max):
        raise ModelError(
            f"missing={sentinel:g}, which is no finite float32 number, is not supported",
            "Train with NaN, or a finite number, for what is missing.",
        )
    return sentinel


def _linear(model: Document, n_features: int, base_scores: npt.NDArray[np.float32]) -> Linear:
    """gblinear: a row of weights a feature, the last row the bias. Every output starts from the first base score, as
    XGBoost's own predictor does."""
    weights = np.asarray(model["weights"], np.float32)
    if weights.shape != ((n_features + 1) * len(base_scores),):
        raise ModelError(
            f"the model has {weights.size} weights; expected {n_features + 1} (one for each feature, and the bias) "
            f"for each of {len(base_scores)} outputs"
        )
    table = weights.reshape(n_features + 1, -1)
    if base_scores[0] == SUNK and np.any(table):
        raise ModelError(
            "its weights add to a margin of minus infinity (a base_score of 0), which is not supported with gblinear",
            "Train it again with a base_score above 0.",
        )
    return lines.check(Linear(weight=table[:-1].copy(), bias=table[-1] + base_scores[0]))


def _no_trees(n_features: int, base_scores: npt.NDArray[np.float32]) -> Forest:
    none = np.zeros(0, np.int32)
    return Forest(
        tree_start=np.zeros(1, np.int32),
        feature=none,
        threshold=np.zeros(0, np.float32),
        left=none,
        right=none,
        default_left=np.zeros(0, np.bool_),
        leaf_value=np.zeros((0, 1), np.float32),
        leaf_number=none,
        tree_output=none,
        base_scores=base_scores,
        n_features=n_features,
    )


def _get(document: object, key: str, path: str) -> Any:
    if isinstance(document, Mapping) and key in document:
        return document[key]
    raise ModelError(f"{path}: not an XGBoost model: it has no {key!r} field")


def _mapping(value: Any, key: str, path: str) -> Document:
    if isinstance(value, Mapping):
        return value
    raise ModelError(f"{path}: not an XGBoost model: {key!r} is not an object")
