"""Rows far beyond the data's range: 10, 100 and 10,000 times it, each column in turn and all together.

A net's operators that are right near the data may overflow or cancel there: where the framework answers with a number,
fp32 must, and the same one. It may be further off than near the data, since sums of large terms round more: what is
allowed grows with the answers of the same distance. Lower precisions aren't judged there, but what they answer is said.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

TIMES = (10.0, 100.0, 10_000.0)
MOST_COLUMNS, TOGETHER = 60, 20
"""At most so many columns are scaled in turn; so many rows are scaled as a whole."""
NEAR, RELATIVE = 3e-3, 1e-3
"""Of the largest answers of the same distance, and of an answer: ten times what is allowed near the data."""
LABELS = 0.02
"""Of labels, the share that may differ."""
Numbers = npt.NDArray[np.float32]


def made(seen: Numbers, rng: np.random.Generator) -> Numbers:
    """One block after the other, equally many rows each, of one of ``TIMES``; none where there are no columns."""
    width = seen.shape[1]
    if not width:
        return np.zeros((0, 0), np.float32)
    columns = rng.permutation(width)[:MOST_COLUMNS]
    finite = np.where(np.isfinite(seen), seen, np.float32(0))
    blocks = []
    for times in TIMES:
        rows = finite[rng.integers(0, len(finite), TOGETHER + len(columns))].astype(np.float64)
        rows[:TOGETHER] *= times
        rows[np.arange(len(columns)) + TOGETHER, columns] *= times
        largest = np.finfo(np.float32).max
        blocks.append(np.clip(rows, -largest, largest).astype(np.float32))
    return np.concatenate(blocks)


def wrong(framework: Numbers, candidate: Numbers, *, labels: bool) -> str:
    """What is wrong with fp32 answers [N, K] to those rows; empty where nothing is."""
    for times, part in zip(TIMES, _blocks(len(framework)), strict=True):
        mine, own = candidate[part], framework[part]
        settled = np.isfinite(own).all(axis=1)
        mine, own = mine[settled].astype(np.float64), own[settled].astype(np.float64)
        if not len(own):
            continue
        lost = ~np.isfinite(mine).all(axis=1)
        if labels:
            off = (mine != own).any(axis=1)
            off &= off.mean() > LABELS
        else:
            allowed = NEAR * float(np.quantile(np.abs(own), 0.99)) + RELATIVE * np.abs(own)
            with np.errstate(invalid="ignore"):
                off = ~(np.abs(mine - own) <= allowed).all(axis=1)
        if lost.any() or off.any():
            row = int(np.flatnonzero(lost if lost.any() else off)[0])
            k = int(np.argmax(np.where(np.isfinite(mine[row]), np.abs(mine[row] - own[row]), np.inf)))
            return (
                f"{int((lost | off).sum()):,} of {len(own):,} rows at {times:,.0f} times the range of the data: "
                f"{mine[row, k]:.9g} where the framework says {own[row, k]:.9g}"
            )
    return ""


def finding(framework: Numbers, candidate: Numbers, precision: str) -> str:
    """Of a lower precision: from what distance on it gives no number where the framework does."""
    for times, part in zip(TIMES, _blocks(len(framework)), strict=True):
        settled = np.isfinite(framework[part]).all(axis=1)
        lost = settled & ~np.isfinite(candidate[part]).all(axis=1)
        if lost.any():
            return (
                f"{precision} answers {int(lost.sum()):,} of {int(settled.sum()):,} rows at {times:,.0f} times the "
                "range of the data with NaN or an infinity, where torch gives a number"
            )
    return ""


def _blocks(rows: int) -> list[slice]:
    size = rows // len(TIMES)
    return [slice(k * size, (k + 1) * size) for k in range(len(TIMES))]
