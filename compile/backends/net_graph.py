"""A net's graph made whole: codes guarded before it, and the framework's answer after it, always in float32.

``input__1`` [N, C] -> codes that are known, a 0 for each that isn't -> the net -> ``margin`` -> the answer -> NaN where
a code was unknown -> ``output__0``.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...passes.net import CODES, Net
from ...triton_releases import Release
from .onnx_answer import Tail, answered
from .onnx_encoders import Graph

KNOWN = "known_codes"
NEWEST_IR = 10


def finished(net: Net, release: Release) -> onnx.ModelProto:
    """The whole model, checked, at the IR version that ``release`` reads. ``net``'s own graph isn't changed."""
    face = net.interface
    model = onnx.ModelProto()
    model.CopyFrom(net.graph)
    del model.metadata_props[:]
    model.producer_name = "millwork"
    before, after = Graph(), Graph()
    if face.codes:
        _guard(before, face.code_counts)
        for node in model.graph.node:
            node.input[:] = [KNOWN if name == CODES else name for name in node.input]
    answered(Tail(face.answer, face.outputs, face.decision), after, "output__0" if not face.codes else "answer")
    if face.codes:
        nan = after.constant("nan", np.float32(np.nan))
        after.add("Where", ["has_unknown", nan, "answer"], "output__0")
    own = list(model.graph.node)
    del model.graph.node[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.node.extend([*before.nodes, *own, *after.nodes])
    model.graph.initializer.extend([*before.constants.values(), *after.constants.values()])
    model.graph.output.append(helper.make_tensor_value_info("output__0", TensorProto.FLOAT, ["N", face.n_answers]))
    model.ir_version = min(model.ir_version, release.onnx.ir, NEWEST_IR)
    onnx.checker.check_model(model, full_check=True)
    return model


def _guard(graph: Graph, counts: tuple[int, ...]) -> None:
    """``known_codes`` [N, C], and ``has_unknown`` [N, 1]: a lookup would fail beyond a table, and begin again from its
    end below 0."""
    zero = graph.constant("no_code", np.zeros(1, np.int64))
    limit = graph.constant("code_counts", np.array(counts, np.int64))
    graph.add("GreaterOrEqual", [CODES, zero], "is_code")
    graph.add("Less", [CODES, limit], "is_below")
    graph.add("And", ["is_code", "is_below"], "is_known")
    graph.add("Where", ["is_known", CODES, zero], KNOWN)
    graph.add("Cast", ["is_known"], "knows", to=TensorProto.FLOAT)
    axis = graph.constant("across", np.array([1]))
    graph.add("ReduceMin", ["knows", axis], "knows_all", keepdims=1)
    graph.add("Less", ["knows_all", graph.constant("half", np.float32(0.5))], "has_unknown")
