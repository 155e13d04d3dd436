"""XGBoost itself: the oracle, and the ``reference`` candidate. Standalone: numpy, xgboost and labels.py beside it, and
pandas where the model takes categories of its own.

Parameters: ``answer`` (what to make of the margin, as passes/program.py names it), ``missing`` (the sentinel),
``rounds`` (how many boosting rounds count, 0 for all), ``booster`` (gblinear, where it is), ``softmax`` (where
XGBoost's own answer is a class, and predict_proba makes its probabilities of the margins). In JSON, where the model
takes categories of its own: ``columns`` (for each feature its column of the rows, or -1 - its column of the
categories), ``kinds`` (``str`` or an integer type for each of the latter) and ``known`` (their values). A value that
isn't known is missing: XGBoost's DMatrix refuses it, and its inplace_predict takes it so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

if TYPE_CHECKING or __package__:
    from .labels import decided
else:  # beside an artifact
    from labels import decided

FROM_MARGINS = {"identity", "binary-raw"}
"""Answers that are margins; the others are XGBoost's own transform."""
PAIRS = {"binary", "binary-hinge", "binary-raw"}


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.parameters = parameters
        self.booster = xgboost.Booster(model_file=str(model_file))
        self.booster.set_param({"nthread": threads})
        self.columns = json.loads(parameters.get("columns", "[]"))
        if not self.columns:
            self.booster.feature_names = None
            self.booster.feature_types = None
        self.kinds = json.loads(parameters.get("kinds", "[]"))
        self.known = json.loads(parameters.get("known", "[]"))
        self.own_softmax = "softmax" in parameters and parameters["answer"] == "softmax"
        self.linear = parameters.get("booster") == "gblinear"
        self.answer = parameters["answer"]
        self.missing = float(np.float32(parameters["missing"]))
        self.rounds = (0, int(parameters["rounds"]))
        self.version = xgboost.__version__

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """The answer, float32 [N, K]: the label where ``decision`` says how (with ``cut``) it is decided."""
        answers = self.answers(rows, categories)
        how = self.parameters.get("decision", "")
        return decided(answers, how, float(self.parameters["cut"])) if how else answers

    def answers(self, rows: Any, categories: Any = None) -> Any:
        """The framework's answer, float32 [N, K]."""
        raw = self.own_softmax or self.answer in FROM_MARGINS
        out = self._ask(rows, categories, "margin" if raw else "value")
        if self.answer in PAIRS:
            return np.hstack([1 - out, out])
        if self.own_softmax:  # as XGBClassifier.predict_proba does for multi:softmax
            e = np.exp(out - out.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return out

    def margins(self, rows: Any, categories: Any = None) -> Any:
        """Raw scores, float32 [N, K]."""
        return self._ask(rows, categories, "margin")

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """XGBoost's own leaf numbers, int32 [N, T]; -1 where a row holds an infinity, which DMatrix refuses."""
        if self.linear:
            return np.zeros((len(rows), 0), np.int32)
        sound = ~np.isinf(rows).any(axis=1)
        if not sound.any():  # one row more: it says how many trees there are
            return self.leaves(np.concatenate([rows, np.zeros((1, rows.shape[1]), np.float32)]), _and_one(categories))[
                :-1
            ]
        got = self.booster.predict(
            self._matrix(rows[sound], None if categories is None else categories[sound]),
            pred_leaf=True,
            iteration_range=self.rounds,
            validate_features=False,
        )
        got = got.reshape(int(sound.sum()), -1)
        out = np.full((len(rows), got.shape[1]), -1, np.int32)
        out[sound] = got
        return out

    def _ask(self, rows: Any, categories: Any, kind: str) -> Any:
        """float32 [N, K]. XGBoost drops the axis of a single output, and both of no rows."""
        if len(rows) == 0:
            one = np.zeros((1, rows.shape[1]), np.float32)
            return self._ask(one, None if categories is None else _and_one(categories), kind)[:0]
        if self.linear:  # gblinear predicts from a DMatrix only
            out = self.booster.predict(
                self._matrix(rows, categories), output_margin=kind == "margin", validate_features=False
            )
        else:
            out = self.booster.inplace_predict(
                self._frame(rows, categories) if self.columns else rows,
                iteration_range=self.rounds,
                predict_type=kind,
                missing=self.missing,
                validate_features=False,
            )
        return np.asarray(out, np.float32).reshape(len(rows), -1)

    def _matrix(self, rows: Any, categories: Any) -> Any:
        if not self.columns:
            return xgboost.DMatrix(rows, missing=self.missing)
        return xgboost.DMatrix(self._frame(rows, categories), missing=self.missing, enable_categorical=True)

    def _frame(self, rows: Any, categories: Any) -> Any:
        """A data frame as in training: what a category is missing from, a null."""
        import pandas as pd

        names = self.booster.feature_names or [f"f{i}" for i in range(len(self.columns))]
        columns = {}
        for name, column in zip(names, self.columns, strict=True):
            if column >= 0:
                columns[name] = rows[:, column]
                continue
            kind, known = self.kinds[-1 - column], self.known[-1 - column]
            values = _nulls(categories[:, -1 - column], kind, known)
            # Backwards: that XGBoost recodes by value and not by place is then part of what is judged. But where the
            # sentinel is a place, XGBoost reads the category that stands there as missing.
            ordered = known if self.missing in range(len(known)) else known[::-1]
            index = pd.Index([_typed(value, kind) for value in ordered], dtype=kind)
            columns[name] = pd.Categorical(values, categories=index)
        return pd.DataFrame(columns)


def _nulls(values: Any, kind: str, known: list[Any]) -> list[Any]:
    """Categories as they were in training, None for those that aren't known."""
    table = {value: _typed(value, kind) for value in known}
    words = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
    return [table.get(word) for word in words]


def _typed(value: Any, kind: str) -> Any:
    return value if kind == "str" else int(value)


def _and_one(categories: Any) -> Any:
    if categories is None:
        return None
    more = np.zeros((1, categories.shape[1]), categories.dtype)
    return np.concatenate([categories, more]) if len(categories) else more
