"""torch itself: the oracle, and the ``reference`` candidate of nets. Standalone: numpy and torch only.

The model's file is a .pt2 (torch.export). Parameters: ``inputs`` (``numbers``, ``codes``: the program's arguments in
order), ``answer`` (what to make of the raw outputs, as passes/program.py names it), ``outputs`` (K0), ``counts`` (how
many codes each column has; a row with another is answered NaN), ``finite`` (a row with a number that isn't finite is
answered NaN: the net fails on it), ``decision`` and ``cut`` where the answer is a label.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

PAIRS = {"binary", "binary-raw"}


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.run = torch.export.load(str(model_file)).module()
        self.inputs = parameters["inputs"].split(",")
        self.answer = parameters["answer"]
        self.outputs = int(parameters["outputs"])
        self.counts = np.array([int(count) for count in parameters.get("counts", "").split(",") if count], np.int64)
        self.finite = parameters.get("finite", "") == "yes"
        self.decision, self.cut = parameters.get("decision", ""), float(parameters.get("cut", "0.5"))
        self.version = torch.__version__.partition("+")[0]

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F], int64 [N, C] -> float32 [N, K]: the answer."""
        return self._with_unknown(rows, categories, self._answered)

    def margins(self, rows: Any, categories: Any = None) -> Any:
        """The net's raw outputs, float32 [N, K0]."""
        return self._with_unknown(rows, categories, lambda raw: raw)

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """A net has none: int32 [N, 0]."""
        return np.zeros((len(rows), 0), np.int32)

    def _with_unknown(self, rows: Any, categories: Any, made: Any) -> Any:
        if len(rows) == 0:
            one = np.zeros((1, *categories.shape[1:]), np.int64) if categories is not None else None
            return self._with_unknown(np.zeros((1, *rows.shape[1:]), np.float32), one, made)[:0]
        odd = np.zeros(len(rows), bool)
        if categories is not None:
            unknown = (categories < 0) | (categories >= self.counts)
            odd |= unknown.any(axis=1)
            categories = np.where(unknown, 0, categories)
        if self.finite:
            odd |= ~np.isfinite(rows).all(axis=1)
            rows = np.where(np.isfinite(rows), rows, np.float32(0))
        given = [
            torch.from_numpy(np.array(rows, np.float32) if kind == "numbers" else np.array(categories, np.int64))
            for kind in self.inputs
        ]
        with torch.inference_mode():
            out = self.run(*given)
            while isinstance(out, tuple | list):
                out = out[0]
            answers = made(out.reshape(len(rows), self.outputs)).numpy()
        if odd.any():
            answers = np.array(answers)
            answers[odd] = np.nan
        return answers

    def _answered(self, raw: Any) -> Any:
        if self.answer in ("binary", "sigmoid"):
            raw = torch.sigmoid(raw)
        elif self.answer == "softmax":
            raw = torch.softmax(raw, dim=1)
        if self.answer in PAIRS:
            raw = torch.cat([1 - raw, raw], dim=1)
        if self.decision == "largest":
            return raw.argmax(dim=1, keepdim=True).to(torch.float32)
        if self.decision:
            return ((raw if self.decision == "each" else raw[:, 1:2]) > self.cut).to(torch.float32)
        return raw
