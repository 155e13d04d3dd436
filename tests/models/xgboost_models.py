"""Small XGBoost models, one for each way in which they differ: objective, missing values, shapes of trees, wrapper."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost as xgb

Rows = npt.NDArray[np.float32]
FEATURES = 6


def rows(seed: int = 0, n: int = 400, features: int = FEATURES, missing: float | None = None) -> Rows:
    """Standard normal features, the last one of few integers; a tenth is NaN, and a tenth is ``missing`` if given."""
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, features)).astype(np.float32)
    out[:, -1] = rng.integers(-2, 3, n)
    if missing is not None:
        out[rng.random(out.shape) < 0.1] = missing
    out[rng.random(out.shape) < 0.1] = np.nan
    return out


def target(given: Rows, missing: float | None = None) -> npt.NDArray[np.float64]:
    """A smooth number for each row, in which a missing value is worth 1."""
    gone = np.isnan(given) | (given == np.float32(np.nan if missing is None else missing))
    filled = np.where(gone, 1.0, given.astype(np.float64))
    return np.asarray(filled[:, 0] - 0.5 * filled[:, -1] + np.sin(3 * filled.mean(axis=1)))


def booster(parameters: dict[str, Any], rounds: int = 15, seed: int = 0, **shape: Any) -> xgb.Booster:
    """Trained on :func:`rows`; the label is made to suit the objective."""
    given = rows(seed, **shape)
    return train(parameters, given, target(given), rounds)


def train(parameters: dict[str, Any], given: Rows, number: npt.NDArray[Any], rounds: int = 15) -> xgb.Booster:
    label = _label(str(parameters.get("objective", "")), int(parameters.get("num_class", 0)), number)
    matrix = xgb.DMatrix(given, label=label)
    if str(parameters.get("objective", "")).startswith("rank:"):
        matrix.set_group([20] * (len(given) // 20))
    return xgb.train({"max_depth": 4, "nthread": 1, "seed": 1, **parameters}, matrix, rounds)


def _label(objective: str, classes: int, number: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if objective.startswith(("binary:", "rank:")):
        return (number > 0.3).astype(np.float64)
    if classes:
        return np.digitize(number, np.quantile(number, np.arange(1, classes) / classes)).astype(np.float64)
    if objective == "reg:logistic":
        return np.asarray(1 / (1 + np.exp(-number)))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "reg:squaredlogerror"):
        return np.asarray(np.round(np.exp(number / 2)) + (objective == "reg:gamma") * 0.5)
    return number


def _single_leaf() -> xgb.Booster:
    """Nothing to split on: trees of one leaf, the first not 0 (base_score is set)."""
    return xgb.train({"base_score": 0.5, "nthread": 1}, xgb.DMatrix(np.zeros((50, 3)), label=np.full(50, 2.0)), 4)


def _pruned() -> xgb.Booster:
    """``exact`` grows whole trees and then prunes: deleted nodes stay in the node table."""
    return booster({"tree_method": "exact", "gamma": 4.0, "max_depth": 6})


def _named(names: list[str]) -> xgb.Booster:
    given = rows(features=len(names))
    matrix = xgb.DMatrix(given, label=target(given), feature_names=names)
    return xgb.train({"max_depth": 3, "nthread": 1}, matrix, 8)


def stopped_early(kind: type[xgb.XGBModel] = xgb.XGBClassifier, **settings: Any) -> xgb.XGBModel:
    """A wrapper whose best round isn't its last."""
    given = rows(3)
    number = target(given)
    label = (number > 0).astype(int) if kind is xgb.XGBClassifier else number
    noisy = np.random.default_rng(9).permutation(label[:100])
    model = kind(n_estimators=40, max_depth=4, learning_rate=0.5, early_stopping_rounds=5, n_jobs=1, **settings)
    model.fit(
        given[100:],
        label[100:],
        eval_set=[(given[:100], np.where(np.arange(100) < 60, label[:100], noisy))],
        verbose=False,
    )
    assert 0 < model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return model


def with_missing(value: float) -> xgb.XGBClassifier:
    """A wrapper with ``missing=value`` whose rows hold the value and NaN."""
    given = rows(4, missing=value)
    label = (target(given, value) > 0).astype(int)
    return xgb.XGBClassifier(n_estimators=12, max_depth=4, missing=value, n_jobs=1).fit(given, label)


OBJECTIVES: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary:logistic"},
    "multiclass": {"objective": "multi:softprob", "num_class": 4},
    "softmax": {"objective": "multi:softmax", "num_class": 3},
    "squarederror": {"objective": "reg:squarederror"},
    "poisson": {"objective": "count:poisson"},
    "gamma": {"objective": "reg:gamma"},
    "tweedie": {"objective": "reg:tweedie", "tweedie_variance_power": 1.3},
    "absoluteerror": {"objective": "reg:absoluteerror"},
    "pseudohuber": {"objective": "reg:pseudohubererror"},
    "squaredlogerror": {"objective": "reg:squaredlogerror"},
    "reg-logistic": {"objective": "reg:logistic"},
    "rank-ndcg": {"objective": "rank:ndcg"},
    "rank-pairwise": {"objective": "rank:pairwise"},
    "rank-map": {"objective": "rank:map"},
}

MODELS: dict[str, Callable[[], Any]] = {
    **{name: functools.partial(booster, parameters) for name, parameters in OBJECTIVES.items()},
    "base-score": lambda: booster({"objective": "binary:logistic", "base_score": 0.1}),
    "parallel-trees": lambda: booster({"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.7}, 6),
    "parallel-trees-multiclass": lambda: booster(
        {"objective": "multi:softprob", "num_class": 3, "num_parallel_tree": 3, "subsample": 0.7}, 4
    ),
    "single-leaf": _single_leaf,
    "pruned": _pruned,
    "deep-lossguide": lambda: booster(
        {"grow_policy": "lossguide", "max_depth": 12, "max_leaves": 80, "tree_method": "hist", "max_bin": 600}, 4, n=900
    ),
    "names-backwards": lambda: _named([f"f{i}" for i in range(7, -1, -1)]),
    "one-feature": lambda: booster({}, 8, features=1),
    "200-features": lambda: booster({"max_depth": 3}, 10, n=300, features=200),
    "early-stopping": stopped_early,
    "missing--999": lambda: with_missing(-999.0),
    "missing-0": lambda: with_missing(0.0),
    "float32-sentinel": lambda: with_missing(0.1),
}
"""A Booster or a fitted wrapper by name. All have <= 90 trees."""


@functools.cache
def model(name: str) -> Any:
    """The model called ``name``, trained once."""
    return MODELS[name]()


def save(made: Any, path: Path) -> Path:
    """Into ``path``, by its extension: json, ubj, pkl, joblib."""
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(made))
    elif path.suffix == ".joblib":
        import joblib

        joblib.dump(made, path)
    else:
        made.save_model(str(path))
    return path


def edited(made: Any, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The model's JSON after ``edit`` has changed its document in place."""
    document = json.loads((made.get_booster() if isinstance(made, xgb.XGBModel) else made).save_raw("json"))
    edit(document)
    path.write_text(json.dumps(document))
    return path
