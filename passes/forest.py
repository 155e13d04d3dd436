"""``Forest``: decision trees as columns of numpy arrays, immutable. The IR that every tree backend lowers.

All nodes of all trees lie in one table of M rows; tree t owns rows ``tree_start[t] : tree_start[t + 1]``, its root
first. A test node sends a row left where ``x[feature] < threshold`` (or ``<=``, one comparison for the whole
forest), and a NaN where ``default_left`` says. A leaf has ``left == right == -1``.

A categorical test sends a row right where the category ``trunc(x[feature])`` is in the node's set, and left where it
isn't, or where x is no category: below 0, or 2^24 and above (XGBoost's rule).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ModelError

Comparison = Literal["<", "<="]
Reduction = Literal["sum", "average"]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.float32]

CATEGORY_LIMIT = 1 << 24
"""Categories are below this: float32 holds every integer up to it."""

VECTOR_LEAF = -1
"""``tree_output`` of a tree whose leaves hold one value for each output."""

SUNK = np.float32(-1e38)
"""The base score that stands for minus infinity, where the answer is an exponential or a share of several: 0, whatever
a tree adds to it. (A class that was in no row of the training has it, too.) No backend needs an infinity for it."""


def _no_int32() -> Ints:
    return np.zeros(0, np.int32)


def _no_sets() -> npt.NDArray[np.int64]:
    return np.zeros(1, np.int64)


@dataclass(frozen=True, eq=False)
class Forest:
    """T trees of M nodes in all, over F features, giving K outputs.

    Shapes and dtypes::

        tree_start    int32   [T + 1]   offset of each tree's nodes; the last entry is M
        feature       int32   [M]       -1 on leaves
        threshold     float32 [M]       0 on leaves
        left, right   int32   [M]       row of the child in this table, -1 on leaves
        default_left  bool    [M]       where NaN goes
        leaf_value    float   [M, D]    D = 1, or K for vector leaves; 0 on test nodes. Its dtype is the one that
                                        leaves are added in: float32 (XGBoost) or float64 (CatBoost)
        leaf_number   int32   [M]       the framework's own number of the leaf within its tree; -1 on test nodes
        tree_output   int32   [T]       which output a tree adds to, or VECTOR_LEAF
        base_scores   float   [K]       the margin before any tree, in leaf_value's dtype
        category_set  int32   [M]       which set a categorical test has; -1 on other tests and on leaves
        set_start     int64   [S + 1]   where each of the S distinct sets begins in set_member
        set_member    int32   [...]     the categories that go right, ascending within a set
    """

    tree_start: Ints
    feature: Ints
    threshold: npt.NDArray[np.float32]
    left: Ints
    right: Ints
    default_left: npt.NDArray[np.bool_]
    leaf_value: Floats
    leaf_number: Ints
    tree_output: Ints
    base_scores: Floats
    n_features: int
    comparison: Comparison = "<"
    reduction: Reduction = "sum"
    category_set: Ints = field(default_factory=_no_int32)
    set_start: npt.NDArray[np.int64] = field(default_factory=_no_sets)
    set_member: Ints = field(default_factory=_no_int32)

    def __post_init__(self) -> None:
        if not len(self.category_set):  # the default: no categorical test
            object.__setattr__(self, "category_set", np.full(len(self.feature), -1, np.int32))
        for array in self.arrays().values():
            array.setflags(write=False)

    @property
    def n_trees(self) -> int:
        return len(self.tree_start) - 1

    @property
    def n_nodes(self) -> int:
        return len(self.feature)

    @property
    def n_outputs(self) -> int:
        return len(self.base_scores)

    @property
    def is_leaf(self) -> npt.NDArray[np.bool_]:
        """[M]: which nodes are leaves."""
        return self.left < 0

    @property
    def is_categorical(self) -> npt.NDArray[np.bool_]:
        """[M]: which nodes test a category."""
        return self.category_set >= 0

    @property
    def n_sets(self) -> int:
        return len(self.set_start) - 1

    @property
    def n_categories(self) -> int:
        """One more than the largest category that any set holds."""
        return int(self.set_member.max(initial=-1)) + 1

    def membership(self) -> npt.NDArray[np.bool_]:
        """[S, n_categories + 1]: whether the set holds the category. The last column, False, is for what is none."""
        table = np.zeros((self.n_sets, self.n_categories + 1), np.bool_)
        table[np.repeat(np.arange(self.n_sets), np.diff(self.set_start)), self.set_member] = True
        return table

    def category_features(self) -> Ints:
        """The features that some categorical test reads, ascending."""
        return np.unique(self.feature[self.is_categorical]).astype(np.int32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The columns by name, for saving and for walking over them."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def tree_of_node(self) -> Ints:
        """[M]: the tree that each node belongs to."""
        return np.repeat(np.arange(self.n_trees, dtype=np.int32), np.diff(self.tree_start))

    def parents(self) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """[M], [M]: each node's parent (-1 for roots and for nodes that nothing points at), and whether it is
        its parent's left child."""
        parent = np.full(self.n_nodes, -1, np.int32)
        is_left = np.zeros(self.n_nodes, np.bool_)
        tests = np.flatnonzero(~self.is_leaf).astype(np.int32)
        parent[self.left[tests]] = tests
        parent[self.right[tests]] = tests
        is_left[self.left[tests]] = True
        return parent, is_left

    def strict_thresholds(self) -> npt.NDArray[np.float32]:
        """[M]: thresholds s such that ``x < s`` is the test, whatever the comparison: ``x <= t`` is
        ``x < nextafter(t, inf)`` for every float32 x."""
        if self.comparison == "<":
            return self.threshold
        with np.errstate(over="ignore", under="ignore"):  # above the largest float comes infinity, as meant
            return np.nextafter(self.threshold, np.float32(np.inf))

    def depth(self) -> int:
        """Tests on the longest path from a root to a leaf."""
        level = self.tree_start[:-1]
        depth = -1
        while len(level):
            depth += 1
            tests = level[self.left[level] >= 0]
            level = np.concatenate([self.left[tests], self.right[tests]])
        return max(depth, 0)

    def replacing(self, **columns: Any) -> Forest:
        """A copy with some columns replaced."""
        if not self.n_sets:  # the table's length may change, and there is no set to lose
            columns.setdefault("category_set", _no_int32())
        return replace(self, **columns)


