"""Random XGBoost models: wrappers and boosters, objectives, missing values, base scores, categories, file formats."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import frames
import joblib
import numpy as np
import xgboost as xgb
from case import RandomCase, Rng, chance, pick, two_dimensional, write

ROWS, ASKED = 300, 160
REGRESSIONS = (
    "reg:squarederror",
    "reg:squarederror",
    "reg:logistic",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:gamma",
    "reg:tweedie",
    "count:poisson",
    "reg:squaredlogerror",
    "reg:quantileerror",
)


def make(rng: Rng, folder: Path) -> RandomCase:
    kind = pick(rng, "binary", "binary", "multiclass", "regression", "regression", "multilabel", "targets")
    linear = chance(rng, 0.06)
    wordy = not linear and chance(rng, 0.4)
    settings = _settings(rng, kind, linear=linear, wordy=wordy)
    columns = frames.numbers(rng, int(rng.integers(1, 6)), nullable=True)
    if wordy:  # XGBoost compares missing= with a category's place in the frame that is asked, so the order stays
        columns += frames.pandas_categories(rng, int(rng.integers(1, 3)), reordered="missing" not in settings)
    rng.shuffle(columns)  # type: ignore[arg-type]
    names = frames.names(rng, len(columns))
    given = frames.frame(rng, columns, names, ROWS)
    asked = frames.frame(rng, columns, names, ASKED, unseen=True)
    number = frames.number_of(rng, given)
    label = _label(rng, kind, number, settings)
    estimator = xgb.XGBClassifier if kind in ("binary", "multiclass", "multilabel") else xgb.XGBRegressor
    model = estimator(**settings)
    if chance(rng, 0.15) and kind != "targets":
        model.set_params(early_stopping_rounds=2)
        model.fit(given[:200], label[:200], eval_set=[(given[200:], label[200:])], verbose=False)
    else:
        model.fit(given, label)
    expected = two_dimensional(model.predict_proba(asked) if hasattr(model, "predict_proba") else model.predict(asked))
    if kind == "multilabel":
        expected = two_dimensional(model.predict_proba(asked))
    path = _saved(rng, model, folder, keep_wrapper="missing" in settings)
    form = pick(rng, "parquet", "parquet", "csv")
    column = frames.label_name(given)
    training = given.assign(**{column: label}) if label.ndim == 1 else given
    words = f"xgboost {kind} {settings} {path.name if isinstance(path, Path) else 'live'} {form}: " + ", ".join(
        f"{name!r} {column.kind}" for name, column in zip(names, columns, strict=True)
    )
    live = not isinstance(path, Path)
    return RandomCase(
        model=path,
        data=training if live else write(training, folder / f"data.{form}"),
        label=column if label.ndim == 1 and chance(rng, 0.5) else None,
        asked=write(asked, folder / f"asked.{form}"),
        expected=expected,
        words=words,
    )


def _settings(rng: Rng, kind: str, *, linear: bool, wordy: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "n_estimators": int(rng.integers(1, 12)),
        "n_jobs": 1,
        "random_state": int(rng.integers(99)),
    }
    if linear:
        settings |= {"booster": "gblinear"}
    else:
        settings |= {"max_depth": int(rng.integers(1, 7)), "learning_rate": pick(rng, 0.1, 0.3, 1.0)}
        settings |= pick(
            rng,
            {},
            {},
            {"booster": "dart", "rate_drop": 0.3},
            {"num_parallel_tree": 3, "subsample": 0.7},
            {"grow_policy": "lossguide", "max_leaves": 9},
            {"tree_method": "hist", "max_bin": 16},
        )
    if wordy:
        settings |= {"enable_categorical": True, "tree_method": "hist", "max_cat_to_onehot": pick(rng, 1, 4, 100)}
    if chance(rng, 0.3) and not linear:
        settings["missing"] = pick(rng, 0, 0.0, -999, -1.0, 3)
    if kind == "regression":
        settings["objective"] = pick(rng, *REGRESSIONS)
        if settings["objective"] == "reg:quantileerror":
            settings["quantile_alpha"] = pick(rng, 0.5, [0.1, 0.9])
            if linear:
                settings["objective"] = "reg:squarederror"
                del settings["quantile_alpha"]
    if kind == "binary" and chance(rng, 0.3):
        settings["objective"] = pick(rng, "binary:logistic", "binary:hinge", "binary:logitraw")
    if kind == "multiclass" and chance(rng, 0.5):
        settings["objective"] = pick(rng, "multi:softprob", "multi:softmax")
    if (
        kind in ("multiclass", "targets", "multilabel")
        and chance(rng, 0.3)
        and not linear
        and "booster" not in settings
    ):
        settings |= {"multi_strategy": "multi_output_tree", "tree_method": "hist"}
        for name in ("num_parallel_tree", "subsample", "max_leaves", "grow_policy"):
            settings.pop(name, None)
    probability = kind == "binary" or settings.get("objective") == "reg:logistic"
    if chance(rng, 0.25) and kind in ("binary", "regression"):
        settings["base_score"] = pick(rng, 0.5, 0.01, 0.999) if probability else pick(rng, 0.5, 3.0, 1e-7)
    return settings


def _label(rng: Rng, kind: str, number: Any, settings: dict[str, Any]) -> Any:
    if kind == "binary":
        label = (number > np.quantile(number, pick(rng, 0.5, 0.9))).astype(int)
        return label * 0 if chance(rng, 0.05) else label
    if kind == "multiclass":
        return np.digitize(number, np.quantile(number, pick(rng, [0.3, 0.6], [0.2, 0.4, 0.9])))
    if kind == "multilabel":
        return np.column_stack([number > 0, number > np.quantile(number, 0.7)]).astype(int)
    if kind == "targets":
        return np.column_stack([number, number**2 - 1])
    objective = settings["objective"]
    if objective == "reg:logistic":
        return 1 / (1 + np.exp(-number))
    if objective in ("reg:gamma", "reg:squaredlogerror"):
        return np.exp(number / 2) + 0.05
    if objective in ("count:poisson", "reg:tweedie"):
        return np.zeros_like(number) if chance(rng, 0.1) else np.floor(np.exp(number / 2))
    return number * pick(rng, 1.0, 1000.0, 1e-3)


def _saved(rng: Rng, model: Any, folder: Path, *, keep_wrapper: bool) -> Any:
    """A file's path, or the live model. What only the wrapper knows (``missing``) is lost in XGBoost's own files."""
    form = (
        pick(rng, "pkl", "joblib", "live") if keep_wrapper else pick(rng, "json", "ubj", "pkl", "joblib", "live", "ubj")
    )
    path = folder / f"model.{form}"
    if form == "live":
        return model
    if form == "pkl":
        path.write_bytes(pickle.dumps(model))
    elif form == "joblib":
        joblib.dump(model, path)
    else:
        model.save_model(path)
    return path
