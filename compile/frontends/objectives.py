"""What each objective's answer is: one table a framework. What isn't in it is refused by name.

Sources: XGBoost's src/objective (PredTransform, ProbToMargin), CatBoost's documentation of prediction types; each
row is checked against the framework by tests/fidelity. XGBoost 3.4's reg:expectileerror chains its outputs by a
softplus and is not here.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ...errors import ModelError
from ...passes.program import Postprocess
from ...values import Task, Value

Link = Literal["identity", "logit", "log"]
"""How XGBoost turns the stored ``base_score`` into a margin."""


class Objective(Value):
    """``postprocess``: of one output. ``several``: where the model has several outputs and that differs (a classifier
    of two classes becomes one of several labels). ``alone``: what a regressor, or a bare Booster, gives instead of two
    classes. ``probability``: whether the answers are probabilities."""

    task: Task
    postprocess: Postprocess
    link: Link = "identity"
    several: Postprocess | None = None
    alone: Postprocess | None = None
    probability: bool = False


_PLAIN = Objective(task="regression", postprocess="identity")
_EXP = Objective(task="regression", postprocess="exp", link="log")
_RANK = Objective(task="ranking", postprocess="identity")
_CLASSES = Objective(task="multiclass", postprocess="softmax", probability=True)

XGBOOST: dict[str, Objective] = {
    "binary:logistic": Objective(
        task="binary", postprocess="binary", link="logit", several="sigmoid", alone="sigmoid", probability=True
    ),
    "binary:logitraw": Objective(
        task="binary", postprocess="binary-raw", several="identity", alone="identity"
    ),
    "binary:hinge": Objective(
        task="binary", postprocess="binary-hinge", several="hinge", alone="hinge", probability=True
    ),
    "reg:logistic": Objective(task="regression", postprocess="sigmoid", link="logit"),
    "multi:softprob": _CLASSES, "multi:softmax": _CLASSES,
    "reg:squarederror": _PLAIN, "reg:squaredlogerror": _PLAIN, "reg:absoluteerror": _PLAIN,
    "reg:pseudohubererror": _PLAIN, "reg:quantileerror": _PLAIN,
    "reg:gamma": _EXP, "reg:tweedie": _EXP, "count:poisson": _EXP,
    "survival:cox": Objective(task="survival", postprocess="exp", link="log"),
    "survival:aft": Objective(task="survival", postprocess="exp", link="log"),
    "rank:ndcg": _RANK, "rank:pairwise": _RANK, "rank:map": _RANK,
}  # fmt: skip

CUSTOM = Objective(task="regression", postprocess="identity")
"""CatBoost's objectives of the user's own, and models that name none: the margins are the answer."""

_TWO = Objective(task="binary", postprocess="binary", alone="sigmoid", probability=True)
_LABELS = Objective(task="multilabel", postprocess="sigmoid", probability=True)
_SURVIVAL = Objective(task="survival", postprocess="identity")
CATBOOST: dict[str, Objective] = {
    "Logloss": _TWO, "CrossEntropy": _TWO, "Focal": _TWO,
    "MultiClass": _CLASSES,
    "MultiClassOneVsAll": Objective(task="multiclass", postprocess="sigmoid", probability=True),
    "MultiLogloss": _LABELS, "MultiCrossEntropy": _LABELS,
    "RMSE": _PLAIN, "MAE": _PLAIN, "Quantile": _PLAIN, "MultiQuantile": _PLAIN, "GroupQuantile": _PLAIN,
    "LogLinQuantile": _PLAIN, "LogCosh": _PLAIN, "MAPE": _PLAIN, "Huber": _PLAIN, "Expectile": _PLAIN, "Lq": _PLAIN,
    "MultiRMSE": _PLAIN, "MultiRMSEWithMissingValues": _PLAIN,
    "RMSEWithUncertainty": Objective(task="regression", postprocess="mean-variance"),
    "Poisson": Objective(task="regression", postprocess="exp"),
    "Tweedie": Objective(task="regression", postprocess="exp"),
    "Cox": _SURVIVAL, "SurvivalAft": _SURVIVAL,
    "QueryRMSE": _RANK, "QuerySoftMax": _RANK, "QueryCrossEntropy": _RANK, "PairLogit": _RANK,
    "PairLogitPairwise": _RANK, "YetiRank": _RANK, "YetiRankPairwise": _RANK, "StochasticRank": _RANK,
    "StochasticFilter": _RANK, "LambdaMart": _RANK,
    "PythonUserDefinedPerObject": CUSTOM, "PythonUserDefinedMultiTarget": CUSTOM,
}  # fmt: skip


def find(table: dict[str, Objective], name: str, framework: str) -> Objective:
    """The table's row, or ModelError."""
    if name in table:
        return table[name]
    raise ModelError(
        f"{framework}'s objective {name!r} is not supported in this version",
        f"Supported: {', '.join(table)}.",
    )


PROBABILITY_BOUND = np.float32(1e-6)
"""XGBoost from 3.2 on takes a logistic base score below it, or above 1 minus it, as that."""


def base_margin(link: Link, base_score: float, *, bounded: bool = False) -> np.float32:
    """XGBoost's stored base score as the margin that trees are added to, rounded as XGBoost rounds it: minus infinity
    and NaN where XGBoost has those. ``bounded``: a probability is first cut to :data:`PROBABILITY_BOUND`.

    logit: q = 1/p - 1 in float32, then -log(q); with that rounding sums are bit-identical to XGBoost's.
    """
    if not abs(base_score) <= float(np.finfo(np.float32).max):
        raise ModelError(f"base_score {base_score} is not a finite float32 number")
    p = np.float32(base_score)
    if link == "identity":
        return p
    if link == "log":
        return np.float32(math.log(float(p)) if p > 0 else -np.inf if p == 0 else np.nan)
    if not (0 <= p <= 1 if bounded else 0 < p < 1):
        ends = "from 0 to 1" if bounded else "between 0 and 1 (XGBoost takes 0 and 1 themselves from 3.2 on)"
        raise ModelError(f"base_score {base_score:g} of a logistic objective must lie {ends}: XGBoost refuses it too")
    if bounded:
        p = np.minimum(np.maximum(p, PROBABILITY_BOUND), np.float32(1) - PROBABILITY_BOUND)
    with np.errstate(over="ignore"):  # of a denormal number
        q = np.float32(1) / p - np.float32(1)
    return np.float32(-math.log(float(q)) if q > 0 else np.inf)
