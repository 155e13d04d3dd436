"""A lowered program as what Hummingbird converts without a loss: trees of ``x <= threshold`` with vectors as leaves.

Hummingbird knows no missing value. So trees read *sources* instead of columns: a column in which a missing value is
minus infinity, for tests that send it left, or infinity, for those that send it right. Of ``x < t`` a test is made by
the largest float32 below ``t``. The base scores are a first tree of one leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....passes.forest import VECTOR_LEAF, Forest
from ....passes.program import Program
from ..onnx.layout import layout

BASE_TREES = 1
INFINITY = np.float32(np.inf)


@dataclass(frozen=True, eq=False)
class Feed:
    """``column`` int64 [V] and ``missing`` float32 [V]: each source's column of the encoded row, and its value where
    that is NaN.

    Of the nodes of all trees, the first being the base scores': ``tree_start`` int64 [T + 2]; ``left``, ``right``
    int64 [M] (within the tree; -1 on leaves), ``source`` int64 [M], ``threshold`` float32 [M], ``value`` float64
    [M, K], ``leaf`` int64 [M] (the leaf's place among its tree's own, -1 on tests).
    """

    column: npt.NDArray[np.int64]
    missing: npt.NDArray[np.float32]
    tree_start: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    value: npt.NDArray[np.float64]
    leaf: npt.NDArray[np.int64]


def feed(program: Program) -> Feed | str:
    """The lowered program's trees; or why they can't be fed, in words."""
    forest = program.forest
    if program.linear is not None or not forest.n_trees:
        return "the model has no trees"
    if forest.reduction != "sum":
        return "Hummingbird is given sums of trees only, and this model averages its trees"
    where = layout(program)
    if not where.width:
        return "the model's trees read no feature"
    test = np.flatnonzero(~forest.is_leaf)
    bound = _at_most(forest, where.threshold)
    if np.any(bound[test] == INFINITY) or (
        forest.comparison == "<" and np.any(np.isneginf(where.threshold[test]) & ~forest.is_categorical[test])
    ):
        return "a threshold is infinite, and here an infinity means a missing value"
    kinds, which = np.unique(where.column[test] * 2 + ~forest.default_left[test], return_inverse=True)
    if not len(test):  # Hummingbird makes a test of a single leaf
        kinds = np.zeros(1, np.int64)
    source = np.zeros(forest.n_nodes, np.int64)
    source[test] = which
    start = forest.tree_start[:-1].astype(np.int64)
    own = start[forest.tree_of_node()]
    order = np.cumsum(forest.is_leaf) - 1
    first = np.concatenate([[0], np.cumsum(forest.is_leaf)])[own]
    return Feed(
        column=kinds // 2,
        missing=np.where(kinds % 2 == 1, INFINITY, -INFINITY).astype(np.float32),
        tree_start=np.concatenate([[0], forest.tree_start.astype(np.int64) + BASE_TREES]),
        left=_with_base(-1, np.where(forest.is_leaf, -1, forest.left - own)),
        right=_with_base(-1, np.where(forest.is_leaf, -1, forest.right - own)),
        source=_with_base(0, source),
        threshold=np.append(np.float32(0), np.where(forest.is_leaf, np.float32(0), bound)).astype(np.float32),
        value=np.concatenate([forest.base_scores.astype(np.float32)[None, :], values(forest)]).astype(np.float64),
        leaf=_with_base(0, np.where(forest.is_leaf, order - first, -1)),
    )


def values(forest: Forest) -> npt.NDArray[np.float32]:
    """[M, K]: what each node adds to each output, as float32; 0 on tests."""
    output = forest.tree_output[forest.tree_of_node()]
    held = forest.leaf_value.astype(np.float32)
    own = (np.arange(forest.n_outputs) == output[:, None]) * held[:, :1]
    added = np.where((output == VECTOR_LEAF)[:, None], np.broadcast_to(held, own.shape), own)
    return np.where(forest.is_leaf[:, None], added, np.float32(0)).astype(np.float32)


def save(made: Feed, path: Path) -> None:
    np.savez(path, **vars(made))


def _at_most(forest: Forest, threshold: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """[M]: bounds b such that ``x <= b`` is the test; that of a category is one already."""
    if forest.comparison == "<=":
        return threshold
    below = np.nextafter(threshold, -INFINITY)
    return np.where(forest.is_categorical, threshold, below).astype(np.float32)


def _with_base(base: int, nodes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.append(base, nodes).astype(np.int64)
