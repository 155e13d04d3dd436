"""Lower precisions of a net: as right as they can be, TensorRT's kind, and refused where a tool did nothing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.typed_graphs import FEATURES, Graph, Trained, cancelling, plain, scaled_mlp
from onnx import TensorProto, helper

from millwork import worker
from millwork.compile.precision import fp16, int8, layers, mixed
from millwork.compile.precision.gap import USUAL, Gap, Limit, gap, judge
from millwork.compile.precision.lowering import Lowering, NotLoweredError, Refused
from millwork.compile.precision.precision_steps import TYPED_FILE, PrecisionReply, PrecisionRequest
from millwork.compile.precision.rows import apart
from millwork.compile.precision.run_graph import Feeds, answers, some
from millwork.passes.graph.precision import LayerKind, census, kinds, lowered, named, products
from millwork.values import LayerCost

PREPARE = {"fp16": fp16.prepare, "int8": int8.prepare}


def normal(count: int, features: int = FEATURES, seed: int = 0) -> Feeds:
    return {"input__0": np.random.default_rng(seed).normal(size=(count, features)).astype(np.float32)}


def prepared(precision: str, model: onnx.ModelProto, rows: Feeds, folder: Path) -> Lowering:
    made = PREPARE[precision](model, rows, folder)
    assert isinstance(made, Lowering), made
    return made


@pytest.fixture(scope="module")
def trained() -> Trained:
    return scaled_mlp()


@pytest.fixture(scope="module")
def parts(trained: Trained) -> tuple[Feeds, Feeds]:
    calibration, judging = apart(len(trained.rows))
    rows = {"input__0": trained.rows}
    return some(rows, calibration), some(rows, judging)


# ── what is lowered and what isn't ────────────────────────────────────────────────────────────────────────


def residual() -> onnx.ModelProto:
    """scale -> gemm -> relu -> gemm + a residual sum -> layer norm -> matmul + bias -> mean."""
    rng = np.random.default_rng(0)
    graph = Graph(FEATURES)
    square = rng.normal(size=(FEATURES, FEATURES)) / 6
    graph.add("Mul", "scale", graph.constant("by", np.full(FEATURES, 0.5, np.float32)))
    graph.gemm("up", square)
    skip = graph.add("Relu", "relu")
    graph.gemm("down", square)
    graph.add("Add", "sum", skip)
    graph.add("LayerNormalization", "norm", graph.constant("gain", np.ones(FEATURES, np.float32)))
    graph.add("MatMul", "out", graph.constant("out.weight", square.astype(np.float32)))
    graph.add("Add", "bias", graph.constant("out.bias", np.ones(FEATURES, np.float32)))
    graph.add("ReduceMean", "mean", graph.constant("axes", np.array([1])), keepdims=1)
    return graph.model(1)


def test_sums_norms_and_input_scaling_stay_fp32() -> None:
    model = residual()
    kind = kinds(model)
    assert {name for name, found in kind.items() if found is LayerKind.KEPT} == {"sum", "norm", "mean"}
    assert lowered(model, ()) == {"up", "relu", "down", "out", "bias"}, "scale comes before the first product"
    assert lowered(model, {"up"}) == {"down", "out", "bias"}, "what follows a kept product is kept with it"


def test_fp16_changes_those_nodes_and_no_other(tmp_path: Path) -> None:
    made = prepared("fp16", residual(), normal(64), tmp_path)
    typed = made.typed(())
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in onnx.shape_inference.infer_shapes(typed).graph.value_info
    }
    first = {node.name: types.get(node.output[0]) for node in typed.graph.node}
    halves = {name for name, kind in first.items() if kind == TensorProto.FLOAT16 and "cast" not in name}
    assert halves == {"up", "relu", "down", "out", "bias"}
    assert typed.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert typed.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_nodes_without_a_name_or_with_the_same_get_their_own() -> None:
    model = plain(16, 16, 16)
    for node in model.graph.node:
        node.name = "" if node.op_type == "Relu" else "same"
    names = [node.name for node in named(model).graph.node]
    assert len(set(names)) == len(names)
    assert all(names)
    assert {node.name for node in model.graph.node} == {"", "same"}, "the model given is as it was"


# ── how right it is ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("precision", "agrees", "error"), [("fp16", 0.998, 0.002), ("int8", 0.98, 0.08)])
def test_a_feature_x1000_and_a_skewed_one(
    precision: str, agrees: float, error: float, trained: Trained, parts: tuple[Feeds, Feeds], tmp_path: Path
) -> None:
    """Plain float16 passes agree with fp32 on 67 to 85% of such a net's rows, ModelOpt's int8 with its defaults on 42
    to 78%."""
    calibration, judging = parts
    made = prepared(precision, trained.model, calibration, tmp_path)
    found = layers.measured(made, (), judge(trained.model, judging, USUAL[precision], "softmax"))
    assert 1 - found.flips >= agrees
    assert found.error <= error
    assert USUAL[precision].holds(found)
    assert census(made.typed(())).products["linear_4"] == precision


def test_clipping_the_few_largest_is_what_makes_int8_right(
    trained: Trained, parts: tuple[Feeds, Feeds], tmp_path: Path
) -> None:
    calibration, judging = parts
    made = prepared("int8", trained.model, calibration, tmp_path)
    names = [layer.name for layer in made.layers]
    whole = int8.quantize(tmp_path / "fp32.onnx", names, calibration, int8.ALL)
    judged = judge(trained.model, judging, USUAL["int8"], "softmax")
    assert layers.measured(made, (), judged).error < 0.6 * judged.of(whole).error


def test_the_same_rows_make_the_same_graph(trained: Trained, parts: tuple[Feeds, Feeds], tmp_path: Path) -> None:
    for precision in PREPARE:
        one, other = (
            prepared(precision, trained.model, parts[0], tmp_path).typed(()).SerializeToString(deterministic=True)
            for _ in range(2)
        )
        assert one == other, precision


@given(st.integers(2, 9000), st.integers(0, 3))
def test_calibration_is_apart_from_judging(count: int, seed: int) -> None:
    calibration, judging = apart(count, seed=seed)
    assert len(calibration)
    assert len(judging)
    assert not set(calibration) & set(judging)
    assert set(calibration) | set(judging) <= set(range(count))
    assert np.array_equal(calibration, apart(count, seed=seed)[0])


@pytest.mark.parametrize("precision", PREPARE)
def test_a_graph_with_every_layer_kept_is_fp32s_own(precision: str, tmp_path: Path) -> None:
    """A value that a quantized layer and a residual sum take: the sum must have it as it was."""
    model, rows = residual(), normal(64)
    made = prepared(precision, model, rows, tmp_path)
    assert np.array_equal(answers(made.typed([layer.name for layer in made.layers]), rows), answers(model, rows))
    if precision == "int8":
        inputs = {node.name: list(node.input) for node in made.typed(()).graph.node}
        assert inputs["sum"] == ["down_out", "relu_out"]
        assert inputs["down"][0] != "relu_out"


def test_int8_for_a_cpu_runs_on_int8_kernels(tmp_path: Path) -> None:
    """It has them for unsigned activations and int32 biases; of TensorRT's kind it computes in fp32. Layers are
    kept there as well, and the fused kernels answer what the graph says."""
    model, rows = plain(64, 64, 64, 64), normal(256, 64)
    found: dict[bool, Lowering] = {}
    for symmetric in (True, False):
        made = int8.prepare(model, rows, tmp_path, symmetric=symmetric)
        assert isinstance(made, Lowering)
        found[symmetric] = made
    assert "QGemm" not in kernels(found[True].typed(()), tmp_path)
    assert kernels(found[False].typed(()), tmp_path).count("QGemm") == len(found[False].layers)
    for kept in (), ("gemm_1",), ("gemm_0", "gemm_1", "gemm_2"):
        typed = found[False].typed(kept)
        assert {name for name, own in census(typed).products.items() if own == "fp32"} == set(kept)
        engine = onnxruntime.InferenceSession(typed.SerializeToString(), providers=["CPUExecutionProvider"])
        assert np.allclose(engine.run(None, rows)[0], answers(typed, rows), atol=1e-4)
        assert judge(model, rows, USUAL["int8"]).of(typed).error <= 0.05


def kernels(model: onnx.ModelProto, folder: Path) -> list[str]:
    """What ONNX Runtime makes of the graph."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3  # it says that the file is for this machine
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load_model(folder / "optimized.onnx").graph.node]


