"""What fp16 thresholds would do to a forest, had they not been rank-encoded: the reason why they are."""

from __future__ import annotations

import numpy as np

from ..passes.forest import leaves
from ..passes.program import Program, encode
from .rows.given import Given

MOST_ROWS, MOST_CELLS = 5000, 20_000_000


def finding(program: Program, given: Given, adversarial: int) -> str:
    """A sentence: how many of the user's rows (of the adversarial ones, where there are none) would end in another leaf
    of some tree if thresholds and numbers were rounded to float16. Empty for a forest without thresholds."""
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
    return (
        f"plain fp16 thresholds would send {moved.any(axis=1).mean():.1%} of {whose} to another leaf in some tree "
        f"({moved.mean():.2%} of all rows and trees, {len(rows):,} rows looked at); rank encoding moves none"
    )
