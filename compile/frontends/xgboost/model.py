"""XGBoost's model document (its JSON and UBJSON have one schema) to a LoadedModel.

Schema: XGBoost's documentation, "Introduction to Model IO", files of 1.7 to 3.4. The trees are read in
``xgboost_trees``, the categories' values in ``xgboost_categories``.
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
from ....passes.forest import Forest
from ....passes.linear import Linear
from ....passes.program import Program
from ....values import OutputContract, Provenance
from .. import objectives
from ..loaded_model import LoadedModel, Oracle, Signature
from . import trees as xgboost_trees
from .categories import category_values
from .signature import (
    as_asked,
    feature_contract,
    known_nulls,
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
MAX_OUTPUTS = 1 << 16

SORTED_QUANTILES = (3, 4, 0)
"""From this version on XGBoost sorts the answers of several quantiles."""


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
    custom_objective: str = "",
) -> LoadedModel:
    """A parsed model document to a LoadedModel.

    ``custom_objective``: the name of the user's own, where it was trained with one; XGBoost predicts with the file's.
    ``margin``: raw scores are the answer.
    ``missing``: the wrapper's sentinel. ``wrapped``: the model answers as the scikit-learn wrapper does
    (rounds up to ``best_iteration`` only); None: as the file's own attributes say.
    ``best_iteration``: the wrapper's, where the file doesn't hold it (before xgboost 2.0). ``estimator``: the wrapper's
    class, where it is known.
    Raises ModelError for what isn't an XGBoost model, or isn't supported.
    """
    learner = _mapping(_get(document, "learner", provenance.path), "learner", provenance.path)
    try:
        return _load(
            learner,
            document,
            native,
            native_file,
            provenance,
            margin=margin,
            missing=missing,
            labels=labels,
            wrapped=wrapped,
            best_iteration=best_iteration,
            estimator=estimator,
            custom_objective=custom_objective,
        )
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
    custom_objective: str,
) -> LoadedModel:
    attributes = {str(k): str(v) for k, v in dict(learner.get("attributes") or {}).items()}
    if best_iteration is not None:
        attributes.setdefault("best_iteration", str(best_iteration))
    parameters = learner["learner_model_param"]
    version = version_of(_get(document, "version", provenance.path))
    several = int(parameters.get("num_class", 0)), int(parameters.get("num_target", 1))
    outputs = max(*several, 1) if min(several) >= 0 else min(several)
    n_features = int(parameters["num_feature"])
    if not 1 <= n_features <= MAX_FEATURES:
        raise ModelError(f"the model has {n_features} features, expected 1 to {MAX_FEATURES:,}")
    if not 1 <= outputs <= MAX_OUTPUTS:
        raise ModelError(f"the model has {outputs} outputs, expected 1 to {MAX_OUTPUTS:,}")
    estimator = estimator or saved_estimator(attributes)
    objective, name = _objective(learner, outputs, version, estimator)
    if custom_objective and name == "multi:softmax":
        raise ModelError(
            f"trained with {name}, and its objective then set to {custom_objective}: what predict_proba gives of it is "
            "no probability",
            "Give it the objective that it was trained with, or optimize its get_booster() instead.",
        )
    booster, model, weights = _booster(learner["gradient_booster"])
    as_wrapper = "scikit_learn" in attributes if wrapped is None else wrapped
    rounds, notes = rounds_that_count(attributes, as_wrapper)
    if wrapped is None and as_wrapper:
        notes += ("the file doesn't hold the wrapper's missing=: if that wasn't NaN, optimize the pickle instead",)
    plain = bool(custom_objective) and objective.postprocess == "identity"
    if custom_objective:
        answers = "margins" if margin or plain else f"what XGBoost makes of the margins, as for {name}"
        notes += (f"trained with an objective of its own ({custom_objective}): the answers are {answers}",)
    sentinel = _sentinel(missing)
    values = category_values(model, n_features, tuple(map(int, version.split("."))))
    if values is not None and sentinel is not None:
        raise ModelError(f"missing={sentinel:g} beside categories of strings is not supported", "Use NaN for missing.")
    base = _base_scores(parameters, objective, outputs)
    linear = _linear(model, n_features, base) if booster == "gblinear" else None
    n_numeric = n_features if values is None else len(values.numeric)
    program = Program(
        forest=_no_trees(n_features, base) if linear else xgboost_trees.forest(model, n_features, base, weights),
        postprocess="identity" if margin else objective.postprocess,
        columns=np.arange(n_features, dtype=np.int32) if values is None else values.columns,
        n_columns=n_numeric,
        missing=sentinel,
        n_iterations=None if linear else rounds,
        trees_per_iteration=1 if linear else xgboost_trees.trees_per_round(model, outputs),
        categories=None if values is None else values.categories,
        linear=linear,
    )
    features = feature_contract(learner, n_features, sentinel, values)
    if taken := known_nulls(values, features.all_names):
        word = "the smallest integer" if features.category_dtype == "int64" else "an empty text"
        notes += (f"{word} is a category of {', '.join(taken)}: rows in which a category is missing are refused",)
    kind = output_kind(objective, margin or plain)
    signature = Signature(
        provenance=with_version(provenance, version),
        features=features,
        output=OutputContract(
            kind=kind,
            task=objective.task,
            labels=output_labels(program.n_answers, labels, kind),
            threshold=0.5 if objective.task == "binary" and kind == "probability" else None,
        ),
        objective=custom_objective or name,
        oracle=Oracle(
            framework="xgboost",
            version=version,
            native_file=native_file,
            parameters={
                "answer": program.postprocess,
                "missing": repr(float("nan") if sentinel is None else sentinel),
                "rounds": str(program.n_iterations or 0),
                **({"booster": booster} if linear else {}),
                **({"softmax": "of margins"} if name == "multi:softmax" else {}),
                **(
                    {
                        "columns": json.dumps(values.layout),
                        "kinds": json.dumps(values.kinds),
                        "known": json.dumps(values.categories.vocabularies),
                    }
                    if values is not None
                    else {}
                ),
            },
        ),
        notes=notes,
    )
    return LoadedModel(signature=signature, program=program, native=native)


def _objective(learner: Document, outputs: int, version: str, estimator: str) -> tuple[objectives.Objective, str]:
    """The table's row as it applies to this model, and the objective's name."""
    name = str(learner["objective"]["name"])
    found = objectives.find(objectives.XGBOOST, name, "XGBoost")
    if name == "reg:quantileerror" and outputs > 1 and tuple(map(int, version.split("."))) >= SORTED_QUANTILES:
        found = objectives.Objective(task=found.task, postprocess="sort", link=found.link)
    return as_asked(found, name, estimator, outputs), name


def _booster(booster: Document) -> tuple[str, Document, npt.NDArray[np.float32] | None]:
    """The booster's name, its model, and dart's weights of the trees (from 3.4 on a gbtree may have them too)."""
    name = str(booster.get("name", "gbtree"))
    if name not in ("gbtree", "dart", "gblinear"):
        raise ModelError(f"XGBoost's booster {name!r} is not supported", "Supported: gbtree, dart, gblinear.")
    model = (booster.get("gbtree") or booster)["model"] if name == "dart" else booster["model"]
    given = booster.get("weight_drop", model.get("weight_drop", ()))
    if name == "gblinear" or not len(given):
        if name == "dart" and len(model["trees"]):
            raise ModelError("a dart model without the weights of its trees")
        return name, model, None
    weights = np.asarray(given, np.float32)
    if weights.shape != (len(model["trees"]),) or not np.all(np.isfinite(weights)):
        raise ModelError(f"{len(weights)} weights for {len(model['trees'])} trees")
    return name, model, weights


def _sentinel(missing: float | None) -> float | None:
    sentinel = None if missing is None or math.isnan(missing) else float(missing)
    if sentinel is not None and not abs(sentinel) <= float(np.finfo(np.float32).max):
        raise ModelError(f"missing={sentinel:g}, which is no finite float32 number, is not supported")
    return sentinel


def _linear(model: Document, n_features: int, base_scores: npt.NDArray[np.float32]) -> Linear:
    """gblinear: a row of weights a feature, the last row the bias. Every output starts from the first base score, as
    XGBoost's own predictor does."""
    weights = np.asarray(model["weights"], np.float32)
    if weights.shape != ((n_features + 1) * len(base_scores),):
        raise ModelError(f"{weights.size} weights for {n_features} features and {len(base_scores)} outputs")
    table = weights.reshape(n_features + 1, -1)
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


def _base_scores(parameters: Document, objective: objectives.Objective, outputs: int) -> npt.NDArray[np.float32]:
    """[K]: a scalar for all outputs up to XGBoost 3.0, a list in a string from 3.1 on."""
    stored = json.loads(str(parameters["base_score"]))
    scores = [float(score) for score in (stored if isinstance(stored, list) else [stored])]
    if len(scores) not in (1, outputs):
        raise ModelError(f"base_score has {len(scores)} entries, the model {outputs} outputs")
    if len(scores) == 1:
        scores *= outputs
    return np.array([objectives.base_margin(objective.link, score) for score in scores], np.float32)


def _get(document: object, key: str, path: str) -> Any:
    if isinstance(document, Mapping) and key in document:
        return document[key]
    raise ModelError(f"{path}: not an XGBoost model: it has no {key!r} field")


def _mapping(value: Any, key: str, path: str) -> Document:
    if isinstance(value, Mapping):
        return value
    raise ModelError(f"{path}: not an XGBoost model: {key!r} is not an object")
