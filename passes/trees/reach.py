"""Which values of its own feature can reach a node: the tests above it on the same feature bound it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..forest import Forest


@dataclass(frozen=True, eq=False)
class Reach:
    """For each node, of the feature that it tests: numbers in [low, high), float32 [M], and whether NaN can come.

    A categorical test bounds no number: only where NaN goes is followed there.
    -inf is below every threshold and so within [-inf, high); +inf reaches where ``high`` is +inf.
    """

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    nan: npt.NDArray[np.bool_]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """[M]: no value at all of the feature reaches the node."""
        return ~self.nan & (self.low >= self.high) & ~np.isposinf(self.low)


def reach(forest: Forest) -> Reach:
    """Walk up from every test node at once, one ancestor a step: O(M x depth), no loop over nodes."""
    strict = forest.strict_thresholds()
    parent, is_left = forest.parents()
    categorical = forest.is_categorical
    low = np.full(forest.n_nodes, -np.inf, np.float32)
    high = np.full(forest.n_nodes, np.inf, np.float32)
    nan = np.ones(forest.n_nodes, np.bool_)
    node = np.flatnonzero(~forest.is_leaf).astype(np.int32)
    below = node.copy()
    while len(node):
        above = parent[below]
        alive = above >= 0
        node, below, above = node[alive], below[alive], above[alive]
        same = forest.feature[above] == forest.feature[node]
        n, a, went_left = node[same], above[same], is_left[below[same]]
        number = ~categorical[a]
        high[n] = np.where(number & went_left, np.minimum(high[n], strict[a]), high[n])
        low[n] = np.where(number & ~went_left, np.maximum(low[n], strict[a]), low[n])
        nan[n] &= forest.default_left[a] == went_left
        below = above
    return Reach(low, high, nan)
