"""CatBoost itself: the oracle, and the ``reference`` candidate. Standalone: numpy and catboost only.

Parameters: ``answer`` (identity | binary | sigmoid | softmax | exp), ``format`` (cbm | json).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost
import numpy as np

TYPES = {"identity": "RawFormulaVal", "binary": "Probability", "sigmoid": "Probability", "softmax": "Probability",
         "exp": "Exponent"}  # fmt: skip


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.model = catboost.CatBoost()
        self.model.load_model(str(model_file), format=parameters["format"])
        self.type = TYPES[parameters["answer"]]
        self.threads = threads
        self.version = catboost.__version__

    def predict(self, rows: Any) -> Any:
        """The framework's answer, float32 [N, K]."""
        return self._ask(rows, self.type)

    def margins(self, rows: Any) -> Any:
        """Raw scores, float32 [N, K]."""
        return self._ask(rows, "RawFormulaVal")

    def leaves(self, rows: Any) -> Any:
        """CatBoost's own leaf indexes, int32 [N, T]."""
        return np.asarray(self.model.calc_leaf_indexes(rows, thread_count=self.threads), np.int32)

    def _ask(self, rows: Any, prediction_type: str) -> Any:
        out = self.model.predict(rows, prediction_type=prediction_type, thread_count=self.threads)
        out = np.asarray(out, np.float32)
        return out[:, None] if out.ndim == 1 else out  # also for no rows; CatBoost drops the axis of a single output
