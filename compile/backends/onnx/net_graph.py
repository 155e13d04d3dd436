"""A net's graph made whole: inputs guarded before it, and the framework's answer after it, always in float32.

``input__1`` [N, C] -> the row's codes, or those of a row that the net knows where it doesn't know them -> the net ->
``margin`` -> the answer -> NaN where a code was unknown -> ``output__0``; the same of ``input__0`` where codes are made
of numbers, or the framework fails on NaN and infinities.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ....passes.net import ANSWERED, CODES, NUMBERS, Interface, Net, limits
from ....triton_releases import Release
from .answer import Tail, answered
from .encoders import Graph, scalar

KNOWN, FINITE, LOOKED_UP = "known_codes", "finite_numbers", "known_numbers"
NEWEST_IR = 10


def finished(net: Net, release: Release) -> onnx.ModelProto:
    """The whole model, checked, at the IR version that ``release`` reads. ``net``'s own graph isn't changed."""
    face = net.interface
    model = onnx.ModelProto()
    model.CopyFrom(net.graph)
    del model.metadata_props[:]
    model.producer_name = "millwork"
    before, after = Graph(), Graph()
    guarded = {}
    odd = []
    if net.guard is not None:
        guarded = _guard_places(before, net.guard, face)
        odd.append(before.add("Not", [ANSWERED], "has_unknown"))
    elif any(face.code_counts):
        guarded[CODES] = KNOWN
        odd.append(_guard_codes(before, face))
    if face.finite and face.features:
        guarded[NUMBERS] = _guard_numbers(before, guarded.get(NUMBERS, NUMBERS), odd)
    for node in model.graph.node:
        node.input[:] = [guarded.get(name, name) for name in node.input]
    answered(Tail(face.answer, face.outputs, face.decision), after, "answer" if odd else "output__0")
    if odd:
        either = odd[0] if len(odd) == 1 else after.add("Or", odd, "is_odd")
        nan, nothing = after.constant("nan", scalar(np.nan)), after.constant("nothing", scalar(-0.0))
        after.add("Where", [either, nan, nothing], "nan_if_odd")  # [N, 1]: a Where of [N, K] takes three times as long
        after.add("Add", ["answer", "nan_if_odd"], "output__0")
    own = list(model.graph.node)
    del model.graph.node[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend([*before.nodes, *own, *after.nodes])
    model.graph.initializer.extend([*before.constants.values(), *after.constants.values()])
    model.graph.output.append(helper.make_tensor_value_info("output__0", TensorProto.FLOAT, ["N", face.n_answers]))
    model.ir_version = min(model.ir_version, release.onnx.ir, NEWEST_IR)
    onnx.checker.check_model(model, full_check=True)
    return model


def _guard_codes(graph: Graph, face: Interface) -> str:
    """Make ``known_codes`` [N, C]; the name of whether a row has an unknown one, [N, 1]. A lookup would fail beyond a
    table, and begin again from its end below 0."""
    low, last = limits(face.code_counts, face.code_lows)
    graph.add("GreaterOrEqual", [CODES, graph.constant("code_lows", low[None])], "is_code")
    graph.add("LessOrEqual", [CODES, graph.constant("last_codes", last[None])], "is_below")
    graph.add("And", ["is_code", "is_below"], "is_known")
    graph.add("Cast", ["is_known"], "knows", to=TensorProto.FLOAT)
    graph.add("ReduceMin", ["knows", graph.constant("across", np.array([1]))], "knows_all", keepdims=1)
    unknown = graph.add("Less", ["knows_all", graph.constant("half", scalar(0.5))], "has_unknown")
    graph.add("Where", [unknown, _safe(graph, face, CODES), CODES], KNOWN)
    return unknown


def _guard_places(graph: Graph, guard: onnx.ModelProto, face: Interface) -> dict[str, str]:
    """The guard's own nodes, and rows that the net knows in place of those that it doesn't: what stands for each
    input."""
    graph.nodes.extend(guard.graph.node)
    graph.constants.update({constant.name: constant for constant in guard.graph.initializer})
    guarded = {own.name: {CODES: KNOWN, NUMBERS: LOOKED_UP}[own.name] for own in guard.graph.input}
    for name, safe in guarded.items():
        graph.add("Where", [ANSWERED, name, _safe(graph, face, name)], safe)
    return guarded


def _safe(graph: Graph, face: Interface, name: str) -> str:
    """A row that the framework answers, [1, F] or [1, C]."""
    if name == CODES:
        return graph.constant("a_codes_row", np.array([face.safe_codes], np.int64))
    return graph.constant("a_numbers_row", np.array([face.safe_numbers], np.float32))


def _guard_numbers(graph: Graph, numbers: str, odd: list[str]) -> str:
    """The same of numbers that aren't finite: ``finite_numbers`` [N, F]."""
    graph.add("IsNaN", [NUMBERS], "is_nan")
    graph.add("IsInf", [NUMBERS], "is_infinite")
    graph.add("Or", ["is_nan", "is_infinite"], "is_no_number")
    graph.add("Cast", ["is_no_number"], "lacks", to=TensorProto.FLOAT)
    graph.add("ReduceMax", ["lacks", graph.constant("across", np.array([1]))], "lacks_any", keepdims=1)
    odd.append(graph.add("Greater", ["lacks_any", graph.constant("half", scalar(0.5))], "has_no_number"))
    return graph.add("Where", ["is_no_number", graph.constant("no_number", scalar(0)), numbers], FINITE)
