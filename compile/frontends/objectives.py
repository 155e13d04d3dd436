"""What each objective's answer is: one table a framework. What isn't in it is refused by name.

Sources: XGBoost's src/objective (PredTransform, ProbToMargin), CatBoost's documentation of prediction types; each
row is checked against the framework by tests/compile/test_frontends.py.
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
    task: Task
    postprocess: Postprocess
    link: Link = "identity"


XGBOOST: dict[str, Objective] = {
    "binary:logistic": Objective(task="binary", postprocess="binary", link="logit"),
    "reg:logistic": Objective(task="regression", postprocess="sigmoid", link="logit"),
    "multi:softprob": Objective(task="multiclass", postprocess="softmax"),
    "multi:softmax": Objective(task="multiclass", postprocess="softmax"),
    "reg:squarederror": Objective(task="regression", postprocess="identity"),
    "reg:squaredlogerror": Objective(task="regression", postprocess="identity"),
    "reg:absoluteerror": Objective(task="regression", postprocess="identity"),
    "reg:pseudohubererror": Objective(task="regression", postprocess="identity"),
    "count:poisson": Objective(task="regression", postprocess="exp", link="log"),
    "reg:gamma": Objective(task="regression", postprocess="exp", link="log"),
    "reg:tweedie": Objective(task="regression", postprocess="exp", link="log"),
    "rank:ndcg": Objective(task="ranking", postprocess="identity"),
    "rank:pairwise": Objective(task="ranking", postprocess="identity"),
    "rank:map": Objective(task="ranking", postprocess="identity"),
}

_PLAIN = Objective(task="regression", postprocess="identity")
_EXP = Objective(task="regression", postprocess="exp")
CATBOOST: dict[str, Objective] = {
    "Logloss": Objective(task="binary", postprocess="binary"),
    "CrossEntropy": Objective(task="binary", postprocess="binary"),
    "MultiClass": Objective(task="multiclass", postprocess="softmax"),
    "MultiClassOneVsAll": Objective(task="multiclass", postprocess="sigmoid"),
    "RMSE": _PLAIN, "MAE": _PLAIN, "Quantile": _PLAIN, "LogCosh": _PLAIN, "MAPE": _PLAIN, "Huber": _PLAIN,
    "Expectile": _PLAIN, "Lq": _PLAIN, "Poisson": _EXP, "Tweedie": _EXP,
}  # fmt: skip


def find(table: dict[str, Objective], name: str, framework: str) -> Objective:
    """The table's row, or ModelError."""
    if name in table:
        return table[name]
    raise ModelError(
        f"{framework}'s objective {name!r} is not supported in this version",
        f"Supported: {', '.join(table)}.",
    )


def base_margin(link: Link, base_score: float) -> np.float32:
    """XGBoost's stored base score as the margin that trees are added to, rounded as XGBoost rounds it.

    logit: q = 1/p - 1 in float32, then -log(q); with that rounding sums are bit-identical to XGBoost's.
    """
    if not abs(base_score) <= float(np.finfo(np.float32).max):
        raise ModelError(f"base_score {base_score} is not a finite float32 number")
    p = np.float32(base_score)
    if link == "identity":
        return p
    if link == "log":
        return np.float32(math.log(float(p))) if p > 0 else np.float32(-np.inf)
    q = np.float32(1) / p - np.float32(1) if p > 0 else np.float32(0)
    if not q > 0:
        raise ModelError(f"base_score {base_score} of a logistic objective must lie between 0 and 1")
    return np.float32(-math.log(float(q)))
