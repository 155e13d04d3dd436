"""What Shape says of a dimension that doesn't vary -> a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir

from .editing import constant, made_by, new_constant, replace
from .graph_pass import GraphPass, GraphRewrite, edited


@dataclass(frozen=True)
class ConstantSizes(GraphPass):
    name: ClassVar[str] = "constant-sizes"

    def apply(self, program: onnx.ModelProto) -> GraphRewrite:
        return edited(program, constant_sizes, "sizes made constants", ("Gather", "Shape"))


def constant_sizes(graph: ir.Graph) -> int:
    """Gather(Shape(x), k) of a static dimension -> a constant."""
    found = 0
    for node in list(graph):
        size = _size(node) if node.op_type == "Gather" else None
        if size is not None:
            replace(node.outputs[0], new_constant(graph, f"{node.outputs[0].name}/size", np.array(size)))
            found += 1
    return found


def _size(node: ir.Node) -> int | None:
    sizes, at = made_by(node.inputs[0], "Shape"), constant(node.inputs[1])
    if sizes is None or at is None or at.ndim or sizes.attributes.get_int("start", 0) or "end" in sizes.attributes:
        return None
    shape = None if sizes.inputs[0] is None else sizes.inputs[0].shape
    size = None if shape is None else shape[int(at)]
    return size if isinstance(size, int) else None
