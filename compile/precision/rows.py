"""Rows to calibrate on and rows to judge on, never the same ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CALIBRATION = 2048
JUDGING = 4096
FEWEST = 2

Indices = npt.NDArray[np.intp]


def apart(
    count: int, *, seed: int = 0, calibration: int = CALIBRATION, judging: int = JUDGING
) -> tuple[Indices, Indices]:
    """(calibration, judging): sorted indices below ``count``, at random by ``seed``, without a common one.

    Where rows are few each gets a half. Raises ``ValueError`` below 2 rows.
    """
    if count < FEWEST:
        raise ValueError(f"{count} rows: expected {FEWEST} at least, to calibrate on one and judge on another")
    order = np.random.default_rng(seed).permutation(count)
    first = min(calibration, count // 2)
    return np.sort(order[:first]), np.sort(order[first : first + judging])
