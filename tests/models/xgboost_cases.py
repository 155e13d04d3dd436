"""Every way in which XGBoost models differ, one small case each: objectives, boosters, shapes, missing, categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

from .cases import Case, Make, two_dimensional, write_rows
from .xgboost_models import rows, save, stopped_early, target, with_missing

N = 400


def _labels(kind: str, given: Any) -> Any:
    number = target(given)
    return {
        "number": number,
        "positive": np.exp(number / 2) + 0.1,
        "two": (number > 0.3).astype(float),
        "three": np.digitize(number, [-0.5, 0.5]).astype(float),
        "share": 1 / (1 + np.exp(-number)),
        "pair": np.column_stack([number, number**2]),
        "flags": np.column_stack([number > 0, number > 1, given[:, -1] > 0]).astype(float),
        "times": np.where(number > 0, np.exp(number / 2), -np.exp(number / 2)),
    }[kind]


def _booster(
    label: str, folder: Path, *, rounds: int = 12, given: Any = None, file: str = "model.json", **settings: Any
) -> Case:
    """A bare Booster: its predict, as two classes where its objective is a probability."""
    given = rows() if given is None else given
    matrix = xgb.DMatrix(given, label=_labels(label, given))
    if str(settings.get("objective", "")).startswith("rank:"):
        matrix.set_group([20] * (len(given) // 20))
    if settings.get("objective") == "survival:aft":
        matrix = xgb.DMatrix(given)
        low = _labels("positive", given)
        matrix.set_float_info("label_lower_bound", low)
        matrix.set_float_info("label_upper_bound", np.where(low > 1, np.inf, low))
    usual = {"nthread": 1, "seed": 1} | ({} if settings.get("booster") == "gblinear" else {"max_depth": 4})
    model = xgb.train({**usual, **settings}, matrix, rounds)
    linear = settings.get("booster") == "gblinear"
    answers = two_dimensional(model.predict(xgb.DMatrix(given)) if linear else model.inplace_predict(given))
    if settings.get("objective") == "multi:softmax":
        margin = model.predict(xgb.DMatrix(given), output_margin=True)
        power = np.exp(margin - margin.max(axis=1, keepdims=True))
        answers = power / power.sum(axis=1, keepdims=True)
    elif settings.get("objective") in ("binary:logistic", "binary:hinge") and answers.shape[1] == 1:
        answers = np.hstack([1 - answers, answers])
    return Case(save(model, folder / file), write_rows(given, folder), answers)


def _wrapper(model: Any, given: Any, label: Any, folder: Path, **fit: Any) -> Case:
    """A fitted scikit-learn wrapper, pickled: predict_proba of a classifier, predict of the others."""
    model = model.fit(given, label, **fit) if label is not None else model
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return Case(save(model, folder / "model.pkl"), write_rows(given, folder), two_dimensional(ask(given)))


def _frame(seed: int = 0, *, rare: bool = False) -> pd.DataFrame:
    """Numbers, categories of strings and of integers, some missing."""
    rng = np.random.default_rng(seed)
    given = rows(seed, N)
    colours = np.array(["red", "green", "blue", "x, y", "7", "None", ""][: 6 if not rare else 7])
    frame = pd.DataFrame(
        {
            "number": given[:, 0],
            "colour": pd.Categorical(rng.choice(colours, N)),
            "other": given[:, -1],
            "code": pd.Categorical(rng.choice([10, 20, 7, -3], N)),
        }
    )
    frame.loc[rng.random(N) < 0.05, "colour"] = None
    frame.loc[rng.random(N) < 0.05, "code"] = None
    return frame


def _frame_label(frame: pd.DataFrame) -> Any:
    number = frame["number"].fillna(0) + 2 * (frame["colour"] == "red") - (frame["code"] == 7).astype(float)
    return (number + (frame["colour"] == "blue") * frame["other"].fillna(1)).to_numpy()


def _strings(folder: Path, **settings: Any) -> Case:
    frame = _frame()
    model = xgb.XGBRegressor(n_estimators=10, max_depth=4, enable_categorical=True, n_jobs=1, **settings)
    return _wrapper(model, frame, _frame_label(frame), folder)


def _integers(folder: Path) -> Case:
    frame = _frame()[["code", "number", "other"]]
    label = (frame["number"].fillna(0) + (frame["code"] == 7) > 0).astype(int)
    model = xgb.XGBClassifier(n_estimators=10, max_depth=4, enable_categorical=True, n_jobs=1)
    return _wrapper(model, frame, label, folder)


def _only_strings(folder: Path) -> Case:
    frame = _frame()[["colour"]].assign(shape=pd.Categorical(np.random.default_rng(3).choice(["a", "b", "c"], N)))
    label = (frame["colour"] == "red") * 2.0 + (frame["shape"] == "b") * 1.0
    return _wrapper(xgb.XGBRegressor(n_estimators=6, enable_categorical=True, n_jobs=1), frame, label, folder)


def _codes(folder: Path, *, one_hot: int, codes: int = 40) -> Case:
    """Category codes in an array of numbers."""
    rng = np.random.default_rng(5)
    given = rows(5, N)
    given[:, 2] = rng.integers(0, codes, N)
    given[:, 4] = rng.integers(0, 3, N)
    given[rng.random(N) < 0.05, 2] = np.nan
    kinds = ["q", "q", "c", "q", "c", "q"]
    number = np.nan_to_num(given[:, 0]) + np.sin(np.nan_to_num(given[:, 2])) * 2 + given[:, 4]
    matrix = xgb.DMatrix(given, label=number, feature_types=kinds, enable_categorical=True)
    model = xgb.train({"max_depth": 5, "max_cat_to_onehot": one_hot, "nthread": 1, "tree_method": "hist"}, matrix, 10)
    asked = xgb.DMatrix(given, feature_types=kinds, enable_categorical=True)
    return Case(save(model, folder / "model.ubj"), write_rows(given, folder), two_dimensional(model.predict(asked)))


def squared(labels: Any, margins: Any) -> tuple[Any, Any]:
    """An objective of the user's own."""
    return margins - labels, np.ones_like(labels)


