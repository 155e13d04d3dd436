"""The trees in XGBoost's model document to a Forest: every column at once, no loop over nodes.

Read by us and not through Treelite: node numbers stay XGBoost's own, which is what parity compares leaf by leaf;
thresholds and leaf values stay the float32 that they are; and no native parser sees a stranger's file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.forest import VECTOR_LEAF, Forest, check

Document = Mapping[str, Any]
Numbers = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The node tables of all trees, one after the other. ``sizes``: [T], the nodes of each; ``start``: [T+1]."""

    trees: list[Document]
    sizes: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]

    def column(self, name: str, kinds: str, dtype: type) -> Numbers:
        """[M]. ``kinds``: the numpy kinds that its numbers may be of."""
        if not self.trees:
            return np.zeros(0, dtype)
        parts = [_column(tree, name, kinds, n) for tree, n in zip(self.trees, self.sizes, strict=True)]
        return np.concatenate(parts, dtype=dtype, casting="unsafe")


def forest(
    model: Document, n_features: int, base_scores: npt.NDArray[np.float32], weights: npt.NDArray[np.float32] | None
) -> Forest:
    """``model``: a gbtree's. ``weights``: dart's, one a tree. Raises ModelError for trees that don't hold together."""
    nodes = _nodes(model)
    width = _leaf_width(nodes.trees)
    left, right = _children(nodes, width)
    test = left >= 0
    with np.errstate(over="ignore"):  # a number beyond float32 is an infinity, which check refuses on a leaf
        condition = nodes.column("split_conditions", "fiu", np.float32)
    feature = np.where(test, nodes.column("split_indices", "iu", np.int64), -1)
    if np.any(feature[test] < 0) or np.any(feature >= n_features):  # here, while they are whole: int32 would wrap
        raise ModelError(f"a tree tests a feature outside the model's {n_features}")
    value = condition[:, None] if width == 1 else _vector_leaves(nodes.trees, nodes.sizes, width)
    if weights is not None:
        value = (
            value * np.repeat(weights, nodes.sizes)[:, None]
        )  # float32 times float32, as dart's predictor multiplies
    if np.isnan(value[~test]).any():
        raise ModelError(
            "a leaf value is NaN, and so is XGBoost's own answer of every row that ends there",
            "Train the model again with finite labels and a base_score that its objective allows (above 0, where "
            "the answer is an exponential).",
        )
    sets = _category_sets(nodes.trees, nodes.start, test)
    offset = np.repeat(nodes.start[:-1], nodes.sizes)
    return check(
        Forest(
            tree_start=nodes.start.astype(np.int32),
            feature=feature.astype(np.int32),
            threshold=np.where(test & (sets[0] < 0), condition, np.float32(0)),
            left=np.where(test, left + offset, -1).astype(np.int32),
            right=np.where(test, right + offset, -1).astype(np.int32),
            default_left=nodes.column("default_left", "iub", np.bool_) & test,
            leaf_value=np.where(test[:, None], np.float32(0), value),
            leaf_number=np.where(test, -1, np.arange(nodes.start[-1]) - offset).astype(np.int32),
            tree_output=_tree_outputs(model, len(nodes.trees), len(base_scores), width),
            base_scores=base_scores,
            n_features=n_features,
            comparison="<",
            category_set=sets[0],
            set_start=sets[1],
            set_member=sets[2],
        )
    )


def _nodes(model: Document) -> _Nodes:
    trees = list(model["trees"])
    promised = int(model["gbtree_model_param"]["num_trees"])
    if promised != len(trees):
        raise ModelError(f"the file says that it has {promised} trees, but it has {len(trees)}")
    sizes = np.array([len(tree["left_children"]) for tree in trees], np.int64)
    start = np.concatenate([[0], np.cumsum(sizes)])
    if start[-1] > np.iinfo(np.int32).max:
        raise ModelError(f"the model has {start[-1]} nodes; a forest holds at most 2,147,483,647")
    return _Nodes(trees, sizes, start)


def _children(nodes: _Nodes, width: int) -> tuple[Numbers, Numbers]:
    """[M] each: a node's children by their numbers in its tree; left is -1 in a leaf."""
    left, right = nodes.column("left_children", "iu", np.int64), nodes.column("right_children", "iu", np.int64)
    test, size = left >= 0, np.repeat(nodes.sizes, nodes.sizes)
    if width == 1 and np.any((right >= 0) != test):  # a vector leaf keeps its number there
        raise ModelError("a node has one child only")
    if np.any(test & ((left >= size) | (right >= size) | (right < 0))):
        raise ModelError("a node points at a child outside its tree")
    return left, right


def trees_per_round(model: Document, outputs: int) -> int:
    """How many trees a boosting round has made."""
    bounds = model.get("iteration_indptr")
    if bounds is not None and len(bounds) > 1:
        sizes = {int(after) - int(before) for before, after in itertools.pairwise(bounds)}
        if len(sizes) > 1 or (int(bounds[0]), int(bounds[-1])) != (0, len(model["trees"])):
            raise ModelError("its boosting rounds hold different numbers of trees")
        return sizes.pop()
    own = outputs if _leaf_width(model["trees"]) == 1 else 1
    return own * max(int(model["gbtree_model_param"].get("num_parallel_tree", 1)), 1)


