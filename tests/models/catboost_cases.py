"""Every way in which CatBoost models differ, one small case each: tree shapes, losses, NaN, categories and CTRs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd

from .cases import Case, Make, two_dimensional, write_rows
from .catboost_models import QUIET
from .xgboost_models import rows, target

N = 500
CLASSIFIERS = ("Logloss", "CrossEntropy", "Focal", "MultiClass", "MultiLogloss", "MultiCrossEntropy")


def _label(loss: str, given: Any) -> Any:
    number = target(given)
    name = loss.partition(":")[0]
    if name in ("Logloss", "CrossEntropy", "Focal", "QuerySoftMax", "StochasticFilter"):
        return (number > 0).astype(int)
    if name.startswith("MultiClass"):
        return np.digitize(number, [-0.8, 0.0, 0.8])
    if name in ("MultiLogloss", "MultiCrossEntropy"):
        return np.column_stack([number > 0, number > 1, given[:, -1] > 0]).astype(int)
    if name == "MultiRMSEWithMissingValues":
        return np.column_stack([np.where(given[:, -1] > 0.5, np.nan, number), number**2])
    if name == "MultiRMSE":
        return np.column_stack([number, number**2])
    if name == "SurvivalAft":
        return np.column_stack([np.exp(number / 2), np.exp(number / 2) + 0.5])
    if name in ("Poisson", "Tweedie", "LogLinQuantile"):
        return np.round(np.exp(number / 2)) + (name == "LogLinQuantile")
    return number


def _asked(model: cb.CatBoost, loss: str, given: Any) -> Any:
    """As a user of the estimator that goes with the loss would ask."""
    if loss.startswith(CLASSIFIERS):
        return model.predict(given, prediction_type="Probability")
    if loss.startswith(("Poisson", "Tweedie")):
        return model.predict(given, prediction_type="Exponent")
    if loss == "RMSEWithUncertainty":
        return model.predict(given, prediction_type=loss)
    return model.predict(given)


def _case(folder: Path, loss: str = "RMSE", *, file: str = "model.cbm", given: Any = None, **settings: Any) -> Case:
    given = rows(n=N) if given is None else given
    label = _label(loss, given)
    ranks = loss.startswith(("Query", "Yeti", "Pair", "Stochastic", "Lambda", "Group"))
    pool = cb.Pool(given, label, group_id=np.repeat(np.arange(len(given) // 20), 20) if ranks else None)
    model = cb.CatBoost({**QUIET, "loss_function": loss, **settings}).fit(pool)
    return _saved(model, given, two_dimensional(_asked(model, loss, given)), folder / file)


class HalfSquares:
    """A loss of the user's own."""

    def calc_ders_range(self, answers: Any, labels: Any, weights: Any) -> Any:
        return [(label - answer, -1.0) for answer, label in zip(answers, labels, strict=True)]


class HalfSquaresOfTwo(cb.MultiTargetCustomObjective):
    """The same of two targets."""

    def calc_ders_multi(self, answers: Any, labels: Any, weight: Any) -> Any:
        return np.subtract(labels, answers), -np.eye(2)


def own_loss(targets: int) -> tuple[cb.CatBoost, Any]:
    """A model of ``HalfSquares``, and the rows it was trained on."""
    given = rows(n=N)
    loss, metric = (HalfSquares(), "RMSE") if targets == 1 else (HalfSquaresOfTwo(), "MultiRMSE")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Failed to import numba")
        model = cb.CatBoost({**QUIET, "loss_function": loss, "eval_metric": metric})
        return model.fit(given, _label(metric, given)), given


def _own_loss(folder: Path, targets: int) -> Case:
    model, given = own_loss(targets)
    return _saved(model, given, two_dimensional(model.predict(given)), folder / "model.cbm")


def _saved(model: cb.CatBoost, given: Any, expected: Any, path: Path) -> Case:
    model.save_model(str(path), format=path.suffix[1:])
    return Case(path, write_rows(given, path.parent), expected)


def _scaled(folder: Path) -> Case:
    given = rows(n=N)
    model = cb.CatBoost(QUIET).fit(given, target(given))
    model.set_scale_and_bias(1.7, 0.3)
    return _saved(model, given, two_dimensional(model.predict(given)), folder / "model.cbm")


def _threshold(folder: Path) -> Case:
    given = rows(n=N)
    model = cb.CatBoostClassifier(**QUIET).fit(given, np.where(target(given) > 0, "yes", "no"))
    model.set_probability_threshold(0.25)
    return _saved(model, given, model.predict_proba(given), folder / "model.cbm")


def _whole(folder: Path, mode: str) -> Case:
    """Trained without NaN in some columns."""
    given = rows(n=N)
    given[:, :3] = np.nan_to_num(given[:, :3], nan=0.25)
    if mode == "Forbidden":
        given = np.nan_to_num(given, nan=0.25)
    return _case(folder, given=given, nan_mode=mode)


def _large(folder: Path) -> Case:
    given = rows(2, N)
    given[:, 0] = 1e9 + 64 * np.round(given[:, 0] * 100)
    return _case(folder, given=given, border_count=254, nan_mode="Max")


