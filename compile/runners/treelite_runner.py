"""A Treelite checkpoint by Treelite's own interpreter (GTIL). Standalone: numpy, treelite and labels.py
beside it, and encoding.py of ours where something comes before the trees.

Parameters: ``answer`` (``binary…``: two columns from one; ``sort`` and ``mean-variance`` of margins; anything else: as
Treelite gives it), ``encoder`` (the file beside the model that holds the encoders' tables, where there are any).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import treelite

if TYPE_CHECKING or __package__:
    from .labels import decided
else:  # beside an artifact
    from labels import decided

PAIRS = {"binary", "binary-hinge", "binary-raw"}


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.parameters = parameters
        self.model = treelite.Model.deserialize(str(model_file))
        self.answer = parameters["answer"]
        self.threads = threads
        self.version = treelite.__version__
        self.encode = None
        if parameters.get("encoder"):
            with np.load(model_file.with_name(parameters["encoder"]), allow_pickle=False) as arrays:
                tables = {name: arrays[name] for name in arrays.files}
            self.encode = _encoder(model_file.parent)(tables)

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """The answer, float32 [N, K]: the label where ``decision`` says how (with ``cut``) it is decided."""
        answers = self.answers(rows, categories)
        how = self.parameters.get("decision", "")
        return decided(answers, how, float(self.parameters["cut"])) if how else answers

    def answers(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F], and categories [N, C] where the model takes them -> float32 [N, K]."""
        if len(rows) == 0:
            one = np.zeros((1, rows.shape[1]), np.float32)
            return self.answers(
                one, None if categories is None else np.zeros((1, categories.shape[1]), categories.dtype)
            )[:0]
        out = treelite.gtil.predict(self.model, self._given(rows, categories), nthread=self.threads)
        out = np.asarray(out, np.float32).reshape(len(rows), -1)
        if self.answer in PAIRS:
            return np.hstack([1 - out, out])
        if self.answer == "sort":
            return np.sort(out, axis=1)
        if self.answer == "mean-variance":
            return np.stack([out[:, 0], np.exp(2 * out[:, 1])], axis=1)
        return out

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """Node numbers within each tree, int32 [N, T]."""
        return np.asarray(
            treelite.gtil.predict_leaf(self.model, self._given(rows, categories), nthread=self.threads), np.int32
        )

    def _given(self, rows: Any, categories: Any) -> Any:
        rows = np.ascontiguousarray(rows, np.float32)
        return rows if self.encode is None else np.ascontiguousarray(self.encode(rows, categories))


def _encoder(folder: Path) -> Any:
    """The class of encoding.py, which lies beside the model."""
    spec = importlib.util.spec_from_file_location("millwork_encoding", folder / "encoding.py")
    if spec is None or spec.loader is None:
        raise ImportError(str(folder / "encoding.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Encoder
