"""Lay a forest out anew after a pass has redirected some of its nodes."""

from __future__ import annotations

import numpy as np

from ..forest import Forest, Ints


def compact(forest: Forest, stands_for: Ints) -> tuple[Forest, Ints]:
    """``forest`` with every reference to node n replaced by one to ``stands_for[n]``, and only what its roots
    still reach, in the old order within a tree (the root moved first).

    Returns the forest and the new row of each old node, int32 [M]; -1 where it is gone.
    """
    left, right = _redirect(forest.left, stands_for), _redirect(forest.right, stands_for)
    roots = stands_for[forest.tree_start[:-1]]
    kept = _reached(left, right, roots)
    tree = forest.tree_of_node()
    not_root = np.ones(forest.n_nodes, np.bool_)
    not_root[roots] = False
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((rows, not_root[rows], tree[rows]))].astype(np.int32)
    new_row = np.full(forest.n_nodes, -1, np.int32)
    new_row[rows] = np.arange(len(rows), dtype=np.int32)
    counts = np.bincount(tree[rows], minlength=forest.n_trees)
    after = forest.replacing(
        tree_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        feature=forest.feature[rows],
        threshold=forest.threshold[rows],
        left=_redirect(left[rows], new_row),
        right=_redirect(right[rows], new_row),
        default_left=forest.default_left[rows],
        leaf_value=forest.leaf_value[rows],
        leaf_number=forest.leaf_number[rows],
        category_set=forest.category_set[rows],
    )
    return after, new_row


def _redirect(child: Ints, to: Ints) -> Ints:
    return np.where(child < 0, np.int32(-1), to[np.maximum(child, 0)]).astype(np.int32)


def _reached(left: Ints, right: Ints, roots: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    kept = np.zeros(len(left), np.bool_)
    level = roots
    while len(level):
        kept[level] = True
        tests = level[left[level] >= 0]
        level = np.concatenate([left[tests], right[tests]])
    return kept


def settle(stands_for: Ints) -> Ints:
    """Follow chains of redirections to their ends (pointer jumping: log2 of the longest chain steps)."""
    while True:
        further = stands_for[stands_for]
        if np.array_equal(further, stands_for):
            return stands_for
        stands_for = further
