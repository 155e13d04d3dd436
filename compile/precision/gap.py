"""How far a lowered graph's answers are from the fp32 graph's, and how far they may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from ...passes.program import Postprocess, transform
from ...values import Value
from .run_graph import Answers, Feeds, answers

SMALLEST_STD = 1e-12
PROBABILITIES = frozenset({"binary", "sigmoid", "softmax"})
"""Answers whose spread is 1, and that decide something."""


class Gap(Value):
    """Against fp32, on rows that nothing was calibrated on. ``error``: root mean square of the difference of the raw
    outputs over their standard deviation, ``worst``: the largest, both of the output where it is largest. ``outside``:
    the share of rows with an answer further off than the limit has it, ``flips``: of those with another decision (0
    where the answer decides nothing). ``odd_row``: the first row with an output that isn't finite where fp32's is; None
    where there is none."""

    error: float
    worst: float
    outside: float = 0.0
    flips: float = 0.0
    odd_row: int | None = None


class Limit(Value):
    """What a :class:`Gap` may be, as the gate has it: an answer is outside when it is further off than ``near`` of the
    answers' spread and ``relative`` of itself, which ``outside`` of the rows may be; ``flips`` of them may be decided
    differently."""

    near: float
    relative: float
    outside: float
    flips: float

    def holds(self, gap: Gap) -> bool:
        return gap.odd_row is None and gap.outside <= self.outside and gap.flips <= self.flips

    @property
    def words(self) -> str:
        return (
            f"all but {self.outside:.2%} of the rows within {self.near:g} of the answers' spread, and all but "
            f"{self.flips:.2%} with the same decision"
        )


Accept = Callable[[Gap], bool]

USUAL: dict[str, Limit] = {
    "fp16": Limit(near=0.02, relative=0.02, outside=0.002, flips=0.005),
    "int8": Limit(near=0.1, relative=0.05, outside=0.01, flips=0.02),
}
"""Where nothing is asked for, by precision: the gate's own (validators/tolerance.py)."""


@dataclass(frozen=True)
class Judge:
    """``reference``: fp32's raw outputs for ``rows``, float32 [N, K]. ``answer``: what is made of raw outputs."""

    rows: Feeds
    reference: Answers
    limit: Limit
    answer: Postprocess = "identity"

    def of(self, typed: onnx.ModelProto) -> Gap:
        """How far the typed graph is from fp32."""
        return gap(self.reference, answers(typed, self.rows), self.limit, self.answer)


def judge(model: onnx.ModelProto, rows: Feeds, limit: Limit, answer: Postprocess = "identity") -> Judge:
    """``model``: the fp32 graph."""
    return Judge(rows, answers(model, rows), limit, answer)


def gap(reference: Answers, given: Answers, limit: Limit, answer: Postprocess = "identity") -> Gap:
    """Raw outputs, both float32 [N, K]. Rows that fp32 itself answers with NaN or infinity are left out."""
    rows = np.flatnonzero(np.isfinite(reference).all(axis=1))
    odd = rows[~np.isfinite(given[rows]).all(axis=1)]
    if len(odd):
        return Gap(error=float("inf"), worst=float("inf"), outside=1.0, flips=1.0, odd_row=int(odd[0]))
    if not len(rows):
        return Gap(error=0.0, worst=0.0)
    wanted, made = reference[rows].astype(np.float64), given[rows].astype(np.float64)
    scaled = np.abs(made - wanted) / np.maximum(wanted.std(axis=0), SMALLEST_STD)
    error, worst = float(np.sqrt((scaled**2).mean(axis=0)).max()), float(scaled.max())
    own, its = transform(answer, wanted), transform(answer, made)
    spread = 1.0 if answer in PROBABILITIES else float(own.std())
    outside = np.abs(its - own) > limit.near * spread + limit.relative * np.abs(own)
    flips = (_decision(own) != _decision(its)).mean() if answer in PROBABILITIES else 0.0
    return Gap(error=error, worst=worst, outside=float(outside.any(axis=1).mean()), flips=float(flips))


def mean_error(reference: Answers, given: Answers) -> float:
    """Mean of the absolute difference over the standard deviation: a few rows that are far off weigh little. Both
    float32 [N, K] and finite."""
    spread = np.maximum(reference.std(axis=0, dtype=np.float64), SMALLEST_STD)
    return float((np.abs(given.astype(np.float64) - reference) / spread).mean())


def _decision(answered: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Probabilities [N, K] -> [N]."""
    largest = answered.argmax(axis=1) if answered.shape[1] > 1 else answered[:, 0] > 0.5
    return largest.astype(np.int64)
