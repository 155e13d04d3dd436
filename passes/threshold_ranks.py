"""Ranks: a number becomes the count of its column's thresholds that it passes, and a test compares counts.

For the distinct thresholds t_0 < t_1 < … of a column, rank(x) is how many of them x passes (``x >= t`` where the test
is ``x < t``; ``x > t`` where it is ``x <= t``). ``x < t_k`` is then ``rank(x) <= k``, for every float32, infinities
among them, by construction: no rounding is left to cross a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ranking:
    """The distinct thresholds of C columns: those of column c are ``thresholds[start[c] : start[c + 1]]``, ascending.

    ``start`` int64 [C + 1]; ``thresholds`` float32 [E]; ``place`` int64, for each given threshold: its k.
    """

    start: Integers
    thresholds: npt.NDArray[np.float32]
    place: Integers

    @property
    def counts(self) -> Integers:
        """[C]: thresholds a column, which is its largest rank too."""
        return np.diff(self.start)


def rank(column: npt.NDArray[np.integer], threshold: npt.NDArray[np.float32], n_columns: int) -> Ranking:
    """Of tests that compare ``column[i]`` with ``threshold[i]``; both [n]."""
    threshold = threshold + np.float32(0)  # -0.0 is 0.0
    order = np.lexsort((threshold, column))
    c, t = column[order], threshold[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (c[1:] != c[:-1]) | (t[1:] != t[:-1])
    start = np.searchsorted(c[first], np.arange(n_columns + 1))
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(first) - 1 - start[c]
    return Ranking(start, t[first], place)
