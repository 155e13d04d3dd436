"""What an XGBoost model takes and gives: features, rounds that count, labels, whose answer is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ....errors import ModelError
from ....values import FeatureContract, OutputKind, Provenance, Task
from ....values.contracts import NO_CATEGORY, NO_INTEGER
from .. import objectives
from .categories import CategoryValues

Document = Mapping[str, Any]


def saved_estimator(attributes: Mapping[str, str]) -> str:
    """``classifier``, ``regressor`` or ``ranker``, as the scikit-learn wrapper's save_model notes it; else empty."""
    try:
        saved = json.loads(attributes.get("scikit_learn", "{}"))
    except ValueError:
        return ""
    return str(saved.get("_estimator_type", "")) if isinstance(saved, dict) else ""


def as_asked(objective: objectives.Objective, name: str, estimator: str, outputs: int) -> objectives.Objective:
    """The row as it applies: several outputs of a binary objective are labels of their own; a regressor has no
    predict_proba, so its predict gives the one number. A Booster's answer becomes two classes where it is a
    probability, since what it was trained as is a classifier. A classifier makes two classes of any one number."""
    classifier = "classifier" in estimator.lower()
    if classifier and name == "reg:logistic":
        objective = objectives.XGBOOST["binary:logistic"]
    if objective.task != "binary":
        return _two_classes(objective, name) if classifier and outputs == 1 else objective
    if outputs > 1:
        task: Task = "multilabel" if objective.probability else "regression"
        return msgspec.structs.replace(objective, task=task, postprocess=objective.several or objective.postprocess)
    bare = not estimator or estimator == "Booster"
    if classifier or (bare and objective.probability):
        return objective
    alone = objective.alone or objective.postprocess
    return msgspec.structs.replace(objective, task="regression", postprocess=alone, probability=False)


def _two_classes(objective: objectives.Objective, name: str) -> objectives.Objective:
    """A regression's number v as a classifier's predict_proba gives it: 1 - v and v."""
    if objective.postprocess != "identity":
        raise ModelError(
            f"a classifier with XGBoost's objective {name!r} is not supported: predict_proba turns its one number "
            "into two classes",
            "Train it with binary:logistic, or optimize its get_booster() for the number alone.",
        )
    return msgspec.structs.replace(objective, task="binary", postprocess="binary-raw")


def rounds_that_count(attributes: Mapping[str, str], as_wrapper: bool) -> tuple[int | None, tuple[str, ...]]:
    if "best_iteration" not in attributes:
        return None, ()
    best = int(attributes["best_iteration"])
    if best < 0:
        raise ModelError(f"best_iteration is {best}, expected a round's number")
    if as_wrapper:
        return best + 1, (f"early stopping: rounds 0 to {best} count, as the scikit-learn wrapper predicts",)
    note = (
        f"early stopping found round {best} to be the best, but Booster.predict uses every round, and so does millwork "
        "(slice the booster, or save the scikit-learn wrapper, to stop there)"
    )
    return None, (note,)


def feature_contract(
    learner: Document, n_features: int, missing: float | None, values: CategoryValues | None
) -> FeatureContract:
    names = tuple(str(name) for name in learner.get("feature_names") or ())
    if names and len(names) != n_features:
        raise ModelError(f"the model has {n_features} features, but names {len(names)}")
    if len(set(names)) != len(names):
        raise ModelError("two features have the same name")
    order = names or tuple(f"f{i}" for i in range(n_features))
    types = [str(kind) for kind in learner.get("feature_types") or ()] or ["float"] * n_features
    if len(types) != n_features:
        raise ModelError(f"the model has {n_features} features, but types for {len(types)}")
    numeric = range(n_features) if values is None else values.numeric
    contract = FeatureContract(
        names=tuple(order[i] for i in numeric),
        named=bool(names),
        missing=missing,
        dtypes=tuple("category code" if types[i] in ("c", "categorical") else "float32" for i in numeric),
    )
    if values is None:
        return contract
    own = tuple(order[i] for i in values.features)
    words = (tuple(map(str, known)) for known in values.categories.vocabularies)
    return msgspec.structs.replace(
        contract,
        categories=dict(zip(own, words, strict=True)),
        category_names=own,
        category_dtype="int64" if values.categories.integer else "string",
        order=order,
        category_nulls=not known_nulls(values, order),
    )


def known_nulls(values: CategoryValues | None, order: Sequence[str]) -> tuple[str, ...]:
    """The features of which a known category is what stands for a missing one elsewhere."""
    if values is None:
        return ()
    missing = NO_INTEGER if values.categories.integer else NO_CATEGORY
    vocabularies = zip(values.features, values.categories.vocabularies, strict=True)
    return tuple(order[i] for i, words in vocabularies if missing in words)


def output_labels(answers: int, labels: Sequence[str], kind: OutputKind) -> tuple[str, ...]:
    if len(labels) == answers and (answers > 1 or kind == "probability"):
        return tuple(labels)
    if answers > 1 or kind == "probability":
        return tuple(str(i) for i in range(answers))
    return ("margin",) if kind == "margin" else ("value",)


def output_kind(objective: objectives.Objective, margin: bool) -> OutputKind:
    return "margin" if margin else "probability" if objective.probability else "value"


def version_of(parts: Any) -> str:
    """``[3, 2, 0]`` as 3.2.0. It names what pip is asked for, so nothing but numbers will do."""
    if (
        not isinstance(parts, list)
        or len(parts) != 3
        or not all(type(part) is int and 0 <= part < 1000 for part in parts)
    ):
        raise ModelError(f"its version must be three numbers; it is {parts!r:.60}")
    return ".".join(str(part) for part in parts)


def with_version(provenance: Provenance, version: str) -> Provenance:
    return Provenance(
        path=provenance.path,
        format=provenance.format,
        sha256=provenance.sha256,
        framework="xgboost",
        framework_version=version,
        estimator=provenance.estimator,
    )
