"""Random forests straight in the IR, and rows that lie on their thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from millwork.compile.backends.base import Source
from millwork.compile.frontends.loaded_model import Oracle, Signature
from millwork.passes.forest import VECTOR_LEAF, Forest, Rows, check
from millwork.passes.program import Program
from millwork.values import FeatureContract, OutputContract, Provenance

HARD = np.array([0.0, -0.0, 1e-44, -1e-44, 1.5, 1e9, -3.0, 3.4e38, -3.4e38, 0.1], np.float32)
"""Few thresholds, so that paths contradict themselves and tests repeat."""


def random_forest(
    seed: int,
    *,
    trees: int = 6,
    depth: int = 4,
    features: int = 5,
    outputs: int = 1,
    comparison: str = "<",
    vector_leaves: bool = False,
    dtype: type = np.float32,
    categorical: int = 0,
) -> Forest:
    """A forest of ``trees`` unbalanced trees; some have a single leaf, some leaves are equal. The last ``categorical``
    features are categories."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[object]] = {
        k: [] for k in ("feature", "threshold", "left", "right", "nan", "value", "number", "set")
    }
    starts = [0]
    sets = [np.unique(rng.integers(0, size, size)) for size in (1, 3, 9, 70)] if categorical else []
    width = outputs if vector_leaves else 1

    def grow(level: int) -> int:
        row = len(columns["feature"])
        leaf = level == depth or rng.random() < 0.25
        feature = -1 if leaf else int(rng.integers(features))
        by_category = feature >= features - categorical
        columns["feature"].append(feature)
        columns["threshold"].append(np.float32(0) if leaf or by_category else rng.choice(HARD))
        columns["set"].append(int(rng.integers(len(sets))) if by_category else -1)
        columns["nan"].append(bool(not leaf and rng.random() < 0.5))
        columns["value"].append(rng.choice([-1.25, 0.1, 0.3, 2.0], width) if leaf else np.zeros(width))
        columns["number"].append(row - starts[-1] if leaf else -1)
        columns["left"].append(-1)
        columns["right"].append(-1)
        if not leaf:
            columns["left"][row] = grow(level + 1)
            columns["right"][row] = grow(level + 1)
        return row

    for _ in range(trees):
        grow(0)
        starts.append(len(columns["feature"]))
    output = np.full(trees, VECTOR_LEAF) if vector_leaves else np.arange(trees) % outputs
    return check(
        Forest(
            tree_start=np.array(starts, np.int32),
            feature=np.array(columns["feature"], np.int32),
            threshold=np.array(columns["threshold"], np.float32),
            left=np.array(columns["left"], np.int32),
            right=np.array(columns["right"], np.int32),
            default_left=np.array(columns["nan"], np.bool_),
            leaf_value=np.array(columns["value"], dtype).reshape(-1, width),
            leaf_number=np.array(columns["number"], np.int32),
            tree_output=output.astype(np.int32),
            base_scores=rng.normal(size=outputs).astype(dtype),
            n_features=features,
            comparison=comparison,
            category_set=np.array(columns["set"], np.int32),
            set_start=np.cumsum([0, *map(len, sets)]).astype(np.int64),
            set_member=np.concatenate([np.zeros(0), *sets]).astype(np.int32),
        )
    )


def one_sided(depth: int, rng: np.random.Generator) -> Forest:
    """One tree, unbalanced to the utmost: one test a level, on one of three features."""
    test, n = np.arange(depth) * 2, 2 * depth + 1
    column = np.full(n, -1, np.int32)
    left, right, feature = column.copy(), column.copy(), column.copy()
    left[test], right[test], feature[test] = test + 1, test + 2, rng.integers(0, 3, depth)
    threshold = np.zeros(n, np.float32)
    threshold[test] = rng.normal(size=depth).astype(np.float32)
    value = rng.normal(size=(n, 1)).astype(np.float32)
    value[test] = 0
    chain = random_forest(0).replacing(
        tree_start=np.array([0, n], np.int32),
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        default_left=rng.random(n) < 0.5,
        leaf_value=value,
        leaf_number=np.where(left < 0, np.arange(n), -1).astype(np.int32),
        tree_output=np.zeros(1, np.int32),
        n_features=3,
    )
    return check(chain)


def perfect_forest(seed: int, depths: Sequence[int], *, outputs: int = 1, dtype: type = np.float32) -> Forest:
    """A full tree of each depth, over five features; no two tests of it are the same."""
    rng = np.random.default_rng(seed)
    sizes = [2 ** (depth + 1) - 1 for depth in depths]
    start = np.cumsum([0, *sizes])
    place, size = np.concatenate([np.arange(n) for n in sizes]), np.repeat(sizes, sizes)
    leaf, child = place >= size // 2, np.repeat(start[:-1], sizes) + 2 * place + 1
    feature, value = rng.integers(0, 5, len(place)), rng.normal(size=(len(place), 1))
    return check(
        random_forest(seed, outputs=outputs, dtype=dtype).replacing(
            tree_start=start.astype(np.int32),
            feature=np.where(leaf, -1, feature).astype(np.int32),
            threshold=np.where(leaf, 0, rng.normal(size=len(place))).astype(np.float32),
            left=np.where(leaf, -1, child).astype(np.int32),
            right=np.where(leaf, -1, child + 1).astype(np.int32),
            default_left=~leaf & (rng.random(len(place)) < 0.5),
            leaf_value=np.where(leaf[:, None], value, 0).astype(dtype),
            leaf_number=np.where(leaf, place, -1).astype(np.int32),
            category_set=np.full(len(place), -1, np.int32),
            tree_output=(np.arange(len(depths)) % outputs).astype(np.int32),
        )
    )


def source_of(framework: str = "xgboost", names: tuple[str, ...] = ()) -> Source:
    """What a backend is told of a model that is nothing but a program: a regression with those features' names."""
    signature = Signature(
        provenance=Provenance(path="m", format="f", sha256="0" * 64, framework=framework, framework_version=""),
        features=FeatureContract(names=names, named=bool(names)),
        output=OutputContract(kind="value", task="regression", labels=()),
        objective="",
        oracle=Oracle(framework=framework, version="", native_file="model.json", parameters={}),
    )
    return Source(native="", signature=signature)


def program_of(forest: Forest, postprocess: str = "identity") -> Program:
    """The plain program around a forest."""
    return Program(
        forest=forest,
        postprocess=postprocess,
        columns=np.arange(forest.n_features, dtype=np.int32),
        n_columns=forest.n_features,
    )


def hard_rows(seed: int, rows: int, features: int, categorical: int = 0) -> Rows:
    """Rows on the thresholds of :data:`HARD`, one float beside them, NaN, infinities and signed zeros; in the last
    ``categorical`` columns categories, and numbers that are none."""
    rng = np.random.default_rng(seed)
    near = np.concatenate(
        [
            HARD,
            np.nextafter(HARD, np.float32(np.inf)),
            np.nextafter(HARD, np.float32(-np.inf)),
            np.array([np.nan, np.inf, -np.inf, -999.0], np.float32),
        ]
    )
    out = rng.choice(near, (rows, features)).astype(np.float32)
    if categorical:
        codes = np.concatenate([np.arange(72), np.arange(9), [-1, -0.5, 2.7, 1e6, 2**24, 2**25, 3e38, np.inf, np.nan]])
        out[:, features - categorical :] = rng.choice(codes.astype(np.float32), (rows, categorical))
    return out
