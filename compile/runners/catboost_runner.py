"""CatBoost itself: the oracle, and the ``reference`` candidate. Standalone: numpy, catboost and labels.py
beside it.

Parameters: ``answer`` (as passes/program.py names it), ``format`` (cbm | json), ``columns`` (JSON: for each feature in
training order its column of the rows, or -1 - its column of the categories; only where there are any), ``by_name``
(where the features have names: CatBoost finds them so, of a model from which others were dropped).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catboost
import numpy as np

if TYPE_CHECKING or __package__:
    from .labels import decided
else:  # beside an artifact
    from labels import decided

TYPES = {"identity": "RawFormulaVal", "binary": "Probability", "sigmoid": "Probability", "softmax": "Probability",
         "exp": "Exponent", "mean-variance": "RMSEWithUncertainty"}  # fmt: skip


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.parameters = parameters
        self.model = catboost.CatBoost()
        self.model.load_model(str(model_file), format=parameters["format"])
        self.type = TYPES[parameters["answer"]]
        self.columns = json.loads(parameters.get("columns", "[]"))
        self.by_name = "by_name" in parameters
        self.threads = threads
        self.version = catboost.__version__

    @property
    def labels(self) -> list[str]:
        """The classes' names, in the order of the answers; none of a model that has no classes."""
        return [str(label) for label in np.asarray(self.model.classes_).ravel().tolist()]

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """The answer, float32 [N, K]: the label where ``decision`` says how (with ``cut``) it is decided."""
        answers = self.answers(rows, categories)
        how = self.parameters.get("decision", "")
        return decided(answers, how, float(self.parameters["cut"])) if how else answers

    def answers(self, rows: Any, categories: Any = None) -> Any:
        """The framework's answer, float32 [N, K]."""
        return self._ask(rows, categories, self.type)

    def margins(self, rows: Any, categories: Any = None) -> Any:
        """Raw scores, float32 [N, K]."""
        return self._ask(rows, categories, "RawFormulaVal")

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """CatBoost's own leaf indexes, int32 [N, T]."""
        if not self.model.tree_count_:
            return np.zeros((len(rows), 0), np.int32)
        return np.asarray(
            self.model.calc_leaf_indexes(self._given(rows, categories), thread_count=self.threads), np.int32
        )

    def _ask(self, rows: Any, categories: Any, prediction_type: str) -> Any:
        if len(rows) == 0:
            one = np.zeros((1, rows.shape[1]), np.float32)
            return self._ask(
                one,
                None if categories is None else np.zeros((1, categories.shape[1]), categories.dtype),
                prediction_type,
            )[:0]
        return self._answered(self._given(rows, categories), prediction_type)

    def answers_of(self, pool: Any) -> Any:
        """The framework's answer to a pool of its own, float32 [N, K]."""
        return self._answered(pool, self.type)

    def _answered(self, given: Any, prediction_type: str) -> Any:
        out = self.model.predict(given, prediction_type=prediction_type, thread_count=self.threads)
        out = np.asarray(out, np.float32)
        return out[:, None] if out.ndim == 1 else out  # CatBoost drops the axis of a single output

    def _given(self, rows: Any, categories: Any) -> Any:
        """The rows, or a pool in which text and numbers stand side by side, as in training."""
        if not self.columns:
            return catboost.Pool(rows, feature_names=self.model.feature_names_) if self.by_name else rows
        table = np.empty((len(rows), len(self.columns)), object)
        for place, column in enumerate(self.columns):
            table[:, place] = rows[:, column] if column >= 0 else _words(categories[:, -1 - column])
        places = [place for place, column in enumerate(self.columns) if column < 0]
        names = self.model.feature_names_ if self.by_name else None
        return catboost.Pool(table, cat_features=places, feature_names=names)


def _words(values: Any) -> Any:
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values.tolist()]
