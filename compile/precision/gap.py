"""How far a lowered graph's answers are from the fp32 graph's, and how far they may be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ...values import Value
from .running import Answers

SMALLEST_STD = 1e-12


class Gap(Value):
    """Against fp32, on rows that nothing was calibrated on. ``error``: root mean square of the difference, ``worst``:
    the largest, both over the standard deviation of the output, of the output where it is largest. ``flips``: the
    share of rows with another decision: the largest of several outputs, or the sign of one. ``odd_row``: the first
    row with an answer that isn't finite where fp32's is; None where there is none."""

    error: float
    worst: float
    flips: float
    odd_row: int | None = None


class Limit(Value):
    """What a :class:`Gap` may be. None: no matter; ``flips`` is, where the answer decides nothing (a regression)."""

    error: float
    flips: float | None = None
    worst: float | None = None

    def holds(self, gap: Gap) -> bool:
        pairs = ((gap.error, self.error), (gap.flips, self.flips), (gap.worst, self.worst))
        return gap.odd_row is None and all(limit is None or value <= limit for value, limit in pairs)

    @property
    def words(self) -> str:
        parts = [f"errors within {self.error:g} of the answers' standard deviation (root mean square)"]
        parts += [] if self.worst is None else [f"{self.worst:g} of it at worst"]
        parts += [] if self.flips is None else [f"other decisions on at most {self.flips:.2%} of the rows"]
        return ", ".join(parts)


USUAL: dict[str, Limit] = {"fp16": Limit(error=0.01, flips=0.005), "int8": Limit(error=0.1, flips=0.02)}
"""Where nothing is asked for, by precision."""

Accept = Callable[[Gap], bool]


def gap(reference: Answers, answers: Answers) -> Gap:
    """Both float32 [N, K]. Rows that fp32 itself answers with NaN or infinity are left out."""
    rows = np.flatnonzero(np.isfinite(reference).all(axis=1))
    odd = rows[~np.isfinite(answers[rows]).all(axis=1)]
    if len(odd):
        return Gap(error=float("inf"), worst=float("inf"), flips=1.0, odd_row=int(odd[0]))
    if not len(rows):
        return Gap(error=0.0, worst=0.0, flips=0.0)
    wanted, given = reference[rows].astype(np.float64), answers[rows].astype(np.float64)
    spread = np.maximum(wanted.std(axis=0), SMALLEST_STD)
    difference = np.abs(given - wanted) / spread
    return Gap(
        error=float(np.sqrt((difference**2).mean(axis=0)).max()),
        worst=float(difference.max()),
        flips=float((_decision(wanted) != _decision(given)).mean()),
    )


def mean_error(reference: Answers, answers: Answers) -> float:
    """Mean of the absolute difference over the standard deviation: a few rows that are far off weigh little. Both
    float32 [N, K] and finite."""
    spread = np.maximum(reference.std(axis=0, dtype=np.float64), SMALLEST_STD)
    return float((np.abs(answers.astype(np.float64) - reference) / spread).mean())


def _decision(margins: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """[N, K] -> [N]"""
    return margins.argmax(axis=1) if margins.shape[1] > 1 else (margins[:, 0] > 0).astype(np.int64)
