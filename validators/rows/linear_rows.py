"""Rows for a linear model, which has no thresholds: what it makes of a missing value, of zeros, of small and of large
numbers. No infinities: gblinear predicts from a DMatrix, which refuses them."""

from __future__ import annotations

import numpy as np

from ...passes.forest import Rows
from ...passes.linear import Linear

LARGE = 1e37
"""What a large number times its weight is at most: far from infinite, and far above all else in its row."""


def linear_rows(linear: Linear, width: int, rows: int, rng: np.random.Generator) -> Rows:
    """Around 0, with NaN, zeros of both signs and denormals; in every second row one more column is missing, in the
    others one is large. Both go through all the columns, as far as there are rows."""
    out = rng.normal(size=(rows, width)).astype(np.float32)
    special = np.array([np.nan, 0.0, -0.0, 1e-44, -1e-44], np.float32)
    odd = rng.random(out.shape) < 0.15
    out[odd] = rng.choice(special, int(odd.sum()), p=[0.6, 0.1, 0.1, 0.1, 0.1])
    row = np.arange(rows)
    column = rng.permutation(width)[row // 2 % width]
    size = LARGE / np.maximum(np.abs(linear.weight[:width]).max(axis=1), 1)
    large = (rng.choice([-1, 1], rows) * size[column]).astype(np.float32)
    out[row, column] = np.where(row % 2 == 0, np.float32(np.nan), large)
    return out
