"""The gate finds what is wrong with a built artifact: one fault is planted in its file, and the check must fail.

Each fault stands in a node that some row reaches with a value for which it matters: in any other, it is none.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import treelite
from models import catboost_models, xgboost_models
from models.gate import Gate, gate
from onnx import helper, numpy_helper

from millwork.compile.backends.base import Artifact
from millwork.compile.backends.fil.cpu import write
from millwork.passes.forest import leaves
from millwork.passes.program import Program, encode
from millwork.passes.trees.reach import reach
from millwork.triton_releases import find
from millwork.validators import tolerance
from millwork.validators.parity import Verdict

RELEASE = "25.12"
UP, DOWN = np.float32(np.inf), np.float32(-np.inf)
MODELS: dict[str, Callable[[Path], Path]] = {
    "xgboost-binary": lambda folder: xgboost_models.save(xgboost_models.model("binary"), folder / "model.json"),
    "xgboost-multiclass": lambda folder: xgboost_models.save(xgboost_models.model("multiclass"), folder / "model.ubj"),
    "catboost-binary": lambda folder: catboost_models.save(catboost_models.model("logloss"), folder / "model.cbm"),
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """A built artifact that passes, and the gate that said so."""

    gate: Gate
    built: Artifact
    folder: Path

    @functools.cached_property
    def program(self) -> Program:
        return self.gate.lowered

    def judged(self, folder: Path, plant: Callable[[Path], None]) -> Verdict:
        """The verdict on a copy of the artifact after ``plant`` has edited its file."""
        shutil.copytree(self.folder, folder)
        before = (folder / self.built.model_file).read_bytes()
        plant(folder / self.built.model_file)
        assert (folder / self.built.model_file).read_bytes() != before
        return self.gate.check(self.built, folder)


@functools.cache
def gate_of(model: str, scratch: Path) -> Gate:
    folder = scratch / model
    folder.mkdir()
    return gate(MODELS[model](folder), folder / "gate", limit=60_000, python=sys.executable)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gates")


ARTIFACTS = [(model, backend) for model in MODELS for backend in ("onnx", "fil")]
TWO_OUTPUTS = [pair for pair in ARTIFACTS if pair[1] == "onnx" or pair[0] == "xgboost-multiclass"]
"""A checkpoint of a binary model has one output: there is nothing to swap in it."""


@pytest.fixture(scope="module", params=ARTIFACTS, ids="-".join)
def candidate(request: pytest.FixtureRequest, scratch: Path) -> Candidate:
    model, backend = request.param
    judge = gate_of(model, scratch)
    folder = scratch / model / backend
    built = judge.build(backend, folder, RELEASE).artifact
    assert built is not None
    return Candidate(judge, built, folder)


# ── how to change one thing in a file ─────────────────────────────────────────────────────────────────────


def edit_onnx(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the attributes of the TreeEnsembleRegressor: lists, doubles' tensors as arrays."""
    model = onnx.load_model(str(path))
    (node,) = [node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor"]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    columns = {
        name: numpy_helper.to_array(value).copy() if name.endswith("_as_tensor") else value
        for name, value in attributes.items()
    }
    edit(columns)
    del node.attribute[:]
    for name, value in columns.items():
        plain = numpy_helper.from_array(value) if name.endswith("_as_tensor") else value
        node.attribute.append(helper.make_attribute(name, plain))
    onnx.save_model(model, str(path))


def column(columns: dict[str, Any], name: str) -> Any:
    """``name``, or its form with doubles."""
    return columns[name if name in columns else f"{name}_as_tensor"]


def edit_tree(path: Path, tree: int, name: str, edit: Callable[[Any], None]) -> None:
    """Change one column of one tree of a Treelite checkpoint."""
    model = treelite.Model.deserialize(str(path))
    accessor = model.get_tree_accessor(tree)
    values = accessor.get_field(name).copy()
    edit(values)
    accessor.set_field(name, values)
    model.serialize(str(path))


def change(candidate: Candidate, row: int, onnx_name: str, treelite_name: str, new: Callable[[Any], Any]) -> Any:
    """A plant that replaces one number of node ``row`` by ``new`` of it."""
    tree = int(candidate.program.forest.tree_of_node()[row])
    start = int(candidate.program.forest.tree_start[tree])

    def in_onnx(columns: dict[str, Any]) -> None:
        values = column(columns, onnx_name)
        values[1 + row] = new(values[1 + row])  # the first node is the base scores' leaf

    def in_tree(values: Any) -> None:
        values[row - start] = new(values[row - start])

    if candidate.built.backend == "onnx":
        return lambda path: edit_onnx(path, in_onnx)
    return lambda path: edit_tree(path, tree, treelite_name, in_tree)


def pick(seed: int, rows: Any) -> int:
    return int(np.random.default_rng(seed).choice(rows))


# ── the faults ────────────────────────────────────────────────────────────────────────────────────────────


