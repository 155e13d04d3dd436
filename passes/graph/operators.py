"""Which operators a graph is made of."""

from __future__ import annotations

import onnx

OWN = ("", "ai.onnx")


def foreign(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators of a model that aren't ai.onnx's own, functions' and sub-graphs' included, each once: TensorRT
    has none of them. A model's own function isn't foreign: its body is what counts."""
    own_functions = {(function.domain, function.name) for function in model.functions}
    found: dict[str, None] = {}
    pending = [list(model.graph.node), *(list(function.node) for function in model.functions)]
    while pending:
        for node in pending.pop():
            if node.domain not in OWN and (node.domain, node.op_type) not in own_functions:
                found[node.op_type] = None
            pending += [list(attribute.g.node) for attribute in node.attribute if attribute.HasField("g")]
    return tuple(found)