# ── mixed precision ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("precision", PREPARE)
def test_the_layer_to_blame_is_kept_and_no_other(precision: str, tmp_path: Path) -> None:
    model = cancelling()
    made = prepared(precision, model, normal(512), tmp_path)
    judged = judge(model, normal(512, seed=1), USUAL[precision])
    costs = layers.sensitivity(made, judged)
    assert costs[0].name == "difference"
    assert costs[0].error > 10 * costs[1].error
    measure = lambda kept: layers.measured(made, kept, judged)  # noqa: E731
    mixture = mixed.search(lambda: costs, measure, USUAL[precision].holds)
    assert mixture is not None
    assert mixture.kept == {"difference"}
    assert mixture.unmixed.outside > 0.5
    assert mixture.gap.outside <= USUAL[precision].outside
    typed = made.typed(mixture.kept)
    assert census(typed).products == {
        name: "fp32" if name == "difference" or name in made.excluded else precision for name in census(model).products
    }
    assert not any("difference" in name.name for name in typed.graph.initializer if name.data_type != TensorProto.FLOAT)


def outside(share: float) -> Limit:
    return Limit(near=0.1, relative=0.1, outside=share, flips=0.0)


def cost(name: str, error: float) -> LayerCost:
    return LayerCost(name=name, operator="Gemm", error=error)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.floats(0, 1))
