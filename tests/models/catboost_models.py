"""Small CatBoost models of numeric features, one for each way in which they differ."""

from __future__ import annotations

import functools
import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np

from .xgboost_models import FEATURES, Rows, rows, target

QUIET: dict[str, Any] = {
    "iterations": 12,
    "depth": 4,
    "verbose": 0,
    "allow_writing_files": False,
    "thread_count": 1,
    "random_seed": 1,
}


def fit(given: Rows | None = None, **settings: Any) -> cb.CatBoost:
    """Trained on NaN-laden rows; the label is made to suit the loss."""
    given = rows() if given is None else given
    return cb.CatBoost({**QUIET, **settings}).fit(given, _label(str(settings.get("loss_function", "RMSE")), given))


def _label(loss: str, given: Rows) -> Any:
    number = target(given)
    if loss in ("Logloss", "CrossEntropy"):
        return (number > 0).astype(int)
    if loss.startswith("MultiClass"):
        return np.digitize(number, [-0.8, 0.0, 0.8])
    if loss.startswith(("Poisson", "Tweedie")):
        return np.round(np.exp(number / 2))
    return number


def _whole(seed: int = 0) -> Rows:
    """Rows without NaN."""
    return np.nan_to_num(rows(seed), nan=0.25)


def _scaled() -> cb.CatBoost:
    made = fit()
    made.set_scale_and_bias(1.7, 0.3)
    return made


def _string_labels() -> cb.CatBoostClassifier:
    given = rows()
    label = np.array(["low", "mid", "high"])[np.digitize(target(given), [-0.5, 0.5])]
    return cb.CatBoostClassifier(**QUIET).fit(given, label)


def boolean_labels() -> cb.CatBoostClassifier:
    given = rows()
    return cb.CatBoostClassifier(**QUIET).fit(given, target(given) > 0)


def _large_borders() -> cb.CatBoost:
    """254 borders near 1e9, where neighbouring float32 numbers are 64 apart."""
    given = rows(2)
    label = target(given)
    given[:, 0] = 1e9 + 64 * np.round(given[:, 0] * 100)
    return cb.CatBoost({**QUIET, "border_count": 254, "nan_mode": "Max"}).fit(given, label)


def _constant() -> cb.CatBoost:
    """No leaf may be split: every tree is one leaf."""
    return fit(grow_policy="Depthwise", min_data_in_leaf=100_000, iterations=3)


def _some_constant(path: Path) -> cb.CatBoost:
    """Symmetric, and its first trees are of depth 0."""

    def cut(document: dict[str, Any]) -> None:
        for tree in document["oblivious_trees"][:3]:
            tree.update(splits=[], leaf_values=tree["leaf_values"][:1], leaf_weights=tree["leaf_weights"][:1])

    made = cb.CatBoost()
    return made.load_model(str(edited(fit(), path, cut)), format="json")


def _threshold() -> cb.CatBoostClassifier:
    given = rows()
    made = cb.CatBoostClassifier(**QUIET).fit(given, (target(given) > 0).astype(int))
    made.set_probability_threshold(0.25)
    return made


def _in_scratch(make: Callable[[Path], cb.CatBoost]) -> Callable[[], cb.CatBoost]:
    def made() -> cb.CatBoost:
        with tempfile.TemporaryDirectory() as folder:
            return make(Path(folder) / "model.json")

    return made


MODELS: dict[str, Callable[[], cb.CatBoost]] = {
    "logloss": lambda: fit(loss_function="Logloss"),
    "crossentropy": lambda: fit(loss_function="CrossEntropy"),
    "multiclass": lambda: fit(loss_function="MultiClass"),
    "one-vs-all": lambda: fit(loss_function="MultiClassOneVsAll"),
    "rmse": lambda: fit(loss_function="RMSE"),
    "poisson": lambda: fit(loss_function="Poisson"),
    "tweedie": lambda: fit(loss_function="Tweedie:variance_power=1.5"),
    "quantile": lambda: fit(loss_function="Quantile:alpha=0.8"),
    "mae": lambda: fit(loss_function="MAE"),
    "huber": lambda: fit(loss_function="Huber:delta=1.0"),
    "expectile": lambda: fit(loss_function="Expectile:alpha=0.3"),
    "lossguide": lambda: fit(loss_function="Logloss", grow_policy="Lossguide", max_leaves=12, depth=7),
    "lossguide-multiclass": lambda: fit(loss_function="MultiClass", grow_policy="Lossguide", max_leaves=9),
    "depthwise": lambda: fit(grow_policy="Depthwise"),
    "nan-min": lambda: fit(nan_mode="Min"),
    "nan-max": lambda: fit(nan_mode="Max"),
    "nan-max-depthwise": lambda: fit(nan_mode="Max", grow_policy="Depthwise"),
    "nan-forbidden": lambda: fit(_whole(), nan_mode="Forbidden"),
    "scale-and-bias": _scaled,
    "string-labels": _string_labels,
    "boolean-labels": boolean_labels,
    "large-borders": _large_borders,
    "constant": _constant,
    "depth-0": _in_scratch(_some_constant),
    "threshold": _threshold,
    "ignored-features": lambda: fit(ignored_features=[0, FEATURES - 2]),
    "named": lambda: cb.CatBoost({**QUIET, "iterations": 5}).fit(
        cb.Pool(rows(), target(rows()), feature_names=[f"f{i}" for i in range(FEATURES - 1, -1, -1)])
    ),
}
"""A fitted model by name."""


@functools.cache
def model(name: str) -> cb.CatBoost:
    """The model called ``name``, trained once."""
    return MODELS[name]()


def save(made: cb.CatBoost, path: Path) -> Path:
    """Into ``path``, by its extension: cbm, json, pkl, joblib."""
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(made))
    elif path.suffix == ".joblib":
        import joblib

        joblib.dump(made, path)
    else:
        made.save_model(str(path), format=path.suffix[1:])
    return path


def edited(made: cb.CatBoost, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The model's JSON export after ``edit`` has changed its document in place."""
    made.save_model(str(path), format="json")
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return path
