"""XGBoost itself: the oracle, and the ``reference`` candidate. Standalone: numpy and xgboost only.

Parameters: ``answer`` (identity | binary | sigmoid | softmax | exp: what to make of the margin; margins are asked
for with identity), ``missing`` (the sentinel), ``rounds`` (how many boosting rounds count, 0 for all).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xgboost


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.booster = xgboost.Booster(model_file=str(model_file))
        self.booster.set_param({"nthread": threads})
        self.booster.feature_names = None
        self.booster.feature_types = None
        self.answer = parameters["answer"]
        self.missing = float(parameters["missing"])
        self.rounds = (0, int(parameters["rounds"]))
        self.version = xgboost.__version__

    def predict(self, rows: Any) -> Any:
        """The framework's answer, float32 [N, K]."""
        out = self._ask(rows, "margin" if self.answer in ("identity", "softmax") else "value")
        if self.answer == "binary":
            return np.hstack([1 - out, out])
        if self.answer == "softmax":  # as XGBClassifier.predict_proba does for multi:softmax
            e = np.exp(out - out.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return out

    def margins(self, rows: Any) -> Any:
        """Raw scores, float32 [N, K]."""
        return self._ask(rows, "margin")

    def leaves(self, rows: Any) -> Any:
        """XGBoost's own leaf numbers, int32 [N, T]; -1 where a row holds an infinity, which DMatrix refuses."""
        sound = ~np.isinf(rows).any(axis=1)
        # One row more: it says how many trees there are even where every row holds an infinity.
        matrix = xgboost.DMatrix(
            np.concatenate([rows[sound], np.zeros((1, rows.shape[1]), rows.dtype)]), missing=self.missing
        )
        got = self.booster.predict(
            matrix, pred_leaf=True, strict_shape=True, iteration_range=self.rounds, validate_features=False
        )
        got = got.reshape(len(got), -1)
        out = np.full((len(rows), got.shape[1]), -1, np.int32)
        out[sound] = got[:-1]
        return out

    def _ask(self, rows: Any, kind: str) -> Any:
        """float32 [N, K]. XGBoost drops the axis of a single output, and both of no rows."""
        if len(rows) == 0:
            return self._ask(np.zeros((1, rows.shape[1]), np.float32), kind)[:0]
        out = self.booster.inplace_predict(
            rows, iteration_range=self.rounds, predict_type=kind, missing=self.missing, validate_features=False
        )
        return np.asarray(out, np.float32).reshape(len(rows), -1)
