"""Is a built artifact right? Leaf by leaf against the framework's own leaves, then the numbers.

All of it is asked of the artifact's files, through the runner that would serve them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..values import Metric, OutputContract, Parity, Value
from . import metrics
from .latency import QUANTILES
from .rows.given import Given
from .tolerance import FURTHEST, Tolerance

Answers = npt.NDArray[np.float32]
Leaves = npt.NDArray[np.int32]
Table = npt.NDArray[np.float64]
A = TypeVar("A")

BATCHES = (0, 1, 3, 1025)
"""Batch sizes that every check runs: none, one, odd, larger than any block; then the rest at once."""


LARGEST = 1e300
"""Among quantiles: a difference above it, or one that isn't finite, as JSON holds it."""

LABEL_CUT = 0.5
"""Above this probability a label of several is given."""


class Verdict(Value):
    """``passed``, or why not: the first thing that is wrong, with the row where it is worst. ``allowed``: how far
    answers may be apart; ``engine``: what ran the artifact, and its version.
    """

    passed: bool
    reason: str
    parity: Parity
    allowed: Tolerance
    engine: str = ""


def in_batches(predict: Any, given: Given, outputs: int) -> Answers:
    """The answers [N, K] to the rows asked in batches of 0, 1, 3, 1025 and the rest. ValueError on a wrong shape."""
    parts, start = [], 0
    for size in (*BATCHES, len(given)):
        batch = given[start : start + size]
        got = np.asarray(predict(*batch.parts))
        if got.shape != (len(batch), outputs):
            raise ValueError(
                f"a batch of {len(batch)} rows gave an answer of shape {list(got.shape)}, not [{len(batch)}, {outputs}]"
            )
        if got.dtype != np.float32:
            raise ValueError(f"the answer is {got.dtype}, not float32")
        parts.append(got)
        start += len(batch)
    return np.concatenate(parts)


UNKNOWN, IMPOSSIBLE = -1, -2
"""Among expected leaves: the framework gives none for the row; or it gives one that a pass claims no row reaches."""


def leaf_mismatches(got: Leaves, expected: Leaves) -> int:
    """How many (row, tree) pairs differ. UNKNOWN ones don't count; where the number of trees differs, all pairs do."""
    if got.shape != expected.shape:
        return max(got.size, expected.size)
    return int(_wrong_leaves(got, expected).sum())


def _wrong_leaves(got: Leaves, expected: Leaves) -> npt.NDArray[np.bool_]:
    return np.asarray((got != expected) & (expected != UNKNOWN))


def ulps(a: Answers, b: Answers) -> npt.NDArray[np.int64]:
    """Distance in float32 numbers between ``a`` and ``b``; 0 for two NaN, a huge one for one NaN."""
    order = [
        np.where(bits < 0, np.int64(-(2**31)) - bits, bits)
        for bits in (np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64) for x in (a, b))
    ]
    apart = np.abs(order[0] - order[1])
    nan = np.isnan(a).astype(int) + np.isnan(b).astype(int)
    return np.where(nan == 2, 0, np.where(nan == 1, 2**32, apart))


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the comparison: the framework's, or the candidate's. ``leaves`` and ``node_table``, where they are
    compared: of the candidate, its leaves [N, T], and its forest as it was read back from the file; of the framework,
    what they must be."""

    answers: Answers
    leaves: Leaves | None = None
    node_table: Table | None = None


def judge(
    given: Given,
    framework: Side,
    candidate: Side,
    tolerance: Tolerance,
    output: OutputContract,
    *,
    coverage: str = "",
    labels: npt.NDArray[Any] | None = None,
) -> Verdict:
    """The verdict on one candidate.

    ``labels`` are those of the last rows, whose metric is compared; the rows before them are adversarial.
    """
    apart = _Distances.between(framework.answers, candidate.answers, tolerance)
    found: tuple[Metric, ...] = ()
    if labels is not None and len(labels):
        last = slice(-len(labels), None)
        found = metrics.compare(output, labels, framework.answers[last], candidate.answers[last])
    parity = Parity(
        rows=len(given),
        leaf_mismatches=_compared(leaf_mismatches, candidate.leaves, framework.leaves),
        wrong_values=_compared(different, candidate.node_table, framework.node_table),
        max_abs=_worst(apart.absolute),
        max_rel=_worst(apart.relative),
        max_ulp=int(ulps(candidate.answers, framework.answers).max(initial=0)),
        decision_flips=flips(output, framework.answers, candidate.answers),
        metric=found[0] if found else None,
        metrics=found,
        errors=_errors(apart.absolute),
        tolerance=tolerance.words,
        coverage=coverage,
    )
    wrong = apart.beyond(1.0)
    if wrong.any(axis=1).sum() <= tolerance.share * len(given):
        wrong = apart.beyond(FURTHEST)
    flipped = parity.decision_flips > tolerance.flips * len(given)
    silent = len(framework.answers) > 0 and bool(np.isnan(framework.answers).any(axis=1).all())
    return Verdict(
        passed=not (parity.leaf_mismatches or parity.wrong_values or wrong.any() or flipped or silent),
        reason=_reason(parity, framework, candidate, apart.absolute, wrong, flipped=flipped)
        or (
            f"the framework's answers to all of the {parity.rows:,} rows are NaN, so parity can't be shown"
            if silent
            else ""
        ),
        parity=parity,
        allowed=tolerance,
    )


@dataclass(frozen=True, eq=False)
class _Distances:
    """float64 [N, K] each: how far answers are apart, the same as a share of the framework's, and how far they may."""

    absolute: Table
    relative: Table
    allowed: Table

    @classmethod
    def between(cls, framework: Answers, candidate: Answers, tolerance: Tolerance) -> _Distances:
        apart = _apart(candidate, framework)
        size = np.abs(framework.astype(np.float64))
        with np.errstate(over="ignore"):
            allowed = tolerance.abs + tolerance.rel * np.where(np.isfinite(size), size, 0)
        relative = np.zeros_like(apart)  # where they differ, an infinite or NaN answer of the framework is all wrong
        smallest = np.finfo(np.float32).tiny
        np.divide(apart, np.maximum(size, smallest), out=relative, where=(apart > 0) & np.isfinite(size))
        relative[(apart > 0) & ~np.isfinite(size)] = np.inf
        return cls(apart, relative, allowed)

    def beyond(self, times: float) -> npt.NDArray[np.bool_]:
        """Which are further apart than ``times`` what is allowed. No tolerance makes an infinity of a number."""
        return ~(self.absolute <= times * self.allowed) | np.isinf(self.absolute)


