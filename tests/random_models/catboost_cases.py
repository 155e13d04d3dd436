"""Random CatBoost models: losses, tree shapes, categories and CTRs, classes, sums of models, file formats."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import catboost as cb
import frames
import numpy as np
import pandas as pd
from case import RandomCase, Rng, chance, pick, two_dimensional, write

ROWS, ASKED = 300, 160
REGRESSIONS = (
    "RMSE",
    "RMSE",
    "MAE",
    "Quantile:alpha=0.8",
    "Poisson",
    "Tweedie:variance_power=1.5",
    "MAPE",
    "LogCosh",
    "Huber:delta=1.0",
    "Expectile:alpha=0.3",
    "RMSEWithUncertainty",
    "MultiQuantile:alpha=0.1,0.5,0.9",
)


def make(rng: Rng, folder: Path) -> RandomCase:
    kind = pick(rng, "binary", "binary", "multiclass", "regression", "regression", "targets", "multilabel")
    form = pick(rng, "parquet", "parquet", "csv")
    columns = frames.numbers(rng, int(rng.integers(1, 5)))
    columns += frames.categories(rng, int(rng.integers(0, 4)), hard=form == "parquet")
    rng.shuffle(columns)  # type: ignore[arg-type]
    names = frames.names(rng, len(columns))
    given = frames.frame(rng, columns, names, ROWS)
    asked = frames.frame(rng, columns, names, ASKED, unseen=True)
    number = frames.number_of(rng, given)
    label = _label(rng, kind, number)
    settings = _settings(rng, kind)
    if settings["loss_function"] == "CrossEntropy":
        label = np.asarray(pd.factorize(label)[0], float)
    categories = [name for name, column in zip(names, columns, strict=True) if column.category]
    model, how = _trained(rng, kind, settings, given, label, categories)
    expected = two_dimensional(_asked(model, kind, settings, asked, categories))
    path = _saved(rng, model, given, categories, folder)
    column = frames.label_name(given)
    one = getattr(label, "ndim", 1) == 1
    training = given.assign(**{column: label}) if one else given
    live = not isinstance(path, Path)
    return RandomCase(
        model=path,
        data=training if live and chance(rng, 0.5) else write(training, folder / f"data.{form}"),
        label=column if one and (names[0] == "0" or chance(rng, 0.5)) else None,
        asked=write(asked, folder / f"asked.{form}"),
        expected=expected,
        words=f"catboost {kind} {how} {settings} {'live' if live else path.name} {form}: "
        + ", ".join(f"{name!r} {column.kind}" for name, column in zip(names, columns, strict=True)),
    )


def _settings(rng: Rng, kind: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "iterations": int(rng.integers(1, 12)),
        "depth": int(rng.integers(1, 7)),
        "learning_rate": pick(rng, 0.1, 0.5),
        "random_seed": int(rng.integers(99)),
        "thread_count": 1,
        "verbose": 0,
        "allow_writing_files": False,
    }
    settings |= pick(
        rng,
        {},
        {},
        {"grow_policy": "Lossguide", "max_leaves": 9},
        {"grow_policy": "Depthwise"},
        {"border_count": 200},
        {"boosting_type": "Ordered"},
        {"nan_mode": "Max"},
    )
    settings |= pick(rng, {}, {}, {"one_hot_max_size": 100}, {"max_ctr_complexity": 1}, {"max_ctr_complexity": 3})
    settings |= pick(
        rng,
        {},
        {},
        {},
        {"simple_ctr": ["Buckets", "Counter"]},
        {"simple_ctr": "BinarizedTargetMeanValue:TargetBorderCount=3"},
        {"simple_ctr": "Borders:TargetBorderCount=2", "combinations_ctr": "Counter"},
    )
    losses = {
        "binary": ("Logloss", "Logloss", "CrossEntropy", "Focal:focal_alpha=0.5;focal_gamma=2.0"),
        "multiclass": ("MultiClass", "MultiClass", "MultiClassOneVsAll"),
        "multilabel": ("MultiLogloss", "MultiCrossEntropy"),
        "regression": REGRESSIONS,
        "targets": ("MultiRMSE",),
    }
    settings["loss_function"] = pick(rng, *losses[kind])
    if settings["loss_function"] not in ("RMSE", "Logloss", "CrossEntropy") and settings.get("boosting_type"):
        del settings["boosting_type"]
    return settings


def _label(rng: Rng, kind: str, number: Any) -> Any:
    if kind == "binary":
        truth = number > np.quantile(number, 0.6)
        return pick(rng, truth.astype(int), truth.astype(int), np.where(truth, "yes", "no"), np.where(truth, "2", "10"))
    if kind == "multiclass":
        codes = np.digitize(number, np.quantile(number, [0.3, 0.6]))
        return pick(rng, codes, codes * 7 - 3, np.array(["red", "green", "blue"])[codes], codes / 2)
    if kind == "targets":
        return np.column_stack([number, np.sin(number) + number**2])
    if kind == "multilabel":
        return np.column_stack([number > 0, number > np.quantile(number, 0.7)]).astype(int)
    return np.abs(number)


def _trained(
    rng: Rng, kind: str, settings: dict[str, Any], given: Any, label: Any, categories: list[str]
) -> tuple[Any, str]:
    estimator = cb.CatBoostClassifier if kind in ("binary", "multiclass", "multilabel") else cb.CatBoostRegressor
    more: dict[str, Any] = {}
    how = pick(rng, "plain", "plain", "plain", "scaled", "ignored", "dropped", "absent class", "sum", "threshold")
    if how in ("ignored", "dropped") and given.shape[1] > 1:
        more["ignored_features"] = [given.columns[int(rng.integers(given.shape[1]))]]
    if how == "absent class" and kind == "multiclass" and np.asarray(label).dtype.kind in "iu":
        more["class_names"] = sorted({*np.unique(label).tolist(), 50})
    model = estimator(**settings, **more).fit(given, label, cat_features=categories)
    if (
        how == "scaled"
        and kind in ("binary", "regression")
        and settings["loss_function"] not in ("RMSEWithUncertainty", REGRESSIONS[-1])
    ):
        model.set_scale_and_bias(1.5, 0.25)
    elif how == "dropped" and more and not settings.get("grow_policy"):
        model.drop_unused_features()
    elif how == "sum" and kind == "regression" and not categories and settings["loss_function"] == "RMSE":
        other = estimator(**settings | {"random_seed": 5}).fit(given, label)
        model = cb.sum_models([model, other], weights=[0.3, 0.7])
    elif how == "threshold" and kind == "binary":
        model.set_probability_threshold(0.3)
    elif not more:
        how = "plain"
    return model, how


def _asked(model: Any, kind: str, settings: dict[str, Any], asked: Any, categories: list[str]) -> Any:
    if not isinstance(model, cb.CatBoostClassifier | cb.CatBoostRegressor):
        return model.predict(cb.Pool(asked, cat_features=categories))
    if kind in ("binary", "multiclass", "multilabel"):
        return model.predict_proba(asked)
    return model.predict(asked)


def _saved(rng: Rng, model: Any, given: pd.DataFrame, categories: list[str], folder: Path) -> Any:
    form = pick(rng, "cbm", "cbm", "json", "pkl", "live")
    if form == "live":
        return model
    path = folder / f"model.{form}"
    if form == "pkl":
        path.write_bytes(pickle.dumps(model))
    elif form == "json" and categories:
        model.save_model(str(path), format="json", pool=cb.Pool(given, cat_features=categories))
    else:
        model.save_model(str(path), format=form)
    return path