def threshold_up(candidate: Candidate, seed: int) -> Any:
    """The value at which the test turns must reach the node."""
    forest = candidate.program.forest
    seen, turn = reach(forest), forest.strict_thresholds()
    matters = ~forest.is_leaf & (seen.low <= turn) & (turn < seen.high)
    return change(
        candidate,
        pick(seed, np.flatnonzero(matters)),
        "nodes_values",
        "threshold",
        lambda t: np.nextafter(np.float32(t), UP),
    )


def threshold_down(candidate: Candidate, seed: int) -> Any:
    """The value one below that at which the test turns must reach the node."""
    forest = candidate.program.forest
    seen, below = reach(forest), np.nextafter(forest.strict_thresholds(), DOWN)
    matters = ~forest.is_leaf & (seen.low <= below) & (below < seen.high)
    return change(
        candidate,
        pick(seed, np.flatnonzero(matters)),
        "nodes_values",
        "threshold",
        lambda t: np.nextafter(np.float32(t), DOWN),
    )


def other_comparison(candidate: Candidate, seed: int) -> Any:
    """``<`` turned into ``<=``, or the other way round, in one node: the threshold itself must reach it."""
    forest = candidate.program.forest
    seen = reach(forest)
    matters = np.flatnonzero(~forest.is_leaf & (seen.low <= forest.threshold) & (forest.threshold < seen.high))
    modes = {b"BRANCH_LT": b"BRANCH_LEQ", b"BRANCH_LEQ": b"BRANCH_LT"}
    return change(
        candidate,
        pick(seed, matters),
        "nodes_modes",
        "cmp",
        lambda mode: modes[mode] if isinstance(mode, bytes) else {2: 3, 3: 2}[int(mode)],
    )


def nan_flipped(candidate: Candidate, seed: int) -> Any:
    forest = candidate.program.forest
    rows = np.flatnonzero(~forest.is_leaf & reach(forest).nan)
    return change(candidate, pick(seed, rows), "nodes_missing_value_tracks_true", "default_left", lambda left: 1 - left)


def other_feature(candidate: Candidate, seed: int) -> Any:
    forest = candidate.program.forest
    row = pick(seed, np.flatnonzero(~forest.is_leaf))
    return change(
        candidate, row, "nodes_featureids", "split_index", lambda feature: (feature + 1) % candidate.program.n_columns
    )


def leaf_changed(candidate: Candidate, seed: int) -> Any:
    """By a thousandth of itself, in a leaf that isn't among the smaller half."""
    forest = candidate.program.forest
    size = np.abs(forest.leaf_value[:, 0])
    large = np.flatnonzero(forest.is_leaf & (size >= np.median(size[forest.is_leaf])))
    row = pick(seed, large)
    if candidate.built.backend == "fil":
        return change(candidate, row, "", "leaf_value", lambda value: value * np.float32(1.001))

    def edit(columns: dict[str, Any]) -> None:
        tree = int(forest.tree_of_node()[row])
        where = (np.array(columns["target_treeids"]) == tree + 1) & (
            np.array(columns["target_nodeids"]) == row - forest.tree_start[tree]
        )
        (entry,) = np.flatnonzero(where)
        weights = column(columns, "target_weights")
        weights[entry] *= 1.001

    return lambda path: edit_onnx(path, edit)


def tree_dropped(candidate: Candidate, seed: int) -> Any:
    program = candidate.program
    forest = program.forest
    tree = int(np.random.default_rng(seed).integers(forest.n_trees))
    if candidate.built.backend == "onnx":
        return lambda path: edit_onnx(path, lambda columns: _without_tree(columns, tree + 1))
    keep = forest.tree_of_node() != tree
    moved = np.cumsum(keep) - 1
    left = {
        "feature": forest.feature[keep],
        "threshold": forest.threshold[keep],
        "default_left": forest.default_left[keep],
        "leaf_value": forest.leaf_value[keep],
        "leaf_number": forest.leaf_number[keep],
        "tree_output": np.delete(forest.tree_output, tree),
    }
    children = {
        name: np.where(child[keep] >= 0, moved[child[keep]], -1).astype(np.int32)
        for name, child in (("left", forest.left), ("right", forest.right))
    }
    sizes = np.delete(np.diff(forest.tree_start), tree)
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    fewer = replace(program, forest=forest.replacing(tree_start=start, **left, **children))

    def plant(path: Path) -> None:
        with path.open("wb") as file:
            write(fewer, find(RELEASE).treelite, file)

    return plant


def _without_tree(columns: dict[str, Any], tree: int) -> None:
    nodes = np.array(columns["nodes_treeids"]) != tree
    targets = np.array(columns["target_treeids"]) != tree
    for name, values in columns.items():
        kept = nodes if name.startswith("nodes_") else targets if name.startswith("target_") else None
        if kept is None:
            continue
        columns[name] = (
            values[kept] if isinstance(values, np.ndarray) else [v for v, k in zip(values, kept, strict=True) if k]
        )


FAULTS = {
    threshold_up: 10, threshold_down: 10, other_comparison: 10, nan_flipped: 10, other_feature: 3, leaf_changed: 5,
    tree_dropped: 3,
}  # fmt: skip
"""Each fault, and in how many places it is tried."""


