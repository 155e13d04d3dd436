"""What an XGBoost document says of the model as a whole: its version, size, objective and booster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.forest import SUNK
from .. import objectives
from .signature import as_asked, saved_estimator, version_of

Document = Mapping[str, Any]

MAX_FEATURES = 1 << 20
"""A row of more would be 4 MiB. Also what keeps a file's number from becoming an array of any size."""
MAX_OUTPUTS = 1 << 16

SORTED_QUANTILES = (3, 4, 0)
"""From this version on XGBoost sorts the answers of several quantiles."""
BOUNDED_PROBABILITIES = (3, 2, 0)
"""From this version on XGBoost cuts the base score of a logistic objective."""
DUMMY_SCORES = (3, 1, 0)
"""From this version on XGBoost takes the base score of a model that it hasn't trained yet for a margin."""


@dataclass(frozen=True)
class Estimator:
    """What a pickled estimator's Python side says beside the document.

    ``name``: its class, empty where it isn't known. ``wrapped``: the model answers as the scikit-learn wrapper does
    (rounds up to ``best_iteration`` only); None: as the file's own attributes say. ``missing``: the wrapper's sentinel.
    ``best_iteration``: the wrapper's, where the file doesn't hold it (before xgboost 2.0). ``custom_objective``: the
    name of the user's own, where it was trained with one; XGBoost predicts with the file's.
    """

    name: str = ""
    wrapped: bool | None = None
    missing: float | None = None
    labels: tuple[str, ...] = ()
    best_iteration: int | None = None
    custom_objective: str = ""


@dataclass(frozen=True, eq=False)
class Booster:
    """``name``: gbtree, dart or gblinear. ``weights``: dart's, one a tree (from 3.4 on a gbtree may have them too)."""

    name: str
    model: Document
    weights: npt.NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Learner:
    """``document``: the file's ``learner``. ``objective``: the table's row as it applies to this model, of the name
    ``objective_name``."""

    document: Document
    attributes: Mapping[str, str]
    version: str
    n_features: int
    outputs: int
    objective: objectives.Objective
    objective_name: str
    booster: Booster

    @property
    def is_linear(self) -> bool:
        return self.booster.name == "gblinear"

    @property
    def version_numbers(self) -> tuple[int, ...]:
        return tuple(map(int, self.version.split(".")))

    def base_scores(self) -> npt.NDArray[np.float32]:
        """[K] margins, :data:`SUNK` for minus infinity. The file has a scalar for all outputs up to XGBoost 3.0, a list
        in a string from 3.1 on."""
        stored = json.loads(str(self.document["learner_model_param"]["base_score"]))
        scores = [float(score) for score in (stored if isinstance(stored, list) else [stored])]
        if len(scores) not in (1, self.outputs):
            raise ModelError(f"base_score has {len(scores)} entries, but the model has {self.outputs} outputs")
        if len(scores) == 1:
            scores *= self.outputs
        link: objectives.Link = "identity" if self._has_dummy_score else self.objective.link
        bounded = self.version_numbers >= BOUNDED_PROBABILITIES
        margins = np.array([objectives.base_margin(link, score, bounded=bounded) for score in scores], np.float32)
        if np.isnan(margins).any():
            raise ModelError(
                f"base_score {scores[int(np.isnan(margins).argmax())]:g} of {self.objective_name} has no logarithm, so "
                "XGBoost answers NaN for every row",
                "Train it again with a base_score above 0.",
            )
        return np.where(np.isneginf(margins), SUNK, margins)

    @property
    def _has_dummy_score(self) -> bool:
        """No round was trained and no base score was given: XGBoost then adds up from 0.5 itself."""
        model, parameters = self.booster.model, self.document["learner_model_param"]
        fitted = int(model.get("boosted_rounds", 1)) if self.is_linear else len(model["trees"])
        estimated = int(parameters.get("boost_from_average", 0))
        return self.version_numbers >= DUMMY_SCORES and not fitted and bool(estimated)


def read_learner(document: Document, version: object, estimator: Estimator) -> Learner:
    """``version``: the document's. ModelError where something is out of bounds or isn't supported."""
    attributes = {str(k): str(v) for k, v in dict(document.get("attributes") or {}).items()}
    if estimator.best_iteration is not None:
        attributes.setdefault("best_iteration", str(estimator.best_iteration))
    version = version_of(version)
    n_features, outputs = _size(document["learner_model_param"])
    objective, name = _objective(document, outputs, version, estimator.name or saved_estimator(attributes))
    if estimator.custom_objective and name == "multi:softmax":
        raise ModelError(
            f"the model was trained with {name}, but its objective was later set to {estimator.custom_objective}: "
            "predict_proba then doesn't give probabilities",
            "Set the objective that it was trained with, or optimize its get_booster() instead.",
        )
    return Learner(
        document=document,
        attributes=attributes,
        version=version,
        n_features=n_features,
        outputs=outputs,
        objective=objective,
        objective_name=name,
        booster=_booster(document["gradient_booster"]),
    )


def _size(parameters: Document) -> tuple[int, int]:
    """How many features and outputs."""
    several = int(parameters.get("num_class", 0)), int(parameters.get("num_target", 1))
    outputs = max(*several, 1) if min(several) >= 0 else min(several)
    n_features = int(parameters["num_feature"])
    if not 1 <= n_features <= MAX_FEATURES:
        raise ModelError(f"the model has {n_features} features, expected 1 to {MAX_FEATURES:,}")
    if not 1 <= outputs <= MAX_OUTPUTS:
        raise ModelError(f"the model has {outputs} outputs, expected 1 to {MAX_OUTPUTS:,}")
    return n_features, outputs


def _objective(learner: Document, outputs: int, version: str, estimator: str) -> tuple[objectives.Objective, str]:
    """The table's row as it applies to this model, and the objective's name."""
    name = str(learner["objective"]["name"])
    found = objectives.find(objectives.XGBOOST, name, "XGBoost")
    if name == "reg:quantileerror" and outputs > 1 and tuple(map(int, version.split("."))) >= SORTED_QUANTILES:
        found = objectives.Objective(task=found.task, postprocess="sort", link=found.link)
    return as_asked(found, name, estimator, outputs), name


def _booster(booster: Document) -> Booster:
    name = str(booster.get("name", "gbtree"))
    if name not in ("gbtree", "dart", "gblinear"):
        raise ModelError(f"XGBoost's booster {name!r} is not supported", "Supported: gbtree, dart, gblinear.")
    model = (booster.get("gbtree") or booster)["model"] if name == "dart" else booster["model"]
    given = booster.get("weight_drop", model.get("weight_drop", ()))
    if name == "gblinear" or not len(given):
        if name == "dart" and len(model["trees"]):
            raise ModelError("a dart model must have the weights of its trees")
        return Booster(name, model, None)
    weights = np.asarray(given, np.float32)
    if weights.shape != (len(model["trees"]),) or not np.all(np.isfinite(weights)):
        raise ModelError(
            f"each of the {len(model['trees'])} trees must have a finite weight; the model has {len(weights)} weights"
        )
    return Booster(name, model, weights)
