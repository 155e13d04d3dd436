"""From ``margin`` to ``output__0`` in plain ONNX operators: the framework's transform, then a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from ....passes.program import Decision, Postprocess, Program
from .encoders import Graph, scalar


@dataclass(frozen=True)
class Tail:
    """What is made of ``margin`` [N, ``outputs``]. ``doubles``: the framework's margins are doubles."""

    postprocess: Postprocess
    outputs: int
    decision: Decision | None = None
    doubles: bool = False

    @classmethod
    def of(cls, program: Program) -> Tail:
        doubles = program.forest.leaf_value.dtype != np.float32
        return cls(program.postprocess, program.forest.n_outputs, program.decision, doubles)


def answered(tail: Tail, graph: Graph, output: str = "output__0") -> None:
    """Append what turns ``margin`` [N, K] into ``output``."""
    answer = _answer(tail, graph)
    graph.add("Identity", [answer if tail.decision is None else _decided(tail.decision, answer, graph)], output)


def _answer(tail: Tail, graph: Graph) -> str:
    """Append what turns ``margin`` into the answer; the name of its result."""
    match tail.postprocess:
        case "binary" | "sigmoid":
            graph.constant("one", scalar(1))
            graph.add("Neg", ["margin"], "negative")
            graph.add("Exp", ["negative"], "odds_against")
            graph.add("Add", ["one", "odds_against"], "denominator")
            graph.add("Div", ["one", "denominator"], "p")
            return "p" if tail.postprocess == "sigmoid" else _pair(graph, "p", _other_class(tail, graph))
        case "hinge" | "binary-hinge":
            above = graph.add("Greater", ["margin", graph.constant("zero", scalar(0))], "is_above")
            value = graph.add("Cast", [above], "decision", to=TensorProto.FLOAT)
            return value if tail.postprocess == "hinge" else _pair(graph, value, _from_one(graph, value))
        case "binary-raw":
            return _pair(graph, "margin", _from_one(graph, "margin"))
        case "softmax":
            return graph.add("Softmax", ["margin"], "classes", axis=1)
        case "exp":
            return graph.add("Exp", ["margin"], "value")
        case "sort":
            count = graph.constant("count", np.array([tail.outputs]))
            graph.nodes.append(helper.make_node("TopK", ["margin", count], ["sorted", "order"], axis=1, largest=0))
            return "sorted"
        case "mean-variance":
            graph.add("Gather", ["margin", graph.constant("first", np.array([0]))], "mean", axis=1)
            graph.add("Gather", ["margin", graph.constant("second", np.array([1]))], "log_deviation", axis=1)
            graph.add("Exp", [graph.add("Add", ["log_deviation", "log_deviation"], "log_variance")], "variance")
            return graph.add("Concat", ["mean", "variance"], "moments", axis=1)
        case "identity":
            return "margin"


def _decided(decision: Decision, answer: str, graph: Graph) -> str:
    if decision.how == "largest":
        graph.add("ArgMax", [answer], "decided", axis=1, keepdims=1)
    else:
        if decision.how == "second":
            answer = graph.add("Gather", [answer, graph.constant("second", np.array([1]))], "second_class", axis=1)
        graph.add("Greater", [answer, graph.constant("cut", scalar(decision.cut))], "decided")
    return graph.add("Cast", ["decided"], "label", to=TensorProto.FLOAT)


def _pair(graph: Graph, value: str, other: str) -> str:
    return graph.add("Concat", [other, value], "classes", axis=1)


def _from_one(graph: Graph, value: str) -> str:
    return graph.add("Sub", [graph.constant("one", scalar(1)), value], "other_class")


def _other_class(tail: Tail, graph: Graph) -> str:
    """1 - p, as precise as the framework's own: XGBoost takes the float32 p from 1; CatBoost works in doubles, so
    that its small probabilities are exact, which 1 / (1 + Exp(margin)) is too."""
    if not tail.doubles:
        return _from_one(graph, "p")
    graph.add("Exp", ["margin"], "odds")
    graph.add("Add", ["one", "odds"], "other_denominator")
    return graph.add("Div", ["one", "other_denominator"], "not_p")
