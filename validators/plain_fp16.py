"""What fp16 thresholds would do to a forest, had they not been rank-encoded: the reason why they are."""

from __future__ import annotations

import numpy as np

from ..passes.forest import leaves
from ..passes.program import Program, encode
from .rows.given import Given

MOST_ROWS, MOST_CELLS = 5000, 20_000_000


def finding(program: Program, given: Given, adversarial: int, mismatches: int | None) -> str:
    """A sentence: how many of the user's rows (of the adversarial ones, where there are none) would end in another leaf
    of some tree if thresholds and numbers were rounded to float16. Empty for a forest without thresholds.
    ``mismatches``: the (row, tree) pairs that the candidate, whose thresholds are ranks, was seen to send elsewhere."""
    forest = program.forest
    numbers = ~forest.is_leaf & ~forest.is_categorical
    if not numbers.any():
        return ""
    own = given[adversarial:] if len(given) > adversarial else given
    most = max(min(MOST_ROWS, MOST_CELLS // max(forest.n_trees, 1)), 1)
    if len(own) > most:
        own = own[np.sort(np.random.default_rng(0).choice(len(own), most, replace=False))]
    rows = encode(program, *own.parts)
    with np.errstate(over="ignore"):
        rounded = forest.replacing(
            threshold=np.where(numbers, forest.threshold.astype(np.float16), forest.threshold).astype(
                forest.threshold.dtype
            )
        )
        coarse = rows.astype(np.float16).astype(rows.dtype)
    coarse[:, forest.category_features()] = rows[:, forest.category_features()]
    moved = leaves(forest, rows) != leaves(rounded, coarse)
    whose = "your rows" if len(given) > adversarial else "the adversarial rows"
    rows_moved, pairs_moved = int(moved.any(axis=1).sum()), int(moved.sum())
    plain = (
        f"send {share(rows_moved, len(rows))} of {whose} to another leaf in some tree "
        f"({share(pairs_moved, moved.size)} of all rows and trees, {len(rows):,} rows looked at)"
        if rows_moved
        else f"move none of {whose} ({len(rows):,} looked at)"
    )
    return f"plain fp16 thresholds would {plain}; {_ranks(mismatches)}"


def share(count: int, of: int) -> str:
    """As a percentage; one that would read 0 or 100% and isn't says so."""
    percent = 100 * count / of
    digits = 2 if percent < 1 else 1
    if 0 < percent < 0.01:
        return "under 0.01%"
    return "over 99.9%" if count < of and percent >= 99.95 else f"{percent:.{digits}f}%"


def _ranks(mismatches: int | None) -> str:
    if mismatches is None:
        return "rank encoding wasn't checked on them"
    return "rank encoding moves none" if mismatches == 0 else f"rank encoding moved {mismatches:,} (row, tree) pairs"
