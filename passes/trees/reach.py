"""Which values of its own feature can reach a node: the tests above it on the same feature bound it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..forest import Forest, Ints


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


DEEP = 128
"""Tests above a node, and its tree is walked down from its root instead: a chain of 100,000 would take hours."""


def reach(forest: Forest) -> Reach:
    """Walk up from every test node at once, one ancestor a step: O(M x depth), no loop over nodes. Trees that are deep
    are walked from their roots, node by node: O(M)."""
    strict = forest.strict_thresholds()
    parent, is_left = forest.parents()
    categorical = forest.is_categorical
    low = np.full(forest.n_nodes, -np.inf, np.float32)
    high = np.full(forest.n_nodes, np.inf, np.float32)
    nan = np.ones(forest.n_nodes, np.bool_)
    found = Reach(low, high, nan)
    deep = _deep_trees(forest)
    for tree in deep:
        _walk_down(forest, slice(*forest.tree_start[tree : tree + 2].tolist()), strict, found)
    node = np.flatnonzero(~forest.is_leaf).astype(np.int32)
    if len(deep):
        node = node[~np.isin(forest.tree_of_node()[node], deep)]
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
    return found


def _deep_trees(forest: Forest) -> Ints:
    """The trees with a path of more than DEEP tests."""
    level = forest.tree_start[:-1]
    for _ in range(DEEP):
        tests = level[forest.left[level] >= 0]
        level = np.concatenate([forest.left[tests], forest.right[tests]])
    return np.unique(forest.tree_of_node()[level])


def _walk_down(forest: Forest, own: slice, strict: npt.NDArray[np.float32], found: Reach) -> None:
    """Fill in ``found`` for one tree, whose nodes are ``own``, depth first. What is known of a feature is set on the
    way into a child, and put back on the way out: ``todo`` holds nodes, and what to set, in that order."""
    feature, bound = forest.feature[own].tolist(), strict[own].tolist()
    left, right = (forest.left[own] - own.start).tolist(), (forest.right[own] - own.start).tolist()
    categorical, default_left = forest.is_categorical[own].tolist(), forest.default_left[own].tolist()
    lows, highs, nans = found.low[own], found.high[own], found.nan[own]
    known: dict[int, tuple[float, float, bool]] = {}
    todo: list[int | tuple[int, tuple[float, float, bool]]] = [0]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            known[item[0]] = item[1]
            continue
        if left[item] < 0:
            continue
        tested, threshold = feature[item], bound[item]
        low, high, nan = here = known.get(tested, (-np.inf, np.inf, True))
        lows[item], highs[item], nans[item] = here
        goes_left, goes_right = nan and default_left[item], nan and not default_left[item]
        if categorical[item]:
            into_left, into_right = (low, high, goes_left), (low, high, goes_right)
        else:
            into_left, into_right = (low, min(high, threshold), goes_left), (max(low, threshold), high, goes_right)
        todo += [(tested, here), right[item], (tested, into_right), left[item], (tested, into_left)]
