"""Have Hummingbird convert trees. A standalone script: numpy, scikit-learn, torch, onnx and hummingbird-ml only.

    python convert_script.py FEED.npz      (see feed.py)

Writes ``trees.onnx``, float32 [N, V] -> float32 [N, K], and ``leaves.npy``: int64 [slots], the leaf that each row of
its table of leaves is of, by its place in its tree; -1 where it is of none. The reply is JSON: the versions, and what
the table is called.

Hummingbird's own way to ONNX calls torch's exporter as it was before torch 2.9; the same module is exported here by the
exporter that it was written for.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

PERFECT_DEPTH = 10
"""Up to which Hummingbird pads trees by its own rule; deeper ones are walked. Its products of matrices aren't used: of
an infinity they make NaN."""
OPSET = 17
FILE = "trees.onnx"
TABLES = {"perf_tree_trav": "leaf_nodes", "tree_trav": "values"}


def main(given: Path) -> dict[str, str]:
    import hummingbird
    import onnx
    import torch

    with np.load(given, allow_pickle=False) as held:
        feed = {name: held[name] for name in held.files}
    trees = len(feed["tree_start"]) - 1
    kind = "perf_tree_trav" if _depth(feed) <= PERFECT_DEPTH else "tree_trav"
    made = converted(feed, feed["value"], kind)
    numbers = converted(feed, feed["leaf"][:, None] + 1.0, kind)  # 0: no leaf
    example = torch.zeros((3, len(feed["column"])), dtype=torch.float32)
    torch.onnx.export(
        made,
        (example,),
        FILE,
        input_names=["sources"],
        output_names=["margin"],
        opset_version=OPSET,
        dynamic_axes={"sources": {0: "N"}, "margin": {0: "N"}},
        dynamo=False,
    )
    graph = onnx.load_model(FILE)
    named = [one.name for one in graph.graph.initializer if one.name.endswith(f".{TABLES[kind]}")]
    if len(named) != 1:
        raise RuntimeError(f"expected one table of leaves in Hummingbird's graph, found {len(named)}")
    np.save("leaves.npy", table(numbers, kind)[:, 0].astype(np.int64) - 1)
    return {
        "hummingbird": hummingbird.__version__,
        "torch": torch.__version__,
        "implementation": kind,
        "table": named[0],
        "trees": str(trees),
    }


def converted(feed: dict[str, Any], value: Any, kind: str) -> Any:
    """Hummingbird's module of the trees with ``value`` [M, K] in their leaves. It divides those by the number of trees
    and keeps them as float32: times that number, a float32's double comes back as it was."""
    from hummingbird.ml import convert
    from sklearn.ensemble import RandomForestRegressor

    start = feed["tree_start"]
    forest = RandomForestRegressor()
    forest.n_features_in_, forest.n_outputs_ = len(feed["column"]), value.shape[1]
    forest.estimators_ = []
    for t in range(len(start) - 1):
        own = slice(int(start[t]), int(start[t + 1]))
        order, place = _parents_first(feed["left"][own], feed["right"][own])
        forest.estimators_.append(
            SimpleNamespace(
                tree_=SimpleNamespace(
                    children_left=place[feed["left"][own][order]],
                    children_right=place[feed["right"][own][order]],
                    feature=feed["source"][own][order],
                    threshold=feed["threshold"][own][order].astype(np.float64),
                    value=(value[own][order] * (len(start) - 1))[:, :, None],
                )
            )
        )
    return convert(forest, "torch", extra_config={"tree_implementation": kind}).model


def table(module: Any, kind: str) -> Any:
    """[slots, K]: the module's table of leaves."""
    (only,) = [own for name, own in module.named_parameters() if name.endswith(f".{TABLES[kind]}")]
    return only.detach().numpy()


def _parents_first(left: Any, right: Any) -> tuple[Any, Any]:
    """An order of a tree's nodes in which children follow their parents, and each node's place in it (-1 for -1)."""
    order = [0]
    for node in order:
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    place = np.full(len(left) + 1, -1, np.int64)
    place[order] = np.arange(len(order))
    return np.array(order), place


def _depth(feed: dict[str, Any]) -> int:
    deepest = 0
    start = feed["tree_start"]
    for t in range(len(start) - 1):
        left, right = (feed[name][int(start[t]) : int(start[t + 1])] for name in ("left", "right"))
        depth, level = 0, np.zeros(1, np.int64)
        while len(level := level[left[level] >= 0]):
            depth, level = depth + 1, np.concatenate([left[level], right[level]])
        deepest = max(deepest, depth)
    return deepest


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(100_000)  # it goes down a tree by recursion
    reply = main(Path(sys.argv[1]))
    os.write(int(os.environ["MILLWORK_REPLY_FD"]), json.dumps(reply).encode())
