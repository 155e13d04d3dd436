"""Trees as plain tensor operators: each form and precision is the interpreter leaf by leaf, and TensorRT's types."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.forests import hard_rows, program_of, random_forest, source_of
from onnx import TensorProto, numpy_helper

from millwork import triton_releases
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.tensor import plan as tensor_plan
from millwork.compile.backends.tensor.plan import choose, plan
from millwork.compile.backends.tensor.trees import TensorTrees
from millwork.compile.runners.load import runner
from millwork.errors import ModelError
from millwork.passes.forest import Forest, check, leaves
from millwork.passes.program import MissingSentinel, Program, encode, run
from millwork.passes.threshold_ranks import rank
from millwork.validators import parity, tolerance

PRECISIONS = ("fp32", "fp16", "int32")


def built(program: Program, folder: Path, precision: str = "fp32") -> Artifact | Unsupported:
    source = source_of(names=("height", "width"))
    return TensorTrees(precision).build(program, source, folder, triton_releases.find("25.12"))


def refusal(program: Program, folder: Path, precision: str = "fp32") -> str:
    made = built(program, folder, precision)
    assert isinstance(made, Unsupported)
    assert list(folder.iterdir()) == []
    return made.reason


def agrees(program: Program, folder: Path, rows: Any, precision: str = "fp32") -> onnx.ModelProto:
    """The artifact is the interpreter leaf by leaf, its constants the forest's, and its answers within the bound."""
    made, backend = built(program, folder, precision), TensorTrees(precision)
    assert isinstance(made, Artifact), made
    leaf = leaves(program.forest, encode(program, rows))
    got = backend.leaves(made, folder, rows)
    np.testing.assert_array_equal(got, backend.expected(program, leaf, leaf))
    table = backend.node_table(made, folder, program)
    assert table is not None
    assert parity.different(*table) == 0
    engine = runner(made.runner)(folder / made.model_file, made.parameters, 1)
    wanted, allowed = run(program, rows), tolerance.derive(program, leaf)
    assert np.all(np.abs(engine.predict(rows) - wanted) <= allowed.abs + allowed.rel * np.abs(wanted))
    assert engine.predict(rows[:0]).shape == (0, program.n_answers)
    return onnx.load_model(str(folder / made.model_file))


