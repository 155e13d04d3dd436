"""A net's graph made whole: inputs guarded before it, and the framework's answer after it, always in float32.

``input__1`` [N, C] -> codes that are known, a 0 for each that isn't -> the net -> ``margin`` -> the answer -> NaN where
a code was unknown -> ``output__0``; the same of ``input__0`` where the framework fails on NaN and infinities.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ....passes.net import CODES, NUMBERS, Net
from ....triton_releases import Release
from .answer import Tail, answered
from .encoders import Graph, scalar

KNOWN, FINITE = "known_codes", "finite_numbers"
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
    if face.codes:
        guarded[CODES] = KNOWN
        odd.append(_guard_codes(before, face.code_counts))
    if face.finite and face.features:
        guarded[NUMBERS] = FINITE
        odd.append(_guard_numbers(before))
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


def _guard_codes(graph: Graph, counts: tuple[int, ...]) -> str:
    """Make ``known_codes`` [N, C]; the name of whether a row has an unknown one, [N, 1]. A lookup would fail beyond a
    table, and begin again from its end below 0."""
    zero = graph.constant("no_code", np.zeros((1, 1), np.int64))
    limit = graph.constant("code_counts", np.array([counts], np.int64))
    graph.add("GreaterOrEqual", [CODES, zero], "is_code")
    graph.add("Less", [CODES, limit], "is_below")
    graph.add("And", ["is_code", "is_below"], "is_known")
    graph.add("Where", ["is_known", CODES, zero], KNOWN)
    graph.add("Cast", ["is_known"], "knows", to=TensorProto.FLOAT)
    graph.add("ReduceMin", ["knows", graph.constant("across", np.array([1]))], "knows_all", keepdims=1)
    return graph.add("Less", ["knows_all", graph.constant("half", scalar(0.5))], "has_unknown")


def _guard_numbers(graph: Graph) -> str:
    """The same of numbers that aren't finite: ``finite_numbers`` [N, F]."""
    graph.add("IsNaN", [NUMBERS], "is_nan")
    graph.add("IsInf", [NUMBERS], "is_infinite")
    graph.add("Or", ["is_nan", "is_infinite"], "is_no_number")
    graph.add("Where", ["is_no_number", graph.constant("no_number", scalar(0)), NUMBERS], FINITE)
    graph.add("Cast", ["is_no_number"], "lacks", to=TensorProto.FLOAT)
    graph.add("ReduceMax", ["lacks", graph.constant("across", np.array([1]))], "lacks_any", keepdims=1)
    return graph.add("Greater", ["lacks_any", graph.constant("half", scalar(0.5))], "has_no_number")
