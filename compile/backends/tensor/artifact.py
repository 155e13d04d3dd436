"""Read a built tensor graph back: the leaf that a row ends in, and what its constants hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ....errors import ModelError
from ....passes.program import Program
from ..base import Table
from ..onnx.artifact import lookup, vocabulary_keys
from ..onnx.encoders import lookups, table_constants
from ..onnx.probe import cut_off
from .plan import PADDING, Plan, groups
from .writer import LEAF, edges, leaf_values

Constants = Mapping[str, npt.NDArray[Any]]


def leaf_probe(model: onnx.ModelProto) -> onnx.ModelProto:
    """The built model cut off where it has the leaves: int32 [N, T], all by its own constants."""
    return cut_off(model, LEAF, TensorProto.INT32, ["N", "T"])


def read_back(model: onnx.ModelProto, program: Program, plan: Plan) -> tuple[Table, Table]:
    """What the artifact's constants say, and what they must: of every test the column, the threshold and where a
    missing value goes; every leaf and base score; thresholds once more as the ranks' tables; the encoders."""
    held: Constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    wanted = {**table_constants(program, plan.layout), **edges(plan.sources), **_others(program, plan)}
    absent = [name for name in (*wanted, *_test_names(plan)) if name not in held]
    if absent:
        raise ModelError(f"the artifact lacks the constant {absent[0]}")
    keys = lookups(program, plan.layout)
    got = [*(held[name].ravel() for name in wanted), vocabulary_keys(model), _tests(held, plan)]
    must = [
        *(table.ravel() for table in wanted.values()),
        *(lookup(*keys[name]) for name in sorted(keys)),
        _must_test(program, plan),
    ]
    return _one(got), _one(must)


def _one(parts: list[npt.NDArray[Any]]) -> Table:
    return np.concatenate([np.zeros(0), *parts]).astype(np.float64)


def _test_names(plan: Plan) -> list[str]:
    return [f"test_{kind}_{level}" for level in range(len(plan.levels)) for kind in ("source", "rank")]


def _others(program: Program, plan: Plan) -> dict[str, npt.NDArray[Any]]:
    """Constants that follow from nothing but the forest's own arrays."""
    forest = program.forest
    out: dict[str, npt.NDArray[Any]] = {
        "leaf_at": plan.leaf_at,
        "leaf_value": leaf_values(forest),
        "base_scores": forest.base_scores.astype(np.float32),
    }
    if plan.form == "walk":
        out["left"] = plan.left
    return out


def _tests(held: Constants, plan: Plan) -> Table:
    """Column, threshold and direction of each test, looked up as a row would: NaN where no row goes right."""
    sources = plan.sources
    columns = np.concatenate([held[f"columns_{g}"] for g in range(len(groups(sources.ranking)))]).astype(np.int64)
    of_column = held.get("of_column", np.arange(len(columns)))
    missing = held.get("missing_rank", np.zeros(len(of_column)))
    thresholds = _thresholds(held, plan)
    found = []
    for level in range(len(plan.levels)):
        source = held[f"test_source_{level}"].astype(np.int64)
        rank = held[f"test_rank_{level}"].astype(np.int64)
        own = of_column[source]
        inside = rank < thresholds.shape[1]
        threshold = np.where(inside, thresholds[own, np.where(inside, rank, 0)], np.nan)
        there = ~np.isnan(threshold)
        found += [np.where(there, columns[own], -1), threshold, np.where(there, missing[source] > rank, 0)]
    return _one(found)


def _thresholds(held: Constants, plan: Plan) -> npt.NDArray[np.float32]:
    """[C, E]: each column's thresholds from the ranks' tables, NaN past the last."""
    parts = []
    for g, part in enumerate(groups(plan.sources.ranking)):
        if f"fine_{g}" in held:
            parts.append(held[f"fine_{g}"].reshape(part.stop - part.start, -1))
        else:
            parts.append(held[f"edges_{g}"].reshape(part.stop - part.start, -1))
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=np.nan) for part in parts]
    )


def _must_test(program: Program, plan: Plan) -> Table:
    forest, where = program.forest, plan.layout
    found = []
    for level in plan.levels:
        node = level.ravel()
        there = node != PADDING
        found += [
            np.where(there, where.column[node], -1),
            np.where(there, where.threshold[node], np.nan),
            np.where(there, ~forest.default_left[node], False),
        ]
    return _one(found)
