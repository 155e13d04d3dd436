"""What an XGBoost model takes and gives: features, rounds that count, labels, whose answer is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ModelError
from ...values import FeatureContract, OutputKind, Provenance
from . import objectives

Document = Mapping[str, Any]


def saved_estimator(attributes: Mapping[str, str]) -> str:
    """``classifier``, ``regressor`` or ``ranker``, as the scikit-learn wrapper's save_model notes it; else empty."""
    try:
        saved = json.loads(attributes.get("scikit_learn", "{}"))
    except ValueError:
        return ""
    return str(saved.get("_estimator_type", "")) if isinstance(saved, dict) else ""


def as_asked(objective: objectives.Objective, estimator: str) -> objectives.Objective:
    """A regressor has no predict_proba: with a binary objective its predict gives the one probability."""
    if objective.task != "binary" or not estimator or "classifier" in estimator.lower() or estimator == "Booster":
        return objective
    return objectives.Objective(task="regression", postprocess="sigmoid", link=objective.link)


def rounds_that_count(attributes: Mapping[str, str], as_wrapper: bool) -> tuple[int | None, tuple[str, ...]]:
    if "best_iteration" not in attributes:
        return None, ()
    best = int(attributes["best_iteration"])
    if best < 0:
        raise ModelError(f"best_iteration is {best}, expected a round's number")
    if as_wrapper:
        return best + 1, (f"early stopping: rounds 0 to {best} count, as the scikit-learn wrapper predicts",)
    note = (
        f"early stopping found round {best} best, but Booster.predict uses every round, and so do we "
        "(slice the booster, or save the scikit-learn wrapper, to stop there)"
    )
    return None, (note,)


def feature_contract(learner: Document, n_features: int, missing: float | None) -> FeatureContract:
    names = tuple(str(name) for name in learner.get("feature_names") or ())
    if names and len(names) != n_features:
        raise ModelError(f"the model names {len(names)} features and has {n_features}")
    if len(set(names)) != len(names):
        raise ModelError("two features have the same name")
    return FeatureContract(
        names=names or tuple(f"f{i}" for i in range(n_features)),
        named=bool(names),
        missing=missing,
        dtypes=("float32",) * n_features,
    )


def output_labels(
    objective: objectives.Objective, outputs: int, labels: Sequence[str], kind: OutputKind
) -> tuple[str, ...]:
    if kind == "probability":
        count = 2 if objective.task == "binary" else outputs
        return tuple(labels) if len(labels) == count else tuple(str(i) for i in range(count))
    if outputs > 1:
        return tuple(labels) if len(labels) == outputs else tuple(str(i) for i in range(outputs))
    return ("margin",) if kind == "margin" else ("value",)


def output_kind(objective: objectives.Objective, margin: bool) -> OutputKind:
    if margin:
        return "margin"
    return "probability" if objective.task in ("binary", "multiclass") else "value"


def version_of(parts: Any) -> str:
    """``[3, 2, 0]`` as 3.2.0. It names what pip is asked for, so nothing but numbers will do."""
    if (
        not isinstance(parts, list)
        or len(parts) != 3
        or not all(type(part) is int and 0 <= part < 1000 for part in parts)
    ):
        raise ModelError(f"its version should be three numbers, it is {parts!r:.60}")
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