def logistic(labels: Any, margins: Any) -> tuple[Any, Any]:
    """As binary:logistic, and the user's own."""
    share = 1 / (1 + np.exp(-margins))
    return share - labels, share * (1 - share)


def softmax(labels: Any, margins: Any) -> tuple[Any, Any]:
    """As multi:softprob, and the user's own."""
    power = np.exp(margins - margins.max(axis=1, keepdims=True))
    share = power / power.sum(axis=1, keepdims=True)
    return share - np.eye(margins.shape[1])[labels.astype(int)], np.maximum(2 * share * (1 - share), 1e-6)


def _custom(model: Any, label: str) -> Make:
    """A wrapper with an objective of the user's own."""

    def made(folder: Path) -> Case:
        given = rows()
        own = _labels(label, given)
        return _wrapper(model, given, own if isinstance(model, xgb.XGBRegressor) else own.astype(int), folder)

    return made


def _classifier(objective: str) -> Make:
    def made(folder: Path) -> Case:
        given = rows()
        model = xgb.XGBClassifier(n_estimators=10, max_depth=4, objective=objective, n_jobs=1)
        return _wrapper(model, given, _labels("two", given).astype(int), folder)

    return made


def _multilabel(folder: Path) -> Case:
    given = rows()
    return _wrapper(xgb.XGBClassifier(n_estimators=6, n_jobs=1), given, _labels("flags", given).astype(int), folder)


def _fitted(model: Any, given: Any, folder: Path) -> Case:
    return _wrapper(model, given, None, folder)


