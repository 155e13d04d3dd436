"""Is a built artifact right? Leaf by leaf against the framework's own leaves, then the numbers.

All of it is asked of the artifact's files, through the runner that would serve them.
"""

from __future__ import annotations

from typing import Any

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


def judge(
    given: Given,
    framework: Answers,
    candidate: Answers,
    leaves: tuple[Leaves, Leaves] | None,
    tolerance: Tolerance,
    output: OutputContract,
    *,
    node_table: tuple[Table, Table] | None = None,
    coverage: str = "",
    labels: npt.NDArray[Any] | None = None,
) -> Verdict:
    """The verdict on one candidate. ``leaves``: what the artifact gave and what it must give, each [N, T];
    ``node_table``: its forest as it was read back from the file and as it must be, to the bit.

    ``labels`` are those of the last rows, whose metric is compared; the rows before them are adversarial.
    """
    wrong_leaves = None if leaves is None else leaf_mismatches(*leaves)
    wrong_values = None if node_table is None else different(*node_table)
    apart = _apart(candidate, framework)
    size = np.abs(framework.astype(np.float64))
    with np.errstate(over="ignore"):
        allowed = tolerance.abs + tolerance.rel * np.where(np.isfinite(size), size, 0)
    wrong = ~(apart <= allowed) | np.isinf(apart)  # no tolerance makes an infinity of a number
    relative = np.zeros_like(apart)  # where answers differ, an infinite or NaN answer of the framework is all wrong
    np.divide(apart, np.maximum(size, np.finfo(np.float32).tiny), out=relative, where=(apart > 0) & np.isfinite(size))
    relative[(apart > 0) & ~np.isfinite(size)] = np.inf
    found: tuple[Metric, ...] = ()
    if labels is not None and len(labels):
        found = metrics.compare(output, labels, framework[-len(labels) :], candidate[-len(labels) :])
    parity = Parity(
        rows=len(given),
        leaf_mismatches=wrong_leaves,
        wrong_values=wrong_values,
        max_abs=_worst(apart),
        max_rel=_worst(relative),
        max_ulp=int(ulps(candidate, framework).max(initial=0)),
        decision_flips=flips(output, framework, candidate),
        metric=found[0] if found else None,
        metrics=found,
        errors=_errors(apart),
        tolerance=tolerance.words,
        coverage=coverage,
    )
    if wrong.any(axis=1).sum() <= tolerance.share * len(given):
        wrong = ~(apart <= FURTHEST * allowed) | np.isinf(apart)
    flipped = parity.decision_flips > tolerance.flips * len(given)
    silent = len(framework) > 0 and bool(np.isnan(framework).any(axis=1).all())
    return Verdict(
        passed=not wrong_leaves and not wrong_values and not wrong.any() and not flipped and not silent,
        reason=_reason(parity, leaves, wrong, apart, framework, candidate, flipped=flipped)
        or (f"the framework answers none of {parity.rows:,} rows with numbers: nothing is shown" if silent else ""),
        parity=parity,
        allowed=tolerance,
    )


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
    leaves: tuple[Leaves, Leaves] | None,
    wrong: npt.NDArray[np.bool_],
    apart: npt.NDArray[np.float64],
    framework: Answers,
    candidate: Answers,
    *,
    flipped: bool,
) -> str:
    if leaves is not None and leaves[0].shape != leaves[1].shape:
        return f"the artifact has {leaves[0].shape[1]} trees, the model {leaves[1].shape[1]}"
    if parity.leaf_mismatches and leaves is not None:
        got, expected = leaves
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
        f"{candidate[row, k]:.9g} where the framework says {framework[row, k]:.9g}"
        + (f"; {decided}" if flipped else "")
        # 5% more, so that two digits don't round it down below the difference itself
        + ("" if hopeless else f"; --tolerance abs={1.05 * parity.max_abs:.2g},rel=0 would have passed")
    )
