"""Trees in an .npz, walked in numpy: all rows go down all trees at once, a level at a time. Standalone: numpy only.

Parameters: ``answer`` (``binary``: two columns of one margin; ``identity``: the margin).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class Runner:
    version = "1"

    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        with np.load(model_file, allow_pickle=False) as held:
            self.trees = {name: held[name] for name in held.files}
        self.answer = parameters["answer"]

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F] -> float32 [N, K]."""
        margin = self.trees["value"][self.leaves(rows)].sum(axis=1, keepdims=True) + self.trees["base"]
        if self.answer == "identity":
            return margin.astype(np.float32)
        second = 1 / (1 + np.exp(-margin.astype(np.float32)))
        return np.hstack([1 - second, second])

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """Of each row the leaf in each tree, as its place among all nodes: int32 [N, T]."""
        trees = self.trees
        node = np.tile(trees["root"], (len(rows), 1))
        row = np.arange(len(rows))[:, None]
        while (trees["left"][node] >= 0).any():
            value = np.asarray(rows)[row, trees["column"][node]]
            goes_left = np.where(np.isnan(value), trees["default_left"][node], value < trees["threshold"][node])
            child = np.where(goes_left, trees["left"][node], trees["right"][node])
            node = np.where(trees["left"][node] >= 0, child, node)
        return node.astype(np.int32)