def test_the_search_keeps_the_fewest_and_ends(errors: list[float], limit: float) -> None:
    """Where errors are a maximum over layers, the fewest are those above the limit."""
    costs = sorted((cost(str(i), error) for i, error in enumerate(errors)), key=lambda one: -one.error)
    asked: list[frozenset[str]] = []

    def measure(kept: Collection[str]) -> Gap:
        asked.append(frozenset(kept))
        worst = max((one.error for one in costs if one.name not in kept), default=0.0)
        return Gap(error=worst, worst=worst, outside=worst)

    found = mixed.search(lambda: costs, measure, outside(limit).holds)
    above = {one.name for one in costs if one.error > limit}
    assert len(asked) <= mixed.MOST_TRIES
    assert len(set(asked)) == len(asked), "nothing is measured twice"
    if len(above) == len(costs):
        assert found is None, "nothing would be left to lower"
    else:
        assert found is not None
        assert found.kept == above


def test_layers_that_needed_company_are_lowered_again() -> None:
    """The cheapest of them alone is to blame: the dearer ones were kept on the way there."""
    costs = [cost("a", 0.9), cost("b", 0.5), cost("c", 0.1), cost("d", 0.01)]
    found = mixed.search(
        lambda: costs, lambda kept: Gap(error=0.0, worst=0.0, outside=0.0 if "c" in kept else 1.0), outside(0.1).holds
    )
    assert found is not None
    assert found.kept == {"c"}


# ── fail closed ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_tool_that_did_nothing_is_found_out(tmp_path: Path) -> None:
    for precision in PREPARE:
        idle = prepared(precision, plain(32, 32, 32, 32), normal(64), tmp_path)
        idle = replace(idle, build=lambda _, model=idle.model: model)
        with pytest.raises(NotLoweredError, match=f"3 of 3 layers didn't become {precision}: gemm_0, gemm_1, gemm_2"):
            idle.typed(())


def test_a_tool_that_skipped_a_layer_is_found_out(tmp_path: Path) -> None:
    made = prepared("int8", plain(32, 32, 32, 32), normal(64), tmp_path)
    lazy = replace(made, build=lambda _: made.build({"gemm_1"}))
    with pytest.raises(NotLoweredError, match="1 of 3 layers didn't become int8: gemm_1"):
        lazy.typed(())
    with pytest.raises(NotLoweredError, match="1 of 2 layers didn't become int8: gemm_1"):
        lazy.typed({"gemm_0"})
    with pytest.raises(NotLoweredError, match="1 layers should have stayed fp32 and didn't: gemm_2"):
        replace(made, build=lambda _: made.build(())).typed({"gemm_2"})


def test_a_zero_point_that_tensorrt_refuses_is_found_out(tmp_path: Path) -> None:
    made = prepared("int8", plain(32, 32, 32), normal(64), tmp_path)
    typed = made.typed(())
    (quantizer, *_) = [node for node in typed.graph.node if node.op_type == "QuantizeLinear"]
    for constant in typed.graph.initializer:
        if constant.name == quantizer.input[2]:
            constant.CopyFrom(helper.make_tensor(constant.name, TensorProto.INT8, [], [3]))
    with pytest.raises(NotLoweredError, match=quantizer.name):
        replace(made, build=lambda _: typed).typed(())


def test_another_output_type_is_found_out(tmp_path: Path) -> None:
    made = prepared("fp16", plain(32, 32, 32), normal(64), tmp_path)
    typed = made.typed(())
    typed.graph.node[-1].attribute[0].i = TensorProto.FLOAT16
    typed.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(NotLoweredError, match="inputs or outputs of the fp16 graph have changed"):
        replace(made, build=lambda _: typed).typed(())