# ── the tests ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_untouched_artifact_passes(candidate: Candidate) -> None:
    verdict = candidate.gate.check(candidate.built, candidate.folder)
    assert verdict.passed, verdict.reason
    assert verdict.parity.leaf_mismatches == 0
    assert verdict.parity.decision_flips == 0
    assert verdict.reason == ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_fails_the_gate(
    candidate: Candidate, fault: Callable[[Candidate, int], Any], tmp_path: Path
) -> None:
    passed = []
    for seed in range(FAULTS[fault]):
        verdict = candidate.judged(tmp_path / str(seed), fault(candidate, seed))
        if verdict.passed:
            passed.append(seed)
        else:
            assert verdict.reason
    assert passed == []


def with_offset(candidate: Candidate, offset: float) -> Callable[[Path], None]:
    """A plant that adds ``offset`` to the first output's base score."""

    def in_onnx(columns: dict[str, Any]) -> None:
        column(columns, "target_weights")[0] += offset

    def in_checkpoint(path: Path) -> None:
        model = treelite.Model.deserialize(str(path))
        header = model.get_header_accessor()
        scores = header.get_field("base_scores").copy()
        scores[0] += offset
        header.set_field("base_scores", scores)
        model.serialize(str(path))

    return in_checkpoint if candidate.built.backend == "fil" else lambda path: edit_onnx(path, in_onnx)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_base_score_off_by_a_thousandth_fails_the_gate(candidate: Candidate, sign: int, tmp_path: Path) -> None:
    forest = candidate.program.forest
    typical = float(np.abs(forest.leaf_value[forest.is_leaf]).max())
    assert not candidate.judged(tmp_path / "off", with_offset(candidate, sign * 1e-3 * typical)).passed


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_base_score_off_by_less_than_sums_round_fails_the_gate(
    candidate: Candidate, sign: int, tmp_path: Path
) -> None:
    """By a millionth of the derived tolerance, or one float: no answer shows it, the node table does."""
    program = candidate.program
    bound = tolerance.derive(program, leaves(program.forest, encode(program, candidate.gate.rows)))
    base = np.float32(program.forest.base_scores[0])
    one_float = abs(float(np.nextafter(base, np.float32(np.inf))) - float(base))
    verdict = candidate.judged(tmp_path / "off", with_offset(candidate, sign * max(one_float, 1e-6 * bound.abs)))
    assert not verdict.passed
    assert "node table" in verdict.reason


@pytest.mark.parametrize("candidate", TWO_OUTPUTS, indirect=True, ids="-".join)
def test_two_classes_swapped_fail_the_gate(candidate: Candidate, tmp_path: Path) -> None:
    swap = {0: 1, 1: 0}
    several = candidate.program.forest.n_outputs > 1

    def targets(columns: dict[str, Any]) -> None:
        columns["target_ids"] = [swap.get(k, k) for k in columns["target_ids"]]

    def columns_of_answer(path: Path) -> None:
        model = onnx.load_model(str(path))
        (node,) = [node for node in model.graph.node if node.op_type == "Concat"]
        node.input[:] = reversed(list(node.input))
        onnx.save_model(model, str(path))

    def classes(path: Path) -> None:
        model = treelite.Model.deserialize(str(path))
        header = model.get_header_accessor()
        header.set_field(
            "class_id", np.array([swap.get(k, k) for k in header.get_field("class_id").tolist()], np.int32)
        )
        model.serialize(str(path))

    if candidate.built.backend == "fil":
        plant: Callable[[Path], None] = classes
    else:
        plant = (lambda path: edit_onnx(path, targets)) if several else columns_of_answer
    verdict = candidate.judged(tmp_path / "swapped", plant)
    assert not verdict.passed
    assert verdict.parity.leaf_mismatches == 0  # the numbers alone tell
    assert verdict.parity.decision_flips > 0


def test_children_swapped_fail_the_gate(candidate: Candidate, tmp_path: Path) -> None:
    """A row for which it matters reaches every test of a lowered forest."""
    forest = candidate.program.forest
    for seed in range(3):
        row = pick(seed, np.flatnonzero(~forest.is_leaf))
        tree = int(forest.tree_of_node()[row])
        start = int(forest.tree_start[tree])

        def in_onnx(columns: dict[str, Any], at: int = row + 1) -> None:
            left, right = columns["nodes_truenodeids"], columns["nodes_falsenodeids"]
            left[at], right[at] = right[at], left[at]

        def in_checkpoint(path: Path, tree: int = tree, at: int = row - start) -> None:
            model = treelite.Model.deserialize(str(path))
            accessor = model.get_tree_accessor(tree)
            left, right = accessor.get_field("cleft").copy(), accessor.get_field("cright").copy()
            left[at], right[at] = right[at], left[at]
            accessor.set_field("cleft", left)
            accessor.set_field("cright", right)
            model.serialize(str(path))

        plant = in_checkpoint if candidate.built.backend == "fil" else (lambda path, e=in_onnx: edit_onnx(path, e))
        assert not candidate.judged(tmp_path / str(seed), plant).passed
