"""Graphs rewritten for ONNX Runtime's CPU kernels: the same numbers, NaN and infinities among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from millwork.passes import pass_table
from millwork.passes.base import run

Nodes = list[onnx.NodeProto]
RNG = np.random.default_rng(7)


def graph(
    nodes: Nodes, constants: dict[str, npt.NDArray[Any]], takes: list[int | str], gives: list[int | str]
) -> onnx.ModelProto:
    inner = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def asked(model: onnx.ModelProto, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: npt.NDArray[np.float32] = session.run(None, {"x": x})[0]
    return found


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def floats(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.normal(size=shape).astype(np.float32)


def odd_rows(*shape: int) -> npt.NDArray[np.float32]:
    """Rows of which some hold a NaN, an infinity or a number near float32's largest."""
    x = floats(*shape)
    for k, value in enumerate([np.nan, np.inf, -np.inf, 3e38]):
        x[2 * k + 1].flat[k % x[0].size] = value
    return x


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node]


def same(model: onnx.ModelProto, x: npt.NDArray[np.float32], rtol: float = 2e-6) -> onnx.ModelProto:
    """The graph rewritten, whose answers at every batch are the given one's."""
    result = run(pass_table.FOR_CPU, model)
    rewritten = result.program
    assert any(note.modified for note in result.notes)
    for rows in (x, x[:1], x[:0], x[:7]):
        expected = asked(model, rows)
        np.testing.assert_allclose(asked(rewritten, rows), expected, rtol=rtol, atol=1e-5)
    return rewritten


def stays(model: onnx.ModelProto) -> bool:
    """Whether no pass finds anything: then it is the very graph that was given."""
    result = run(pass_table.FOR_CPU, model)
    return result.program is model and not any(note.modified for note in result.notes)


EMBEDDED: Nodes = [node("Unsqueeze", "x last", "x3"), node("Mul", "w x3", "scaled"), node("Add", "scaled b", "tokens")]


def embedding(nodes: Nodes, gives: int, **constants: npt.NDArray[Any]) -> onnx.ModelProto:
    """Five features embedded into six numbers each, and what comes after."""
    return graph(
        [*EMBEDDED, *nodes],
        {"last": np.array([2]), "w": floats(5, 6), "b": floats(5, 6), **constants},
        ["N", 5],
        ["N", gives],
    )


HEAD = {"flat": np.array([-1, 30]), "head": floats(3, 30), "bias": floats(3)}


def test_numbers_are_embedded_with_the_batch_last() -> None:
    model = embedding(
        [
            node("Relu", "tokens", "act"),
            node("Sin", "scaled", "sine"),
            node("Add", "act sine", "sum"),
            node("Reshape", "sum flat", "row"),
            node("Gemm", "row head bias", "y", transB=1),
        ],
        3,
        **HEAD,
    )
    found = same(model, odd_rows(12, 5))
    assert operators(found)[0] == "Transpose"
    assert [a.i for a in found.graph.node[-1].attribute if a.name == "transA"] == [1]


def test_slices_parts_and_products_by_feature_keep_the_batch_last() -> None:
    """As a piecewise-linear embedding has them."""
    model = embedding(
        [
            node("Slice", "tokens zero one last one", "first"),
            node("Clip", "first  top", "low"),
            node("Slice", "tokens one end last one", "others"),
            node("Concat", "low others", "both", axis=-1),
            node("Transpose", "both", "by_feature", perm=[1, 0, 2]),
            node("MatMul", "by_feature each", "product"),
            node("Transpose", "product", "back", perm=[1, 0, 2]),
            node("Relu", "back", "act"),
            node("Reshape", "act flat", "row"),
            node("MatMul", "row wide", "y"),
        ],
        4,
        zero=np.array([0]),
        one=np.array([1]),
        end=np.array([6]),
        top=np.float32(0.5).reshape(()),
        each=floats(5, 6, 6),
        flat=np.array([-1, 30]),
        wide=floats(30, 4),
    )
    model.graph.node[4].input[:] = ["first", "", "top"]
    assert operators(same(model, odd_rows(12, 5))).count("Transpose") == 1