def test_infinity_in_an_answer_is_never_accepted() -> None:
    reference = np.zeros((4, 2), np.float32)
    given_ = reference.copy()
    given_[2, 1] = np.inf
    found = gap(reference, given_, outside(1.0))
    assert found.odd_row == 2
    assert not Limit(near=9e9, relative=9e9, outside=1.0, flips=1.0).holds(found)
    reference[2, 0] = np.nan
    assert gap(reference, given_, outside(1.0)).odd_row is None, "fp32 has none for this row either"


def test_values_beyond_float16_keep_their_layer(tmp_path: Path) -> None:
    rows = normal(64)
    rows["input__0"][:, 3] *= 1e6
    made = PREPARE["fp16"](plain(32, 32), rows, tmp_path)
    assert isinstance(made, Refused)
    assert "gemm_0 works on values up to" in made.reason
    model = plain(32, 32, 32)
    large = np.frombuffer(model.graph.initializer[2].raw_data, np.float32).copy()
    large[0] = 1e5
    model.graph.initializer[2].raw_data = large.tobytes()
    found = prepared("fp16", model, normal(64), tmp_path)
    assert [layer.name for layer in found.layers] == ["gemm_0"]
    assert "constant of 1e+05, larger than float16 holds" in found.excluded["gemm_1"]


def test_narrow_layers_arent_meant_for_int8(tmp_path: Path) -> None:
    made = prepared("int8", plain(15, 32, 32, 15), normal(64, 15), tmp_path)
    assert [layer.name for layer in made.layers] == ["gemm_1"]
    assert "gemm_0 is 15 x 32" in made.excluded["gemm_0"]
    refused = PREPARE["int8"](plain(15, 32, 3), normal(64, 15), tmp_path)
    assert isinstance(refused, Refused)
    assert "no layer of the net can be lowered: gemm_0 is 15 x 32, and below 16" in refused.reason
    assert [layer.narrow for layer in products(plain(16, 16))] == [False]


# ── the step, in its process ──────────────────────────────────────────────────────────────────────────────


def step(
    precision: str, model: onnx.ModelProto, folder: Path, limit: Limit, rows: tuple[Feeds, Feeds]
) -> PrecisionReply:
    onnx.save_model(model, folder / "model.onnx")
    for name, feeds in zip(("calibration", "judging"), rows, strict=True):
        np.savez(folder / f"{name}.npz", **feeds)
    work = folder / "work"
    work.mkdir()
    request = PrecisionRequest(
        graph=str(folder / "model.onnx"),
        precision=precision,
        calibration=str(folder / "calibration.npz"),
        judging=str(folder / "judging.npz"),
        limit=limit,
    )
    done = worker.run(
        "millwork.compile.precision.precision_steps:lower", request, PrecisionReply, folder=work, threads=1
    )
    assert isinstance(done, worker.Done), done
    return done.value


@pytest.mark.parametrize("precision", PREPARE)
def test_the_step_says_what_was_kept_and_what_it_cost(precision: str, tmp_path: Path) -> None:
    calibration = normal(300)
    calibration["input__0"][7] = np.nan
    reply = step(precision, cancelling(), tmp_path, USUAL[precision], (calibration, normal(300, seed=1)))
    assert not reply.refused
    assert [cost.name for cost in reply.layers if cost.kept] == ["difference"]
    assert reply.note is not None
    assert "kept fp32: difference, which brings the worst error from" in reply.note.summary
    typed = onnx.load_model(tmp_path / "work" / TYPED_FILE)
    assert census(typed).products["first"] == precision
    assert reply.gap == judge(cancelling(), normal(300, seed=1), USUAL[precision]).of(typed)


def test_the_step_refuses_what_it_cant_keep(tmp_path: Path) -> None:
    reply = step(
        "int8",
        plain(32, 32, 32),
        tmp_path,
        Limit(near=1e-9, relative=0, outside=0, flips=0),
        (normal(300), normal(300, seed=1)),
    )
    assert reply.refused.startswith("int8: no choice of layers keeps all but 0.00% of the rows within 1e-09 of")
    assert {cost.name for cost in reply.layers} == {"gemm_0", "gemm_1"}
    assert not (tmp_path / "work" / TYPED_FILE).exists()


def test_the_step_refuses_rows_without_a_finite_one(tmp_path: Path) -> None:
    rows = {"input__0": np.full((8, 32), np.nan, np.float32)}
    reply = step("fp16", plain(32, 32, 32), tmp_path, USUAL["fp16"], (rows, rows))
    assert reply.refused == "fp16: no row can be used for calibration: all have values or answers that aren't finite"