def check(forest: Forest) -> Forest:
    """``forest`` itself, or a ModelError: shapes agree, children stay in their tree, no node has two parents.

    With at most one parent a node, and roots with none, every walk from a root ends: a cycle could only lie where
    no root leads.
    """
    f = forest
    if f.n_trees and (f.tree_start[0] != 0 or np.any(np.diff(f.tree_start) < 1)):
        raise ModelError("a tree has no nodes")
    columns = (f.left, f.right, f.threshold, f.default_left, f.leaf_value, f.leaf_number, f.category_set)
    if any(len(column) != f.n_nodes for column in columns) or len(f.tree_output) != f.n_trees:
        raise ModelError("the columns of the trees differ in length")
    if f.base_scores.ndim != 1 or not f.n_outputs or not np.all(np.isfinite(f.base_scores)):
        raise ModelError("the base scores aren't one finite number for each output")
    if f.n_nodes and int(f.tree_start[-1]) != f.n_nodes:
        raise ModelError("the trees' sizes don't add up to the number of nodes")
    tests = np.flatnonzero(~f.is_leaf)
    tree = f.tree_of_node()
    for child in (f.left[tests], f.right[tests]):
        if np.any(child < 0) or np.any(child >= f.n_nodes):
            raise ModelError("a node points at a child outside its tree")
        if np.any(tree[child] != tree[tests]):
            raise ModelError("a node points at a child in another tree")
    children = np.concatenate([f.left[tests], f.right[tests]])
    has_parent = np.bincount(children, minlength=f.n_nodes)
    if np.any(has_parent > 1) or np.any(has_parent[f.tree_start[:-1]] > 0):
        raise ModelError("a node is the child of two nodes")
    if len(tests) and (f.feature[tests].min() < 0 or f.feature[tests].max() >= f.n_features):
        raise ModelError(f"a tree tests a feature outside the model's {f.n_features}")
    if np.any(np.isnan(f.threshold)) or not np.all(np.isfinite(f.leaf_value)):
        raise ModelError("a threshold is NaN, or a leaf value isn't finite")
    if np.any((f.tree_output < VECTOR_LEAF) | (f.tree_output >= f.n_outputs)):
        raise ModelError("a tree adds to an output that the model doesn't have")
    _check_sets(f)
    return forest


