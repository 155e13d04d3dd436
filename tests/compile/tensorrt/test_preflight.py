"""TensorRT-RTX itself, on a CPU: which graphs build for which GPU, and who is to blame where one doesn't."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from models import graphs
from models.forests import program_of, random_forest, source_of
from models.typed_graphs import cancelling

from millwork import targets, triton_releases
from millwork.compile.backends.base import Artifact
from millwork.compile.backends.tensor.trees import TensorTrees
from millwork.compile.backends.tensorrt import preflight
from millwork.compile.precision import fp16, int8
from millwork.compile.precision.lowering import Lowering
from millwork.environments import Environment
from millwork.values.tensorrt_plan import Preflight
from millwork.worker import Limits

PROFILES = ((1, 1, 1), (2, 64, 4096))
LIMITS = Limits(seconds=300.0, memory_bytes=8 << 30)


def ask(onnx: Path, target: str, rtx: Environment) -> Preflight:
    folder = onnx.with_name(f"{onnx.stem}-{target}")
    folder.mkdir()
    found = preflight.ask(onnx, targets.find(target), PROFILES, folder, str(rtx.python), LIMITS)
    assert not (folder / "request.json").exists()
    return found


@pytest.mark.parametrize("target", ["a100", "a10g", "l4"])
def test_a_net_builds(target: str, rtx: Environment, tmp_path: Path) -> None:
    found = ask(graphs.mlp(tmp_path / "net.onnx"), target, rtx)
    assert found.verdict == "builds", found.reason
    assert found.compute_capability == targets.find(target).compute_capability
    assert found.builder == "1.7.1.116"
    assert found.bytes > 10_000
    assert found.build_s > 0
    assert found.memory_bytes, "the builder says how much memory it takes"
    assert f"builds for {target} (compute capability {found.compute_capability}" in preflight.words(found)


@pytest.mark.parametrize("make", [graphs.quantized, graphs.stump])
def test_int8_and_a_tree_of_plain_operators_build(make: object, rtx: Environment, tmp_path: Path) -> None:
    assert callable(make)
    found = ask(make(tmp_path / "graph.onnx"), "a100", rtx)
    assert found.verdict == "builds", found.reason


def test_float16_builds_for_a_t4_and_float32_is_left_to_it(rtx: Environment, tmp_path: Path) -> None:
    """A limit of TensorRT-RTX, not of the T4: nothing is said that wasn't seen."""
    assert ask(graphs.mlp(tmp_path / "half.onnx", half=True), "t4", rtx).verdict == "builds"
    found = ask(graphs.mlp(tmp_path / "net.onnx"), "t4", rtx)
    assert (found.verdict, found.node) == ("parses", "first")
    assert "compiles only float16 for 7.5" in found.reason


@pytest.mark.parametrize(("prepare", "target"), [(fp16.prepare, "t4"), (int8.prepare, "a100")])
def test_what_the_passes_of_precision_make_builds(
    prepare: Callable[..., Lowering], target: str, rtx: Environment, tmp_path: Path
) -> None:
    """With a layer kept in fp32 too, where there is code for it."""
    rows = {"input__0": np.random.default_rng(0).normal(size=(256, 32)).astype(np.float32)}
    made = prepare(cancelling(), rows, tmp_path)
    kept = () if target == "t4" else ("difference",)
    onnx.save_model(made.typed(kept), tmp_path / "typed.onnx")
    found = ask(tmp_path / "typed.onnx", target, rtx)
    assert found.verdict == "builds", found.reason


XGBOOST = {"trees": 6, "depth": 5, "categorical": 2, "comparison": "<", "dtype": np.float32}
CATBOOST = {"trees": 6, "depth": 4, "categorical": 0, "comparison": "<=", "dtype": np.float64}


@pytest.mark.parametrize(
    ("forest", "precision", "target", "verdict"),
    [
        *((XGBOOST, precision, "a100", "builds") for precision in ("fp32", "fp16", "int32")),
        *((CATBOOST, precision, "a100", "builds") for precision in ("fp32", "fp16", "int32")),
        (XGBOOST, "fp32", "l4", "builds"),
        (XGBOOST, "int32", "a10g", "builds"),
        (XGBOOST, "fp16", "t4", "builds"),
        (XGBOOST, "fp16", "h100", "parses"),
    ],
)
def test_trees_as_tensors_build_in_every_precision(
    forest: dict[str, Any], precision: str, target: str, verdict: str, rtx: Environment, tmp_path: Path
) -> None:
    """NaN and sets of categories, ranks in each type; sums of leaves are fp32 in all of them, on a T4 too."""
    program = program_of(random_forest(3, outputs=1, vector_leaves=False, **forest))
    made = TensorTrees(precision).build(program, source_of(), tmp_path, triton_releases.find("25.12"))
    assert isinstance(made, Artifact), made
    assert made.foreign == ()
    found = ask(tmp_path / made.model_file, target, rtx)
    assert found.verdict == verdict, found.reason


def test_an_h100_is_parsed_for_and_said(rtx: Environment, tmp_path: Path) -> None:
    found = ask(graphs.mlp(tmp_path / "net.onnx"), "h100", rtx)
    assert (found.verdict, found.built_for) == ("parses", "8.9")
    assert "no code for 9.0: its parser accepts every operator, and it builds for 8.9" in found.reason


@pytest.mark.parametrize("target", ["a100", "h100"])
def test_the_nodes_to_blame_are_named(target: str, rtx: Environment, tmp_path: Path) -> None:
    found = ask(graphs.unsupported(tmp_path / "net.onnx"), target, rtx)
    assert (found.verdict, found.node, found.operator) == ("refused", "draw", "Bernoulli")
    assert found.reason == "Bernoulli 'draw': TensorRT has no such operator (and 1 more)"


def test_what_is_no_model_is_refused(rtx: Environment, tmp_path: Path) -> None:
    garbage = tmp_path / "net.onnx"
    garbage.write_bytes(b"garbage")
    found = ask(garbage, "a100", rtx)
    assert found.verdict == "refused"
    assert "Failed to parse the ONNX model" in found.reason


def test_a_second_free_axis_is_refused_by_its_name(rtx: Environment, tmp_path: Path) -> None:
    import onnx

    path = graphs.stump(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "F"
    onnx.save(model, path)
    found = ask(path, "a100", rtx)
    assert found.verdict == "refused"
    assert "input 'input__0' is [-1, -1]: only the first axis may vary" in found.reason


def test_a_compiler_that_dies_is_unknown(tmp_path: Path) -> None:
    """Here: an interpreter that has no TensorRT-RTX."""
    folder = tmp_path / "work"
    folder.mkdir()
    onnx = graphs.mlp(tmp_path / "net.onnx")
    found = preflight.ask(onnx, targets.find("a100"), PROFILES, folder, sys.executable, LIMITS)
    assert found.verdict == "unknown"
    assert "tensorrt_rtx" in found.reason
