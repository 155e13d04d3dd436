"""A Treelite checkpoint by Treelite's own interpreter (GTIL). Standalone: numpy and treelite only.

Parameters: ``answer`` (``binary``: two columns from one probability; anything else: as Treelite gives it).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import treelite


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.model = treelite.Model.deserialize(str(model_file))
        self.binary = parameters["answer"] == "binary"
        self.threads = threads
        self.version = treelite.__version__

    def predict(self, rows: Any) -> Any:
        """float32 [N, F] -> float32 [N, K]."""
        if len(rows) == 0:
            rows = np.zeros((1, rows.shape[1]), np.float32)
            return self.predict(rows)[:0]
        out = treelite.gtil.predict(self.model, np.ascontiguousarray(rows, np.float32), nthread=self.threads)
        out = np.asarray(out, np.float32).reshape(len(rows), -1)
        return np.hstack([1 - out, out]) if self.binary else out

    def leaves(self, rows: Any) -> Any:
        """Node numbers within each tree, int32 [N, T]."""
        return np.asarray(treelite.gtil.predict_leaf(self.model, rows, nthread=self.threads), np.int32)