def _compared(count: Callable[[A, A], int], candidate: A | None, framework: A | None) -> int | None:
    return None if candidate is None or framework is None else count(candidate, framework)


def _errors(apart: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Quantiles of the rows' largest differences; one that isn't finite as the largest number that JSON holds."""
    if not len(apart):
        return ()
    rows = np.minimum(apart.max(axis=1), LARGEST)
    return tuple(float(f"{q:.3g}") for q in np.quantile(rows, QUANTILES, method="lower"))


def different(got: Table, expected: Table) -> int:
    """How many values aren't the same number; all, where their count differs."""
    if got.shape != expected.shape:
        return len(expected)
    return int(((got != expected) & ~(np.isnan(got) & np.isnan(expected))).sum())


def flips(output: OutputContract, framework: Answers, candidate: Answers) -> int:
    """Rows on which the two decide differently: at the cut-off of a binary model, label by label where there are
    several, by the largest class of others."""
    if output.kind == "label":
        return int((framework != candidate).any(axis=1).sum())
    if output.kind != "probability" or len(framework) == 0:
        return 0
    if output.task == "binary":
        cut = 0.5 if output.threshold is None else output.threshold
        return int(((framework[:, 1] > cut) != (candidate[:, 1] > cut)).sum())
    if output.task == "multilabel":
        return int(((framework > LABEL_CUT) != (candidate > LABEL_CUT)).any(axis=1).sum())
    return int((framework.argmax(axis=1) != candidate.argmax(axis=1)).sum())


def _apart(a: Answers, b: Answers) -> npt.NDArray[np.float64]:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _worst(values: npt.NDArray[np.float64]) -> float:
    """The largest, as a number that JSON can hold."""
    return float(min(values.max(initial=0.0), np.finfo(np.float64).max))


def _reason(
    parity: Parity,
    framework: Side,
    candidate: Side,
    apart: Table,
    wrong: npt.NDArray[np.bool_],
    *,
    flipped: bool,
) -> str:
    got, expected = candidate.leaves, framework.leaves
    if got is not None and expected is not None and got.shape != expected.shape:
        return f"the artifact has {got.shape[1]} trees, but the model has {expected.shape[1]}"
    if parity.leaf_mismatches and got is not None and expected is not None:
        row, tree = (int(i[0]) for i in np.nonzero(_wrong_leaves(got, expected)))
        return (
            f"{parity.leaf_mismatches:,} wrong leaves (row, tree), the first in tree {tree} on row {row}; "
            f"largest difference of an answer {parity.max_abs:.3g}"
        )
    if parity.wrong_values:
        return f"{parity.wrong_values:,} entries of the node table in the artifact aren't the model's"
    decided = f"{parity.decision_flips:,} of {parity.rows:,} rows are decided differently"
    if not wrong.any():
        return decided if flipped else ""
    hopeless = flipped or bool(np.isinf(apart).any())
    row, k = (int(i) for i in np.unravel_index(np.argmax(np.where(wrong, apart, -1)), apart.shape))
    return (
        f"{int(wrong.any(axis=1).sum()):,} of {parity.rows:,} rows outside the tolerance; "
        f"worst: row {row}, output {k}: "
        f"{candidate.answers[row, k]:.9g} where the framework says {framework.answers[row, k]:.9g}"
        + (f"; {decided}" if flipped else "")
        # 5% more, so that two digits don't round it down below the difference itself
        + ("" if hopeless else f"; --tolerance abs={1.05 * parity.max_abs:.2g},rel=0 would have passed")
    )