def _names(folder: Path) -> Case:
    names = ["f7", "f6", "f5", "f4", "a b", "x<y", "[z]", "\u00fc"]
    given = pd.DataFrame(rows(features=8), columns=names)
    matrix = xgb.DMatrix(
        given.to_numpy(),
        label=target(given.to_numpy()),
        feature_names=[n for n in names if not set(n) & set("[]<")] + ["w", "z"],
    )
    model = xgb.train({"max_depth": 3, "nthread": 1}, matrix, 8)
    given.columns = matrix.feature_names
    answers = two_dimensional(model.predict(xgb.DMatrix(given)))
    return Case(save(model, folder / "model.json"), write_rows(given, folder), answers)


def _shape(name: str) -> Make:
    settings: dict[str, Any] = {
        "single-leaf": {"rounds": 3, "max_depth": 0, "min_child_weight": 1e9},
        "zero-trees": {"rounds": 0, "base_score": 0.75},
        "10,000-trees": {"rounds": 10, "num_parallel_tree": 1000, "max_depth": 2, "subsample": 0.5},
        "depth-20": {
            "rounds": 3,
            "max_depth": 20,
            "grow_policy": "lossguide",
            "max_leaves": 300,
            "tree_method": "hist",
            "min_child_weight": 0,
            "lambda": 0,
            "max_bin": 1024,
            "given": rows(1, 3000),
        },
        "5,000-features": {"rounds": 6, "given": rows(2, 200, 5000)},
        "monotone": {"monotone_constraints": "(1,-1,0,0,0,1)"},
        "interaction": {"interaction_constraints": "[[0,1],[2,3,4,5]]"},
        "base-score-vector": {
            "objective": "multi:softprob",
            "num_class": 3,
            "label": "three",
            "multi_strategy": "one_output_per_tree",
        },
        "parallel-multiclass": {
            "objective": "multi:softprob",
            "num_class": 3,
            "label": "three",
            "num_parallel_tree": 3,
            "subsample": 0.7,
            "rounds": 4,
        },
    }[name]
    return lambda folder: _booster(
        settings.get("label", "number"), folder, **{k: v for k, v in settings.items() if k != "label"}
    )


def _objective(objective: str, label: str, **settings: Any) -> Make:
    return lambda folder: _booster(label, folder, objective=objective, **settings)


