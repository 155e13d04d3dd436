"""torch itself: the oracle, and the ``reference`` candidate of nets. Standalone: numpy and torch only.

The model's file is a .pt2 (torch.export). Parameters: ``inputs`` (``numbers``, ``codes``: the program's arguments in
order), ``answer`` (what to make of the raw outputs, as passes/program.py names it), ``outputs`` (K0), ``safe_numbers``
and ``safe_codes`` (a row that the net answers), ``finite`` (a row with a number that isn't finite is answered NaN),
``decision`` and ``cut`` where the answer is a label. A row that torch fails on is answered NaN: a batch that it fails
on is asked by halves, down to single rows, and then again with the safe row in place of those.
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
        self.safe: dict[str, Any] = {
            "numbers": np.array([float(x) for x in parameters.get("safe_numbers", "").split(",") if x], np.float32),
            "codes": np.array([int(x) for x in parameters.get("safe_codes", "").split(",") if x], np.int64),
        }
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
            one = {kind: safe[None] for kind, safe in self.safe.items()}
            return self._with_unknown(one["numbers"], None if categories is None else one["codes"], made)[:0]
        odd = np.zeros(len(rows), bool)
        if self.finite:
            odd |= ~np.isfinite(rows).all(axis=1)
            rows = np.where(np.isfinite(rows), rows, np.float32(0))
        whole = {"numbers": np.array(rows, np.float32)}
        if categories is not None:
            whole["codes"] = np.array(categories, np.int64)
        raw = self._raw(whole)
        if raw is None:
            failing = self._failing(whole)
            odd |= failing
            raw = self._raw({kind: np.where(failing[:, None], self.safe[kind], part) for kind, part in whole.items()})
        if raw is None:
            raise RuntimeError("torch fails on these rows together, but on none of them alone")
        answers = made(raw).numpy()
        if odd.any():
            answers = np.array(answers)
            answers[odd] = np.nan
        return answers

    def _raw(self, whole: dict[str, Any]) -> Any:
        """[N, K0]; None where torch fails."""
        given = [torch.from_numpy(np.ascontiguousarray(whole[kind])) for kind in self.inputs]
        try:
            with torch.inference_mode():
                out = self.run(*given)
        except (IndexError, RuntimeError):
            return None
        while isinstance(out, tuple | list):
            out = out[0]
        return out.reshape(len(given[0]), self.outputs)

    def _failing(self, whole: dict[str, Any]) -> Any:
        """Which rows torch fails on, bool [N]: by halves."""
        count = len(next(iter(whole.values())))
        failing = np.zeros(count, bool)
        pending = [(0, count)]
        while pending:
            begin, end = pending.pop()
            if self._raw({kind: part[begin:end] for kind, part in whole.items()}) is not None:
                continue
            if end - begin == 1:
                failing[begin] = True
                continue
            middle = (begin + end) // 2
            pending += [(begin, middle), (middle, end)]
        return failing

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