@pytest.mark.parametrize(
    "unknown",
    [
        [node("Softmax", "tokens", "soft", axis=-1), node("Reshape", "soft flat", "row")],
        [node("Reshape", "tokens across", "other"), node("Reshape", "other flat", "row")],
        [node("Slice", "tokens zero one zero one", "some"), node("Reshape", "some flat", "row")],
        [
            node("MatMul", "tokens square", "mixed"),
            node("Transpose", "mixed", "turned", perm=[0, 2, 1]),
            node("Reshape", "turned flat", "row"),
        ],
        [node("Add", "tokens other_x", "mixed"), node("Reshape", "mixed flat", "row")],
    ],
    ids=["softmax", "another shape", "some rows", "another order", "another input"],
)
def test_what_the_layout_is_not_known_for_changes_nothing(unknown: Nodes) -> None:
    model = embedding(
        [node("Reshape", "x ones", "other_x"), *unknown, node("Gemm", "row head bias", "y", transB=1)],
        3,
        **HEAD,
        across=np.array([-1, 3, 10]),
        zero=np.array([0]),
        one=np.array([1]),
        square=floats(6, 6),
        ones=np.array([-1, 5, 1]),
    )
    assert stays(model)


@pytest.mark.parametrize(
    ("shape", "axis", "keepdims"), [((3, 8), 1, 0), ((3, 8), -2, 1), ((1, 4), 1, 0), ((8, 2), 1, 1)]
)
def test_a_short_sum_is_additions(shape: tuple[int, int], axis: int, keepdims: int) -> None:
    gives: list[int | str] = ["N", 1, shape[1]] if keepdims else ["N", shape[1]]
    model = graph(
        [node("ReduceSum", "x axes", "y", keepdims=keepdims)], {"axes": np.array([axis])}, ["N", *shape], gives
    )
    assert "ReduceSum" not in operators(same(model, odd_rows(12, *shape)))


@pytest.mark.parametrize(("shape", "axis"), [((3, 8), 2), ((9, 8), 1), ((3, 8), 0)])
def test_other_sums_stay(shape: tuple[int, int], axis: int) -> None:
    gives: list[int | str] = ["N", *shape]
    gives[axis] = 1
    model = graph([node("ReduceSum", "x axes", "y")], {"axes": np.array([axis])}, ["N", *shape], gives)
    assert stays(model)


def test_a_sum_of_rows_that_vary_stays() -> None:
    model = graph([node("ReduceSum", "x axes", "y")], {"axes": np.array([1])}, ["N", "M", 4], ["N", 1, 4])
    assert stays(model)


def test_pairs_of_a_product_with_itself_are_multiplied_alone() -> None:
    pairs = np.array([[0, 1], [0, 2], [1, 2], [2, 2]])
    model = graph(
        [
            node("Transpose", "x", "flipped", perm=[0, 2, 1]),
            node("MatMul", "x flipped", "product"),
            node("Transpose", "product", "first", perm=[1, 2, 0]),
            node("GatherND", "first pairs", "picked"),
            node("Transpose", "picked", "y", perm=[1, 0]),
        ],
        {"pairs": pairs},
        ["N", 3, 8],
        ["N", 4],
    )
    assert "MatMul" not in operators(same(model, floats(12, 3, 8)))
    for k, changed in ((0, [1, 0, 2]), (2, [2, 1, 0])):
        other = onnx.ModelProto()
        other.CopyFrom(model)
        other.graph.node[k].attribute[0].ints[:] = changed
        del other.graph.input[0].type.tensor_type.shape.dim[:], other.graph.output[0].type.tensor_type.shape.dim[:]
        assert "MatMul" in operators(run(pass_table.FOR_CPU, other).program)


def test_a_size_that_is_known_is_a_constant() -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape one", "width"),
        node("Reshape", "width flat", "k"),
        node("TopK", "x k", "y"),
    ]
    nodes[3].output.append("order")
    found = same(graph(nodes, {"one": np.array(1), "flat": np.array([1])}, ["N", 5], ["N", 5]), odd_rows(12, 5))
    assert operators(found) == ["Reshape", "TopK"]


def test_a_size_that_varies_is_still_asked() -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "rows"),
        node("Cast", "rows", "count", to=1),
        node("Mul", "x count", "y"),
    ]
    model = graph(nodes, {"zero": np.array(0)}, ["N", 5], ["N", 5])
    assert stays(model)
