"""Faults of a builder, at random: one thing of a program is changed, and a backend writes the files of that one.

Each takes a program and a generator, and gives the changed one; None where there is nothing of the kind to change.
What is changed is changed for the model that reads it: a node that some value reaches, a leaf that isn't its twin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from millwork.passes.forest import Forest
from millwork.passes.program import PAIRS, Program
from millwork.passes.trees.reach import reach

Random = np.random.Generator
Fault = Callable[[Program, Random], Program | None]


def _tests(forest: Forest) -> npt.NDArray[np.intp]:
    """Nodes that compare a number."""
    return np.flatnonzero(~forest.is_leaf & ~forest.is_categorical)


def _with(program: Program, **columns: Any) -> Program:
    return replace(program, forest=program.forest.replacing(**columns))


def _changed(values: npt.NDArray[Any], at: Any, new: Any) -> npt.NDArray[Any]:
    out = values.copy()
    out[at] = new
    return out


def _next(value: Any) -> np.float32:
    """The next float32: some artifacts hold no more."""
    return np.nextafter(np.float32(value), np.float32(np.inf))


def threshold_by_one_float(program: Program, random: Random) -> Program | None:
    """Up or down, in a node that the value which then turns reaches."""
    forest, seen = program.forest, reach(program.forest)
    up = bool(random.integers(2))
    turn = forest.strict_thresholds()
    turn = turn if up else np.nextafter(turn, np.float32(-np.inf))
    nodes = _tests(forest)
    nodes = nodes[(seen.low[nodes] <= turn[nodes]) & (turn[nodes] < seen.high[nodes])]
    if not len(nodes):
        return None
    at = random.choice(nodes)
    moved = np.nextafter(forest.threshold[at], np.float32(np.inf if up else -np.inf))
    return _with(program, threshold=_changed(forest.threshold, at, moved))


def threshold_moved(program: Program, random: Random) -> Program | None:
    """By a few percent of its size."""
    nodes = _tests(program.forest)
    if not len(nodes):
        return None
    at = random.choice(nodes)
    old = program.forest.threshold[at]
    moved = np.float32(old + (abs(old) + 0.01) * random.uniform(0.01, 0.1) * random.choice([-1, 1]))
    return _with(program, threshold=_changed(program.forest.threshold, at, moved))


def leaf_by_one_float(program: Program, random: Random) -> Program | None:
    values = program.forest.leaf_value
    at = random.choice(np.flatnonzero(program.forest.is_leaf)), random.integers(values.shape[1])
    return _with(program, leaf_value=_changed(values, at, _next(values[at])))


def leaf_changed(program: Program, random: Random) -> Program | None:
    """To minus, to none, or by a thousandth."""
    values = program.forest.leaf_value
    large = np.flatnonzero(program.forest.is_leaf & (values != 0).any(axis=1))
    at = random.choice(large)
    return _with(program, leaf_value=_changed(values, at, values[at] * random.choice([-1.0, 0.0, 1.001])))


def leaves_exchanged(program: Program, random: Random) -> Program | None:
    """Of one tree."""
    forest = program.forest
    leaf = np.flatnonzero(forest.is_leaf & (forest.tree_of_node() == random.integers(forest.n_trees)))
    if len(leaf) < 2:
        return None
    a, b = random.choice(leaf, 2, replace=False)
    if (forest.leaf_value[a] == forest.leaf_value[b]).all():
        return None
    return _with(program, leaf_value=_changed(forest.leaf_value, [a, b], forest.leaf_value[[b, a]]))


def children_swapped(program: Program, random: Random) -> Program | None:
    forest = program.forest
    at = random.choice(np.flatnonzero(~forest.is_leaf))
    return _with(
        program, left=_changed(forest.left, at, forest.right[at]), right=_changed(forest.right, at, forest.left[at])
    )


def missing_goes_the_other_way(program: Program, random: Random) -> Program | None:
    forest = program.forest
    nodes = np.flatnonzero(~forest.is_leaf & reach(forest).nan)
    if not len(nodes):
        return None
    at = random.choice(nodes)
    return _with(program, default_left=_changed(forest.default_left, at, ~forest.default_left[at]))


def missing_always_right(program: Program, random: Random) -> Program | None:
    forest = program.forest
    if not (forest.default_left & ~forest.is_leaf & reach(forest).nan).any():
        return None
    return _with(program, default_left=np.zeros_like(forest.default_left))


def other_feature(program: Program, random: Random) -> Program | None:
    forest = program.forest
    nodes = _tests(forest)
    if forest.n_features < 2 or not len(nodes):
        return None
    at = random.choice(nodes)
    moved = (forest.feature[at] + random.integers(1, forest.n_features)) % forest.n_features
    return _with(program, feature=_changed(forest.feature, at, moved))


def columns_exchanged(program: Program, random: Random) -> Program | None:
    used = np.unique(program.forest.feature[~program.forest.is_leaf])
    if len(used) < 2:
        return None
    a, b = random.choice(used, 2, replace=False)
    return replace(program, columns=_changed(program.columns, [a, b], program.columns[[b, a]]))


def comparison_turned(program: Program, random: Random) -> Program | None:
    """``<`` for ``<=`` in the whole forest, or the other way round."""
    return _with(program, comparison="<=" if program.forest.comparison == "<" else "<")


def category_set_altered(program: Program, random: Random) -> Program | None:
    """One category less in one of the sets."""
    forest = program.forest
    sizes = np.diff(forest.set_start)
    sets = np.unique(forest.category_set[forest.is_categorical])
    sets = sets[sizes[sets] > 1] if len(sets) else sets
    if not len(sets):
        return None
    which = random.choice(sets)
    gone = random.integers(forest.set_start[which], forest.set_start[which + 1])
    start = forest.set_start - (np.arange(len(forest.set_start)) > which)
    return _with(program, set_member=np.delete(forest.set_member, gone), set_start=start.astype(np.int64))


def base_score_lost(program: Program, random: Random) -> Program | None:
    scores = program.forest.base_scores
    return _with(program, base_scores=np.zeros_like(scores)) if scores.any() else None


def base_score_by_one_float(program: Program, random: Random) -> Program | None:
    scores = program.forest.base_scores
    at = random.integers(len(scores))
    return _with(program, base_scores=_changed(scores, at, _next(scores[at])))


def _of_trees(program: Program, order: Any) -> Program:
    """The program with the trees ``order``, each as often as it is named."""
    forest = program.forest
    sizes = np.diff(forest.tree_start)[order]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    nodes = np.concatenate([np.arange(forest.tree_start[t], forest.tree_start[t + 1]) for t in order])
    shift = np.repeat(start[:-1] - forest.tree_start[order], sizes)
    columns: dict[str, Any] = {
        name: getattr(forest, name)[nodes]
        for name in ("feature", "threshold", "default_left", "leaf_value", "leaf_number", "category_set")
    }
    for name in ("left", "right"):
        child = getattr(forest, name)[nodes]
        columns[name] = np.where(child >= 0, child + shift, child).astype(np.int32)
    return _with(program, tree_start=start, tree_output=forest.tree_output[order], **columns)


def tree_dropped(program: Program, random: Random) -> Program | None:
    trees = program.forest.n_trees
    return _of_trees(program, np.delete(np.arange(trees), random.integers(trees))) if trees > 1 else None


def tree_doubled(program: Program, random: Random) -> Program | None:
    trees = np.arange(program.forest.n_trees)
    return _of_trees(program, np.insert(trees, random.integers(len(trees)), random.choice(trees)))


def trees_reordered(program: Program, random: Random) -> Program | None:
    """Two change places. Where their sums are the same, their leaves are not."""
    trees = np.arange(program.forest.n_trees)
    if len(trees) < 2:
        return None
    a, b = random.choice(trees, 2, replace=False)
    return _of_trees(program, _changed(trees, [a, b], trees[[b, a]]))


def tree_for_another_output(program: Program, random: Random) -> Program | None:
    forest = program.forest
    if forest.n_outputs < 2 or forest.leaf_value.shape[1] != 1:
        return None
    at = random.integers(forest.n_trees)
    moved = (forest.tree_output[at] + random.integers(1, forest.n_outputs)) % forest.n_outputs
    return _with(program, tree_output=_changed(forest.tree_output, at, moved))


def transform_dropped(program: Program, random: Random) -> Program | None:
    """The margin instead of the answer."""
    dropped: dict[Any, Any] = {"binary": "binary-raw", "sigmoid": "identity", "softmax": "identity", "exp": "identity"}
    other = dropped.get(program.postprocess)
    return replace(program, postprocess=other) if other else None


def wrong_transform(program: Program, random: Random) -> Program | None:
    kinds = [*PAIRS] if program.postprocess in PAIRS else ["identity", "sigmoid", "softmax", "exp", "sort"]
    if program.forest.n_outputs == 1:
        kinds = [kind for kind in kinds if kind != "sort"]  # of one output: identity
    others = [kind for kind in kinds if kind != program.postprocess]
    return replace(program, postprocess=random.choice(others))


def averaged(program: Program, random: Random) -> Program | None:
    return _with(program, reduction="average") if program.forest.reduction == "sum" else None


def thresholds_in_half(program: Program, random: Random) -> Program | None:
    """Each as float16 holds it: what a builder flag would do."""
    forest = program.forest
    with np.errstate(over="ignore"):
        half = forest.threshold.astype(np.float16).astype(np.float32)
    return _with(program, threshold=half) if (half != forest.threshold)[_tests(forest)].any() else None


def leaves_in_half(program: Program, random: Random) -> Program | None:
    values = program.forest.leaf_value
    half = values.astype(np.float16).astype(values.dtype)
    return _with(program, leaf_value=half) if (half != values).any() else None


FAULTS: tuple[Fault, ...] = (
    threshold_by_one_float, threshold_moved, leaf_by_one_float, leaf_changed, leaves_exchanged, children_swapped,
    missing_goes_the_other_way, missing_always_right, other_feature, columns_exchanged, comparison_turned,
    category_set_altered, base_score_lost, base_score_by_one_float, tree_dropped, tree_doubled, trees_reordered,
    tree_for_another_output, transform_dropped, wrong_transform, averaged, thresholds_in_half, leaves_in_half,
)  # fmt: skip