def _check_sets(f: Forest) -> None:
    if np.any(f.category_set >= f.n_sets) or np.any(f.is_categorical & f.is_leaf):
        raise ModelError("a node tests a set of categories that the forest doesn't have")
    if f.set_start[0] != 0 or f.set_start[-1] != len(f.set_member) or np.any(np.diff(f.set_start) < 0):
        raise ModelError("the sets of categories don't add up")
    if len(f.set_member) and (f.set_member.min() < 0 or f.set_member.max() >= CATEGORY_LIMIT):
        raise ModelError(f"a category lies outside 0 to {CATEGORY_LIMIT - 1:,}")
    ascending = np.diff(f.set_member) > 0
    ascending[f.set_start[1:-1][(f.set_start[1:-1] > 0) & (f.set_start[1:-1] < len(f.set_member))] - 1] = True
    if not np.all(ascending):
        raise ModelError("the categories of a set aren't in ascending order")
    mixed = np.intersect1d(f.category_features(), f.feature[~f.is_leaf & ~f.is_categorical])
    if len(mixed):
        raise ModelError(f"feature {mixed[0]} is tested as a number and as a category")


def as_categories(values: Rows, limit: int) -> npt.NDArray[np.int64]:
    """float32 values as categories, ``limit`` where a value is none below it: negative, too large, NaN."""
    with np.errstate(invalid="ignore"):
        valid = (values >= 0) & (values < min(limit, CATEGORY_LIMIT))
        return np.where(valid, np.where(valid, values, 0).astype(np.int64), limit)


def leaves(forest: Forest, rows: Rows, chunk: int = 1 << 20) -> Ints:
    """The leaf each row ends in: rows of the node table, int32 [N, T]. The plain interpreter, by the definition.

    ``rows``: float32 [N, F]. Work is cut into blocks of about ``chunk`` (row, tree) pairs.
    """
    n, t = len(rows), forest.n_trees
    out = np.empty((n, t), np.int32)
    step = max(1, chunk // max(t, 1))
    for start in range(0, n, step):
        block = rows[start : start + step]
        out[start : start + step] = _walk(forest, block)
    return out


def _walk(forest: Forest, rows: Rows) -> Ints:
    member, none = forest.membership(), forest.n_categories
    current = np.broadcast_to(forest.tree_start[:-1], (len(rows), forest.n_trees)).copy().ravel()
    row_of = np.repeat(np.arange(len(rows)), forest.n_trees)
    active = np.flatnonzero(forest.left[current] >= 0)
    while len(active):
        node = current[active]
        value = rows[row_of[active], forest.feature[node]]
        threshold = forest.threshold[node]
        passes = value < threshold if forest.comparison == "<" else value <= threshold
        chosen = forest.category_set[node]
        if len(member) and np.any(chosen >= 0):
            passes = np.where(chosen >= 0, ~member[chosen, as_categories(value, none)], passes)
        go_left = np.where(np.isnan(value), forest.default_left[node], passes)
        current[active] = np.where(go_left, forest.left[node], forest.right[node])
        active = active[forest.left[current[active]] >= 0]
    return current.reshape(len(rows), forest.n_trees)


def margins(forest: Forest, leaf: Ints) -> Floats:
    """Raw scores [N, K] in the forest's dtype: base scores, then leaves added in tree order, as frameworks do.

    ``leaf``: int32 [N, T] from :func:`leaves`.
    """
    out = np.tile(forest.base_scores, (len(leaf), 1))
    if forest.reduction == "average":
        out = np.zeros_like(out)
    for t, k in enumerate(forest.tree_output):
        if k == VECTOR_LEAF:
            out += forest.leaf_value[leaf[:, t]]
        else:
            out[:, k] += forest.leaf_value[leaf[:, t], 0]
    if forest.reduction == "average":
        out = out / max(forest.n_trees, 1) + forest.base_scores
    return out.astype(forest.leaf_value.dtype)


def leaf_rows(forest: Forest, numbers: npt.NDArray[np.integer[Any]]) -> Ints:
    """The framework's own leaf numbers, int [N, T], as rows of the node table, int32 [N, T].

    Raises ModelError where a number names no leaf of its tree.
    """
    leaf = np.flatnonzero(forest.is_leaf)
    tree = forest.tree_of_node()[leaf]
    width = int(forest.leaf_number.max(initial=0)) + 1
    table = np.full(forest.n_trees * width, -1, np.int32)
    table[tree.astype(np.int64) * width + forest.leaf_number[leaf]] = leaf
    if numbers.size and (numbers.min() < 0 or numbers.max() >= width):
        raise ModelError("the framework names a leaf that the trees don't have")
    rows = table[np.arange(forest.n_trees, dtype=np.int64) * width + numbers]
    if np.any(rows < 0):
        raise ModelError("the framework names a leaf that the trees don't have")
    return rows
