"""Optimization profiles out of batch sizes: for each range of batches, which one the engine is tuned for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

MOST = 4
"""Profiles of one engine: each is built, and held in memory, by itself."""

Profile = tuple[int, int, int]
"""Batch sizes: the smallest, the one that is tuned for, the largest."""


def of(batches: Iterable[int], largest: int = 1, most: int = MOST) -> tuple[Profile, ...]:
    """Profiles that take every batch from 1 to ``largest`` (or the largest of ``batches``), each tuned for one of
    ``batches``; where there are more of those than ``most``, the nearest neighbours share one.

    The ranges follow one another without a gap: what Triton merges to has a profile, whatever its size.
    """
    sizes = sorted({batch for batch in batches if batch > 0}) or [1]
    largest = max(largest, sizes[-1])
    while len(sizes) > max(most, 1):
        gaps = [math.log(after / before) for before, after in itertools.pairwise(sizes)]
        del sizes[gaps.index(min(gaps))]  # the larger of the two is tuned for: it has more to lose
    tops = [*sizes[:-1], largest]
    lows = [1, *(top + 1 for top in tops[:-1])]
    return tuple(zip(lows, sizes, tops, strict=True))
