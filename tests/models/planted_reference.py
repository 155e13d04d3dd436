"""Faults of ``reference``, whose file is XGBoost's own: one thing of its JSON is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

Random = np.random.Generator
Tree = dict[str, Any]


def _tests(tree: Tree) -> list[int]:
    return [node for node, child in enumerate(tree["left_children"]) if child >= 0]


def _leaves(tree: Tree) -> list[int]:
    return [node for node, child in enumerate(tree["left_children"]) if child < 0]


def threshold_by_one_float(tree: Tree, random: Random) -> None:
    node = _a_root(tree)
    old = np.float32(tree["split_conditions"][node])
    tree["split_conditions"][node] = float(np.nextafter(old, np.float32(random.choice([-np.inf, np.inf]))))


def threshold_moved(tree: Tree, random: Random) -> None:
    tree["split_conditions"][random.choice(_tests(tree))] += float(random.choice([-1, 1]) * random.uniform(0.01, 0.1))


def leaf_by_one_float(tree: Tree, random: Random) -> None:
    leaf = random.choice(_leaves(tree))
    tree["split_conditions"][leaf] = float(np.nextafter(np.float32(tree["split_conditions"][leaf]), np.float32(9)))


def leaf_changed(tree: Tree, random: Random) -> None:
    tree["split_conditions"][random.choice(_leaves(tree))] *= float(random.choice([-1.0, 0.0, 1.001]))


def children_swapped(tree: Tree, random: Random) -> None:
    node, (left, right) = random.choice(_tests(tree)), (tree["left_children"], tree["right_children"])
    left[node], right[node] = right[node], left[node]


def missing_goes_the_other_way(tree: Tree, random: Random) -> None:
    node = _a_root(tree)
    tree["default_left"][node] = 1 - tree["default_left"][node]


def other_feature(tree: Tree, random: Random) -> None:
    node, features = random.choice(_tests(tree)), int(tree["tree_param"]["num_feature"])
    tree["split_indices"][node] = int((tree["split_indices"][node] + random.integers(1, features)) % features)


def _a_root(tree: Tree) -> int:
    """The root's every value, and NaN, reaches it."""
    return 0


IN_A_TREE: tuple[Callable[[Tree, Random], None], ...] = (
    threshold_by_one_float, threshold_moved, leaf_by_one_float, leaf_changed, children_swapped,
    missing_goes_the_other_way, other_feature,
)  # fmt: skip


def base_score_changed(learner: Any, random: Random) -> None:
    learner["learner_model_param"]["base_score"] = "[1.2E-1]"


def transform_dropped(learner: Any, random: Random) -> None:
    learner["objective"] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}


def tree_replaced(learner: Any, random: Random) -> None:
    """One by another: two of the same, and one is lost."""
    trees = learner["gradient_booster"]["model"]["trees"]
    a, b = (int(at) for at in random.choice(len(trees), 2, replace=False))
    trees[a] = {**trees[b], "id": a}


def trees_exchanged(learner: Any, random: Random) -> None:
    trees = learner["gradient_booster"]["model"]["trees"]
    a, b = (int(at) for at in random.choice(len(trees), 2, replace=False))
    trees[a], trees[b] = {**trees[b], "id": a}, {**trees[a], "id": b}


IN_THE_LEARNER: tuple[Callable[[Any, Random], None], ...] = (
    base_score_changed, transform_dropped, tree_replaced, trees_exchanged,
)  # fmt: skip

NAMES = tuple(fault.__name__ for fault in (*IN_A_TREE, *IN_THE_LEARNER))


def plant(path: Path, name: str, random: Random) -> None:
    """Change the model's file by the fault called ``name``."""
    card = json.loads(bytes(xgboost.Booster(model_file=str(path)).save_raw("json")))
    learner = card["learner"]
    in_tree = {fault.__name__: fault for fault in IN_A_TREE}
    if name in in_tree:
        trees = [tree for tree in learner["gradient_booster"]["model"]["trees"] if _tests(tree)]
        in_tree[name](trees[random.integers(len(trees))], random)
    else:
        {fault.__name__: fault for fault in IN_THE_LEARNER}[name](learner, random)
    booster = xgboost.Booster()
    booster.load_model(bytearray(json.dumps(card).encode()))
    booster.save_model(path)
