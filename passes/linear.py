"""``Linear``: margins that are a weighted sum of the columns (XGBoost's gblinear), where a program has no trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import ModelError
from .forest import Floats, Rows


@dataclass(frozen=True, eq=False)
class Linear:
    """margin = bias + sum of x[j] * weight[j] over the columns that aren't missing, in float32.

    ``weight``: float32 [E, K]; ``bias``: float32 [K], the base scores included.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def check(linear: Linear) -> Linear:
    """``linear`` itself, or a ModelError."""
    if linear.weight.ndim != 2 or linear.bias.shape != (linear.weight.shape[1],):
        raise ModelError("the weights of the linear model don't agree in shape")
    if not (np.all(np.isfinite(linear.weight)) and np.all(np.isfinite(linear.bias))):
        raise ModelError("a weight of the linear model isn't finite")
    return linear


def margins(linear: Linear, rows: Rows) -> Floats:
    """float32 [N, K] for encoded rows [N, E]: products added in the order of the columns, as XGBoost does."""
    out = np.tile(linear.bias, (len(rows), 1))
    with np.errstate(over="ignore", invalid="ignore"):
        for j, weight in enumerate(linear.weight):
            x = rows[:, [j]]
            out += np.where(np.isnan(x), np.float32(0), x * weight)
    return out
