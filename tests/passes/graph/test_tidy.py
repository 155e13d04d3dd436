"""What tidying takes out of a graph, what it leaves, and what it says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from millwork.passes.base import run
from millwork.passes.graph.tidy import Tidy
from millwork.values import PassNote


def graph(nodes: list[tuple[str, str, str]], *, domains: tuple[str, ...] = ("",), **held: Any) -> onnx.ModelProto:
    """``nodes``: operator, inputs, output. ``x`` [N, 2] -> ``y`` [N, 2]."""
    inner = helper.make_graph(
        [helper.make_node(operator, inputs.split(), [output]) for operator, inputs, output in nodes],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid(domain, 18 if not domain else 3) for domain in domains]
    return helper.make_model(inner, opset_imports=opsets, ir_version=8)


def tidied(model: onnx.ModelProto, *, keep_equal: bool = False) -> tuple[onnx.ModelProto, PassNote]:
    result = run([Tidy(keep_equal=keep_equal)], model)
    return result.program, result.notes[0]


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def constants(model: onnx.ModelProto) -> list[str]:
    return sorted(constant.name for constant in model.graph.initializer)


IDLE = [("Identity", "x", "same"), ("Relu", "same", "y"), ("Neg", "x", "unused")]


def test_copies_and_dead_ends_go() -> None:
    found, note = tidied(graph(IDLE))
    assert operators(found) == ["Relu"]
    assert note == PassNote(name="tidy", modified=True, summary="3 operators, 1 left")


def test_a_tidy_graph_is_left_alone() -> None:
    _, note = tidied(graph([("Relu", "x", "y")]))
    assert note == PassNote(name="tidy", modified=False, summary="1 operators, none of them idle")


EQUAL = [("Add", "x a", "one"), ("Add", "x b", "two"), ("Mul", "one two", "y")]


def test_equal_constants_and_equal_operators_are_held_once() -> None:
    found, _ = tidied(graph(EQUAL, a=[1, 2], b=[1, 2]))
    assert operators(found) == ["Add", "Mul"]
    assert constants(found) == ["a"]


def test_what_a_writer_named_is_kept_where_it_is_asked_for() -> None:
    found, note = tidied(graph([*EQUAL, ("Neg", "x", "unused")], a=[1, 2], b=[1, 2]), keep_equal=True)
    assert operators(found) == ["Add", "Add", "Mul"]
    assert constants(found) == ["a", "b"]
    assert note.name == "tidy(keep-equal)"


def test_a_change_that_leaves_as_many_operators_is_a_change_too() -> None:
    """A constant merged, an opset dropped: onnx-ir says so, the count of operators doesn't."""
    for model in (
        graph([("Add", "x a", "one"), ("Add", "one b", "y")], a=[1, 2], b=[1, 2]),
        graph([("Relu", "x", "y")], domains=("", "ai.onnx.ml")),
    ):
        _, note = tidied(model)
        assert (note.modified, note.summary.partition(",")[2]) == (True, " their constants, opsets or order tidied")


def test_shapes_that_an_exporter_wrote_are_dropped_and_the_given_graph_is_not_touched() -> None:
    model = graph([("Relu", "x", "z"), ("Neg", "z", "y")])
    model.graph.value_info.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2]))
    before = model.SerializeToString()
    found, _ = tidied(model)
    assert not found.graph.value_info
    assert model.SerializeToString() == before