CASES: dict[str, Make] = {
    "binary:logistic": _objective("binary:logistic", "two"),
    "binary:logistic, base score given": _objective("binary:logistic", "two", base_score=0.1),
    "binary:logitraw": _objective("binary:logitraw", "two"),
    "binary:logitraw, classifier": _classifier("binary:logitraw"),
    "binary:hinge": _objective("binary:hinge", "two"),
    "binary:hinge, classifier": _classifier("binary:hinge"),
    "reg:squarederror": _objective("reg:squarederror", "number", file="model.ubj"),
    "reg:logistic": _objective("reg:logistic", "share"),
    "reg:squaredlogerror": _objective("reg:squaredlogerror", "positive"),
    "reg:absoluteerror": _objective("reg:absoluteerror", "number"),
    "reg:pseudohubererror": _objective("reg:pseudohubererror", "number"),
    "reg:gamma": _objective("reg:gamma", "positive"),
    "reg:tweedie": _objective("reg:tweedie", "positive"),
    "count:poisson": _objective("count:poisson", "positive"),
    "survival:cox": _objective("survival:cox", "times"),
    "survival:aft": _objective("survival:aft", "positive"),
    "rank:ndcg": _objective("rank:ndcg", "two"),
    "rank:pairwise": _objective("rank:pairwise", "two"),
    "rank:map": _objective("rank:map", "two"),
    "multi:softprob": _objective("multi:softprob", "three", num_class=3),
    "multi:softmax": _objective("multi:softmax", "three", num_class=3),
    "reg:quantileerror, one": _objective("reg:quantileerror", "number", quantile_alpha=0.3),
    "reg:quantileerror, several": _objective("reg:quantileerror", "number", quantile_alpha=[0.1, 0.5, 0.9], eta=1.0),
    "custom objective": _custom(xgb.XGBRegressor(n_estimators=8, objective=squared, n_jobs=1), "number"),
    "dart": _objective("binary:logistic", "two", booster="dart", rate_drop=0.5),
    "dart, multiclass": _objective("multi:softprob", "three", booster="dart", rate_drop=0.5, num_class=3),
    "gblinear": _objective("binary:logistic", "two", booster="gblinear"),
    "gblinear, multiclass": _objective("multi:softprob", "three", booster="gblinear", num_class=3),
    "parallel trees": _objective("binary:logistic", "two", num_parallel_tree=3, subsample=0.7),
    "parallel trees, multiclass": _shape("parallel-multiclass"),
    "several targets": _objective("reg:squarederror", "pair"),
    "multilabel": _multilabel,
    "vector leaves": _objective("reg:squarederror", "pair", multi_strategy="multi_output_tree"),
    "vector leaves, multiclass": _objective(
        "multi:softprob", "three", num_class=3, multi_strategy="multi_output_tree", tree_method="hist"
    ),
    "vector leaves, multilabel": _objective("binary:logistic", "flags", multi_strategy="multi_output_tree"),
    "base score, one a class": _shape("base-score-vector"),
    "early stopping": lambda folder: _fitted(stopped_early(), rows(3), folder),
    "missing=0": lambda folder: _fitted(with_missing(0.0), rows(4, missing=0.0), folder),
    "missing=-999": lambda folder: _fitted(with_missing(-999.0), rows(4, missing=-999.0), folder),
    "missing=0.1": lambda folder: _fitted(with_missing(0.1), rows(4, missing=0.1), folder),
    "monotone": _shape("monotone"),
    "interaction": _shape("interaction"),
    "category codes, one-hot": lambda folder: _codes(folder, one_hot=100),
    "category codes, sets": lambda folder: _codes(folder, one_hot=2),
    "category codes, 1,000": lambda folder: _codes(folder, one_hot=2, codes=1000),
    "categories, strings": _strings,
    "categories, strings, one-hot": lambda folder: _strings(folder, max_cat_to_onehot=100),
    "categories, integers": _integers,
    "categories, strings only": _only_strings,
    "names": _names,
    "single-leaf trees": _shape("single-leaf"),
    "zero trees": _shape("zero-trees"),
    "10,000 trees": _shape("10,000-trees"),
    "depth 20": _shape("depth-20"),
    "5,000 features": _shape("5,000-features"),
}  # fmt: skip

WRAPPERS: dict[str, Make] = {
    "custom objective, several targets": _custom(
        xgb.XGBRegressor(n_estimators=6, objective=squared, n_jobs=1), "pair"
    ),
    "custom objective, classifier": _custom(xgb.XGBClassifier(n_estimators=8, objective=logistic, n_jobs=1), "two"),
    "custom objective, classifier, base score given": _custom(
        xgb.XGBClassifier(n_estimators=8, objective=logistic, base_score=0.2, n_jobs=1), "two"
    ),
    "custom objective, random forest": _custom(
        xgb.XGBRFClassifier(n_estimators=8, objective=logistic, n_jobs=1), "two"
    ),
    "custom objective, multiclass": _custom(xgb.XGBClassifier(n_estimators=6, objective=softmax, n_jobs=1), "three"),
    "custom objective, multilabel": _custom(xgb.XGBClassifier(n_estimators=6, objective=logistic, n_jobs=1), "flags"),
    "reg:squarederror, classifier": _classifier("reg:squarederror"),
    "reg:logistic, classifier": _classifier("reg:logistic"),
    "reg:logistic, multilabel": _custom(
        xgb.XGBClassifier(n_estimators=6, objective="reg:logistic", n_jobs=1), "flags"
    ),
}  # fmt: skip
"""What a scikit-learn wrapper gives where it was trained with an objective of another kind, or of the user's own."""