def chain(depth: int, *, trees: int = 1) -> Forest:
    """Trees that are one long path: x0 < 0, x0 < 1, …, deeper than any that can be padded."""
    nodes = 2 * depth + 1
    test = np.tile(np.arange(nodes) % 2 == 0, trees) & (np.tile(np.arange(nodes), trees) < nodes - 1)
    own = np.tile(np.arange(nodes), trees)
    start = np.repeat(np.arange(trees) * nodes, nodes)
    return check(
        Forest(
            tree_start=(np.arange(trees + 1) * nodes).astype(np.int32),
            feature=np.where(test, 0, -1).astype(np.int32),
            threshold=np.where(test, own // 2, 0).astype(np.float32),
            left=np.where(test, start + own + 1, -1).astype(np.int32),
            right=np.where(test, start + own + 2, -1).astype(np.int32),
            default_left=test & (own % 4 == 0),
            leaf_value=np.where(test, 0, own / 7).astype(np.float32)[:, None],
            leaf_number=np.where(test, -1, own).astype(np.int32),
            tree_output=np.zeros(trees, np.int32),
            base_scores=np.zeros(1, np.float32),
            n_features=1,
        )
    )


# ── any forest, in each form and each precision ───────────────────────────────────────────────────────────


@given(
    seed=st.integers(0, 10**9),
    trees=st.integers(1, 8),
    depth=st.integers(0, 5),
    outputs=st.integers(1, 3),
    comparison=st.sampled_from(["<", "<="]),
    vector_leaves=st.booleans(),
    categorical=st.integers(0, 2),
    dtype=st.sampled_from([np.float32, np.float64]),
    postprocess=st.sampled_from(["identity", "softmax"]),
    form=st.sampled_from(["", "table", "perfect", "walk"]),
    precision=st.sampled_from(PRECISIONS),
)
@settings(max_examples=80, deadline=None)
def test_a_program_of_any_shape(
    seed: int,
    trees: int,
    depth: int,
    outputs: int,
    comparison: str,
    vector_leaves: bool,
    categorical: int,
    dtype: type,
    postprocess: str,
    form: str,
    precision: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """NaN, infinities, denormals, signed zeros, values on thresholds and one float beside them, sets of categories."""
    forest = random_forest(
        seed,
        trees=trees,
        depth=depth,
        outputs=outputs,
        comparison=comparison,
        vector_leaves=vector_leaves,
        categorical=categorical,
        dtype=dtype,
    )
    if form == "table" and np.diff(forest.tree_start).max() > 25:
        return
    with pytest.MonkeyPatch.context() as patch:
        if form:
            patch.setattr(tensor_plan, "choose", lambda *_shape: form)
        rows = hard_rows(seed, 120, 5, categorical)
        agrees(program_of(forest, postprocess), tmp_path_factory.mktemp("any"), rows, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("thresholds", [1, 2, 31, 32, 33, 255, 1000, 2048])
def test_columns_of_any_number_of_thresholds(thresholds: int, precision: str, tmp_path: Path) -> None:
    """One step up to 32, two beyond; each threshold, one float beside it, infinities, NaN. fp16 holds 2,048."""
    rng = np.random.default_rng(thresholds)
    edges = np.unique(rng.normal(size=thresholds * 2).astype(np.float32))[:thresholds]
    single = random_forest(1, trees=1, depth=0, features=2)
    n = len(edges)
    stumps = single.replacing(
        tree_start=np.arange(n + 1, dtype=np.int32) * 3,
        feature=np.tile([1, -1, -1], n).astype(np.int32),
        threshold=np.repeat(edges, 3) * np.tile([1, 0, 0], n).astype(np.float32),
        left=np.where(np.arange(3 * n) % 3 == 0, np.arange(3 * n) + 1, -1).astype(np.int32),
        right=np.where(np.arange(3 * n) % 3 == 0, np.arange(3 * n) + 2, -1).astype(np.int32),
        default_left=np.repeat(rng.random(n) < 0.5, 3) & np.tile([True, False, False], n),
        leaf_value=rng.normal(size=(3 * n, 1)).astype(np.float32) * np.tile([0, 1, 1], n)[:, None].astype(np.float32),
        leaf_number=np.tile([-1, 1, 2], n).astype(np.int32),
        tree_output=np.zeros(n, np.int32),
    )
    near = np.concatenate(
        [edges, np.nextafter(edges, np.float32(9)), np.nextafter(edges, np.float32(-9)), [np.nan, np.inf, -np.inf]]
    )
    near = rng.permutation(near)[:300]
    agrees(
        program_of(check(stumps)), tmp_path, np.stack([np.zeros_like(near), near], axis=1).astype(np.float32), precision
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_forest_too_deep_to_be_padded_is_walked(precision: str, tmp_path: Path) -> None:
    program = program_of(chain(30, trees=3))
    made = plan(program)
    assert not isinstance(made, str)
    assert made.form == "walk"
    rows = np.concatenate([np.arange(-2, 34) / 1.0, [0.5, np.nan, np.inf, -np.inf]]).astype(np.float32)[:, None]
    agrees(program, tmp_path, rows, precision)


def test_averaged_trees_and_sentinels(tmp_path: Path) -> None:
    program = program_of(replace(random_forest(5), reduction="average"))
    rows = hard_rows(5, 300, 5)
    rows[::3, 1] = -999.0
    agrees(replace(program, encoders=(MissingSentinel(value=-999.0),)), tmp_path, rows)


# ── which form, and what isn't taken ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("trees", "depth", "tests", "form"),
    [
        (500, 6, 6, "table"),  # CatBoost's symmetric trees
        (2000, 8, 8, "table"),
        (300, 2, 3, "table"),  # shallow ones
        (500, 6, 63, "perfect"),
        (100, 10, 900, "perfect"),
        (100, 11, 900, "walk"),
        (100_000, 10, 900, "walk"),  # padded, it would be a hundred million entries
    ],
)
def test_the_form_is_chosen_by_cost(trees: int, depth: int, tests: int, form: str) -> None:
    assert choose(trees, depth, tests) == form


def test_ranks_that_fp16_does_not_hold_are_refused_by_the_features_name(tmp_path: Path) -> None:
    forest = chain(200, trees=11)
    threshold = np.where(forest.is_leaf, 0, np.arange(forest.n_nodes)).astype(np.float32)
    program = program_of(replace(forest, threshold=threshold))
    assert refusal(program, tmp_path, "fp16") == (
        "tensor: feature height has 2,200 thresholds; fp16 holds integers up to 2,048, so ranks would collide"
    )
    agrees(program, tmp_path, np.array([[np.nan], [100], [1e9]], np.float32), "int32")


def test_int8_is_refused_with_the_exact_form_named(tmp_path: Path) -> None:
    assert "int32" in refusal(program_of(random_forest(1)), tmp_path, "int8")


def test_a_path_too_long_to_be_unrolled_is_refused(tmp_path: Path) -> None:
    assert "300 levels deep" in refusal(program_of(chain(300)), tmp_path)


def test_a_leaf_too_large_for_float32_is_refused(tmp_path: Path) -> None:
    forest = random_forest(1, dtype=np.float64)
    huge = replace(forest, leaf_value=np.where(forest.is_leaf[:, None], 1e39, 0.0))
    assert "larger than float32" in refusal(program_of(huge), tmp_path)


# ── what TensorRT takes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float", "double"])
def test_only_types_and_operators_that_tensorrt_has(precision: str, dtype: type, tmp_path: Path) -> None:
    """No float64, no string, no ai.onnx.ml; comparisons in FLOAT, FLOAT16 or INT32."""
    forest = random_forest(9, trees=9, depth=5, outputs=3, categorical=2, dtype=dtype)
    model = agrees(program_of(forest, "softmax"), tmp_path, hard_rows(9, 100, 5, 2), precision)
    assert {opset.domain for opset in model.opset_import} == {""}
    kinds = {one.data_type for one in model.graph.initializer}
    assert kinds <= {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64}
    casts = {a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute}
    assert casts <= {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64}
    held = {one.name: one.data_type for one in model.graph.initializer}
    ranks = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "int32": TensorProto.INT32}[precision]
    assert held["test_rank_0"] == ranks
    assert held["leaf_value"] == held["base_scores"] == TensorProto.FLOAT


# ── a damaged artifact ────────────────────────────────────────────────────────────────────────────────────


def changed(path: Path, name: str, edit: Any) -> None:
    model = onnx.load_model(str(path))
    (found,) = [one for one in model.graph.initializer if one.name == name]
    value = numpy_helper.to_array(found).copy()
    edit(value)
    found.CopyFrom(numpy_helper.from_array(value, name))
    onnx.save_model(model, str(path))


def one_up(value: Any) -> None:
    value.flat[-1] = (
        np.nextafter(value.flat[-1], value.dtype.type(np.inf)) if value.dtype.kind == "f" else (value.flat[-1] + 1)
    )


@pytest.mark.parametrize(
    "name", ["leaf_value", "base_scores", "leaf_at", "edges_0", "test_rank_3", "test_source_2", "missing_rank"]
)
def test_one_number_that_is_off_is_seen_in_the_node_table(name: str, tmp_path: Path) -> None:
    program = program_of(random_forest(3, trees=9, depth=6))
    made, backend = built(program, tmp_path), TensorTrees()
    assert isinstance(made, Artifact)

    def edit(value: Any) -> None:
        if name == "edges_0":
            value[0, 0] = np.nextafter(value[0, 0], np.float32(np.inf))
        elif name == "missing_rank":
            value[:] = np.where(value, 0, 3)
        elif name.startswith("test_"):
            value[:] = (value + 1) % 2
        else:
            one_up(value)

    changed(tmp_path / made.model_file, name, edit)
    table = backend.node_table(made, tmp_path, program)
    assert table is not None
    assert parity.different(*table) > 0


def test_a_graph_without_its_parts_is_refused(tmp_path: Path) -> None:
    program = program_of(random_forest(3))
    made, backend = built(program, tmp_path), TensorTrees()
    assert isinstance(made, Artifact)
    path = tmp_path / made.model_file
    whole = onnx.load_model(str(path))
    for one in whole.graph.initializer:
        if one.name == "leaf_value":
            one.name = "something_else"
    onnx.save_model(whole, str(path))
    with pytest.raises(ModelError, match="lacks the constant leaf_value"):
        backend.node_table(made, tmp_path, program)
    del whole.graph.node[:]
    onnx.save_model(whole, str(path))
    with pytest.raises(ModelError, match="expected one tensor called leaf in the artifact, found 0"):
        backend.leaves(made, tmp_path, hard_rows(1, 3, 5))


def test_ranks_are_counts_of_thresholds_passed() -> None:
    column = np.array([1, 0, 1, 1, 1])
    found = rank(column, np.array([2, 7, -0.0, 0.0, 2], np.float32), 3)
    assert found.counts.tolist() == [1, 2, 0]
    assert found.thresholds.tolist() == [7, 0, 2]
    assert found.place.tolist() == [1, 0, 0, 0, 1]
