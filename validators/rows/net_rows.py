"""Rows to judge a net by: around the user's own, since a net has no thresholds to sit on.

Columns mixed at random, each column in turn at its least, its largest and beyond, tiny numbers, zeros of both signs,
NaN and infinities; every code of each column as far as there is room, those at and beyond its ends, and codes that no
column knows. Then rows far beyond the data (``far_rows``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...compile.frontends.loaded_model import Signature
from ...passes import net as nets
from ...values import FeatureContract, OutputContract
from .. import far_rows
from .given import Given

COVERAGE = (
    "columns mixed, each at its least, its largest and beyond, tiny numbers, zeros of both signs, NaN, infinities, "
    "codes known and unknown"
)
FAR_COVERAGE = "; each column and all at 10, 100 and 10,000 times the range of the data"
"""The same, where rows are asked far out, too."""
CALIBRATION_SHARE, CALIBRATION_ROWS, FEWEST = 0.2, 2000, 40
"""Of the user's rows so many calibrate and judge nothing; none where there are fewer than 40."""
BEYOND = 4.0
"""Spreads beyond the middle of a column."""
ODD_CODES, ANY_CODES = 48, 1 << 20
ODD = (-1, -2, 0, 99, 1 << 40, -(1 << 40))
"""Codes that stand for "unknown" in somebody's tables, and some that stand for nothing."""
NORMAL_ROWS = 256
"""Without the user's rows, so many of normal numbers stand for them."""


def limits(output: OutputContract) -> tuple[int, int]:
    """How many adversarial rows and how many of the user's: fewer where rows affect each other, since those are asked
    in the same batches by everyone."""
    return (3000, 50_000) if output.independent_rows else (300, 700)


def split(rows: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which rows calibrate and which judge: seeded, disjoint, in order."""
    if rows < FEWEST:
        return np.zeros(0, np.intp), np.arange(rows)
    order = np.random.default_rng(1).permutation(rows)
    count = min(int(rows * CALIBRATION_SHARE), CALIBRATION_ROWS)
    return np.sort(order[:count]), np.sort(order[count:])


def unknown_codes(own: Given, features: FeatureContract) -> tuple[str, ...]:
    """A note on the user's rows that hold a code no column knows, with the first such column."""
    if own.categories is None or features.code_rule != "range":
        return ()
    unknown = nets.unknown_codes(own.categories, features.code_counts, features.code_lows)
    rows = int(unknown.any(axis=1).sum())
    if not rows:
        return ()
    row, column = (int(i[0]) for i in np.nonzero(unknown))
    low, count = features.code_lows[column], features.code_counts[column]
    found = (
        f"{rows:,} of {len(own):,} rows hold a code that the net doesn't know, so they are answered NaN: "
        f"{own.categories[row, column]} in {features.category_names[column]}, which takes {low:,} to "
        f"{low + count - 1:,}"
    )
    return (found,)


def made(signature: Signature, own: Given | None, limit: int, seed: int = 0) -> tuple[Given, int]:
    """At most ``limit`` rows and those far beyond the data, and how many these are: the last. Where rows affect each
    other there are none: they would be in all answers. ``own``: the user's, or None."""
    rng = np.random.default_rng(seed)
    contract = signature.features
    features, counts = len(contract.names), contract.code_counts
    seen = own.numbers if own is not None else rng.normal(size=(NORMAL_ROWS, features)).astype(np.float32)
    numbers = np.concatenate([_mixed(seen, limit // 2, rng), _edges(seen, rng)])[: limit - 64]
    independent = signature.output.independent_rows
    numbers = np.concatenate([numbers, _odd(seen, rng, infinite=independent)])
    codes = _codes(len(numbers), contract, rng) if counts else None
    if not independent:
        return Given(numbers, codes), 0
    far = far_rows.made(seen, rng)
    if codes is not None:
        known = codes[: len(codes) - ODD_CODES]
        codes = np.concatenate([codes, known[rng.integers(0, len(known), len(far))]])
    return Given(np.concatenate([numbers, far]), codes), len(far)


def _mixed(seen: npt.NDArray[np.float32], rows: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    at = rng.integers(0, len(seen), (rows, seen.shape[1]))
    return np.take_along_axis(seen, at, axis=0)


def _edges(seen: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Each column in turn: its least, its largest, and beyond them."""
    finite = np.where(np.isfinite(seen), seen, np.nan).astype(np.float64)
    with np.errstate(all="ignore"):
        middle, spread = np.nan_to_num(np.nanmean(finite, axis=0)), np.nan_to_num(np.nanstd(finite, axis=0))
        low, high = np.nan_to_num(np.nanmin(finite, axis=0)), np.nan_to_num(np.nanmax(finite, axis=0))
    tried = np.stack([low, high, middle - BEYOND * spread, middle + BEYOND * spread], axis=1)
    width = seen.shape[1]
    rows = _mixed(seen, 4 * width, rng)
    column = np.repeat(np.arange(width), 4)
    rows[np.arange(len(rows)), column] = tried.ravel().astype(np.float32)
    return rng.permutation(rows)


def _odd(seen: npt.NDArray[np.float32], rng: np.random.Generator, *, infinite: bool) -> npt.NDArray[np.float32]:
    """64 rows, each with one odd number in some column. Where rows affect each other one NaN would be in all
    answers."""
    rows = _mixed(seen, 64, rng)
    if not rows.shape[1]:
        return rows
    values = np.array([0.0, -0.0, 1e-30, -1e-44, *([np.nan, np.inf, -np.inf] if infinite else [])], np.float32)
    rows[np.arange(64), rng.integers(0, rows.shape[1], 64)] = values[np.arange(64) % len(values)]
    return rows


def _codes(rows: int, features: FeatureContract, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Known codes, each of a column's in turn; in the last of the rows one at or beyond an end of its column, or far
    from it."""
    low = np.array(features.code_lows or (0,) * len(features.code_counts), np.int64)
    count = np.array([number or ANY_CODES for number in features.code_counts], np.int64)
    width = len(count)
    start = (np.arange(rows)[:, None] + rng.integers(0, 1 << 20, width)) % count
    codes = low + np.where(rng.random((rows, width)) < 0.5, start, (rng.random((rows, width)) * count).astype(np.int64))
    odd = np.arange(max(rows - ODD_CODES, 0), rows)
    ends = [low - 1, low, low + count - 1, low + count]
    tried = np.stack([*ends, *(np.full(width, code, np.int64) for code in ODD)])
    column = (np.arange(len(odd)) // len(tried) + rng.integers(0, width)) % width
    codes[odd, column] = tried[np.arange(len(odd)) % len(tried), column]
    return codes