def frame(seed: int = 0, *, integers: bool = False) -> pd.DataFrame:
    """Numbers (some NaN) and categories, of strings or of integers alone."""
    rng = np.random.default_rng(seed)
    given = rows(seed, N)
    places = [3, 14, 15, 92, -65] if integers else ["Oslo", "Bergen", "Troms\u00f8", "a b", "7"]
    kinds = [0, 1] if integers else ["u", "v"]
    many = [int(i) for i in rng.integers(0, 60, N)] if integers else [f"user {i}" for i in rng.integers(0, 60, N)]
    return pd.DataFrame(
        {
            "height": given[:, 0],
            "place": rng.choice(np.array(places), N),
            "who": many,
            "width": given[:, -1],
            "kind": rng.choice(np.array(kinds), N),
        }
    )


def frame_label(given: pd.DataFrame, kind: str = "two") -> Any:
    codes = given["place"].astype("category").cat.codes + 0.05 * given["who"].astype("category").cat.codes
    noise = np.random.default_rng(1).normal(size=len(given)) * 0.3
    number = (
        given["height"].fillna(0.5) * (codes % 2)
        + np.sin(codes)
        + (given["kind"] == given["kind"][0]) * given["width"].fillna(1)
    )
    number = number + noise
    return {"two": (number > 0.3).astype(int), "number": number, "three": np.digitize(number, [0.0, 0.8])}[kind]


def _categories(kind: str = "two", *, integers: bool = False, file: str = "model.cbm", **settings: Any) -> Make:
    def made(folder: Path) -> Case:
        given = frame(integers=integers)
        loss = {"two": "Logloss", "number": "RMSE", "three": "MultiClass"}[kind]
        pool = cb.Pool(given, frame_label(given, kind), cat_features=["place", "who", "kind"])
        model = cb.CatBoost({**QUIET, "iterations": 20, "loss_function": loss, **settings}).fit(pool)
        expected = two_dimensional(_asked(model, loss, pool))
        return _saved(model, given, expected, folder / file)

    return made


def _of(loss: str, **settings: Any) -> Make:
    return lambda folder: _case(folder, loss, **settings)


CASES: dict[str, Make] = {
    **{loss: _of(loss) for loss in (
        "RMSE", "Logloss", "CrossEntropy", "Focal:focal_alpha=0.5;focal_gamma=2.0", "MultiClass", "MultiClassOneVsAll",
        "MultiLogloss", "MultiCrossEntropy", "Poisson", "Tweedie:variance_power=1.5", "Quantile:alpha=0.8",
        "MultiQuantile:alpha=0.1,0.5,0.9", "MultiRMSE", "RMSEWithUncertainty", "MAE", "MAPE", "LogCosh", "Lq:q=2",
        "Huber:delta=1.0", "Expectile:alpha=0.3", "LogLinQuantile:alpha=0.4", "Cox", "SurvivalAft", "YetiRank",
        "QueryRMSE", "QuerySoftMax", "PairLogit", "YetiRankPairwise", "LambdaMart", "MultiRMSEWithMissingValues",
        "GroupQuantile:alpha=0.3", "PairLogitPairwise", "StochasticRank:metric=DCG", "StochasticFilter",
    )},
    "PythonUserDefinedPerObject": lambda folder: _own_loss(folder, 1),
    "PythonUserDefinedMultiTarget": lambda folder: _own_loss(folder, 2),
    "json": _of("Logloss", file="model.json"),
    "Lossguide": _of("Logloss", grow_policy="Lossguide", max_leaves=12, depth=7),
    "Lossguide, MultiClass": _of("MultiClass", grow_policy="Lossguide", max_leaves=9),
    "Depthwise": _of("RMSE", grow_policy="Depthwise"),
    "Depthwise, json": _of("RMSE", grow_policy="Depthwise", file="model.json"),
    "scale and bias": _scaled,
    "nan_mode Min": _of("RMSE", nan_mode="Min"),
    "nan_mode Max": _of("RMSE", nan_mode="Max"),
    "nan_mode Forbidden": lambda folder: _whole(folder, "Forbidden"),
    "columns never trained with NaN": lambda folder: _whole(folder, "Max"),
    "254 borders near 1e9": _large,
    "threshold and class names": _threshold,
    "one-hot": _categories(one_hot_max_size=100),
    "one-hot, Lossguide": _categories("number", one_hot_max_size=100, grow_policy="Lossguide"),
    "CTRs": _categories(max_ctr_complexity=1),
    "CTRs, json": _categories(max_ctr_complexity=1, file="model.json"),
    "CTRs of integers": _categories(integers=True),
    "CTRs, combinations": _categories(max_ctr_complexity=4, one_hot_max_size=2, depth=6),
    "CTRs, combinations, nan_mode Max": _categories(max_ctr_complexity=4, one_hot_max_size=2, depth=6, nan_mode="Max"),
    "CTRs, every kind": _categories(
        one_hot_max_size=1, simple_ctr=["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"],
        combinations_ctr=["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"],
    ),
    "CTRs, MultiClass": _categories("three", one_hot_max_size=2),
    "CTRs, RMSE": _categories("number", simple_ctr=["Borders:TargetBorderCount=3", "Buckets:TargetBorderCount=3"]),
    "CTRs, Lossguide": _categories("number", grow_policy="Lossguide", max_leaves=12),
    "CTRs, Depthwise": _categories("number", grow_policy="Depthwise"),
}  # fmt: skip