def _tree_outputs(model: Document, trees: int, outputs: int, width: int) -> npt.NDArray[np.int32]:
    if width > 1:
        if width != outputs:
            raise ModelError(f"leaves hold {width} values, but the model has {outputs} outputs")
        return np.full(trees, VECTOR_LEAF, np.int32)
    if outputs == 1:
        return np.zeros(trees, np.int32)
    output = _column(model, "tree_info", "iu", trees)
    if np.any((output < 0) | (output >= outputs)):
        raise ModelError(f"a tree adds to an output outside the model's {outputs}")
    return output.astype(np.int32)


def _leaf_width(trees: Any) -> int:
    widths = {max(int(tree["tree_param"].get("size_leaf_vector", 1)), 1) for tree in trees}
    if len(widths) > 1:
        raise ModelError("some trees have vector leaves, others don't")
    return widths.pop() if widths else 1


def _vector_leaves(trees: list[Document], sizes: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.float32]:
    """[M, width]. From 3.1 on a leaf's values are row ``right_children[leaf]`` of ``leaf_weights``; before, every node
    has its own row of ``base_weights``."""
    parts = []
    for tree, n in zip(trees, sizes, strict=True):
        if "leaf_weights" not in tree:
            parts.append(_column(tree, "base_weights", "fiu", int(n) * width).reshape(-1, width))
            continue
        leaves = np.asarray(tree["leaf_weights"])
        leaf = np.asarray(tree["left_children"]) < 0
        row = np.where(leaf, np.asarray(tree["right_children"]), 0)
        if leaves.size != int(leaf.sum()) * width or np.any((row < 0) | (row >= max(int(leaf.sum()), 1))):
            raise ModelError("'leaf_weights' doesn't hold one vector for each leaf")
        parts.append(leaves.reshape(-1, width)[row])
    with np.errstate(over="ignore"):
        return np.concatenate(parts).astype(np.float32)


def _category_sets(
    trees: list[Document], start: npt.NDArray[np.int64], test: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """``category_set``, ``set_start``, ``set_member`` of the forest; equal sets are one."""
    of_node = np.full(start[-1], -1, np.int32)
    nodes, sizes, members = [], [], []
    for t, tree in enumerate(trees):
        given = np.asarray(tree.get("categories_nodes", ()))
        kind = np.asarray(tree.get("split_type", 0))
        if not len(given):
            if np.any(kind != 0):
                raise ModelError("a node tests categories but has no set of them")
            continue
        own = _column(tree, "categories_nodes", "iu", len(given)).astype(np.int64)
        size = _column(tree, "categories_sizes", "iu", len(given)).astype(np.int64)
        begin = _column(tree, "categories_segments", "iu", len(given)).astype(np.int64)
        pool = np.asarray(tree["categories"]).astype(np.int64)
        if np.any(own < 0) or np.any(own >= start[t + 1] - start[t]) or np.any(size < 0) or np.any(begin < 0):
            raise ModelError("a set of categories belongs to no node")
        if np.any(begin + size > len(pool)):
            raise ModelError("a set of categories lies outside the tree's categories")
        at = np.repeat(begin - np.concatenate([[0], np.cumsum(size)[:-1]]), size) + np.arange(int(size.sum()))
        nodes.append(own + start[t])
        sizes.append(size)
        members.append(pool[at])
        marked = np.flatnonzero((kind == 1) & (np.asarray(tree["left_children"]) >= 0))
        if kind.ndim != 1 or not np.array_equal(np.sort(own), marked):
            raise ModelError("the nodes that test categories aren't the same as those that have sets of categories")
    if not nodes:
        return of_node, np.zeros(1, np.int64), np.zeros(0, np.int32)
    node = np.concatenate(nodes)
    if np.any(~test[node]):
        raise ModelError("a leaf has a set of categories")
    index, set_start, set_member = distinct_sets(np.concatenate(sizes), np.concatenate(members))
    of_node[node] = index
    return of_node, set_start, set_member


def distinct_sets(
    sizes: npt.NDArray[np.int64], members: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Sets given one after the other: which distinct set each is, and the distinct ones as the forest has them.

    Sets are told apart by a sum of random 64-bit words a member, which are then compared member by member.
    """
    owner = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((members, owner))
    members = members[order]
    limit = int(members.max(initial=0)) + 1
    if len(members) and (members.min() < 0 or limit > 1 << 24):
        raise ModelError("a category lies outside 0 to 16,777,215")
    words = np.random.default_rng(0).integers(0, 2**64, limit, dtype=np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words[members], dtype=np.uint64)])
    begin = np.concatenate([[0], np.cumsum(sizes)])
    key = np.stack([sums[begin[1:]] - sums[begin[:-1]], sizes.astype(np.uint64)], axis=1)
    _, first, index = np.unique(key, axis=0, return_index=True, return_inverse=True)
    index = index.ravel()
    stands = first[index]
    at = np.repeat(begin[:-1][stands], sizes) + np.arange(len(members)) - np.repeat(begin[:-1], sizes)
    if not np.array_equal(members[at], members):
        raise ModelError("two sets of categories can't be told apart")
    kept = sizes[first]
    set_start = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    pick = np.repeat(begin[:-1][first] - set_start[:-1], kept) + np.arange(int(set_start[-1]))
    return index.astype(np.int32), set_start, members[pick].astype(np.int32)


def _column(fields: Document, name: str, kinds: str, length: int) -> Numbers:
    """``fields[name]`` as an array of ``length`` numbers whose numpy kind is one of ``kinds``."""
    values = np.asarray(fields[name])
    if values.shape != (length,) or (length and values.dtype.kind not in kinds):
        raise ModelError(f"{name!r} should be {length} numbers; it is {values.dtype} of shape {list(values.shape)}")
    return values
