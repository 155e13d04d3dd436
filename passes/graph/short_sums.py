"""ReduceSum over a few values of an axis that isn't the last -> Split, Add.

255 -> 24 us on ONNX Runtime's CPU kernels (1.32, 4,096 rows, one thread). Sums are added in another order, which moves
an answer by some units in the last place, as the tolerance of fp32 allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir

from .editing import Before, constant, replace
from .graph_pass import GraphPass, GraphRewrite, edited

MOST_ADDED = 8
"""A sum of more values stays one operator."""


@dataclass(frozen=True)
class ShortSums(GraphPass):
    name: ClassVar[str] = "short-sums"

    def apply(self, program: onnx.ModelProto) -> GraphRewrite:
        return edited(program, short_sums, "short sums made additions", ("ReduceSum",))


def short_sums(graph: ir.Graph) -> int:
    found = 0
    for node in list(graph):
        x = node.inputs[0] if node.op_type == "ReduceSum" and len(node.inputs) == 2 else None
        axes = constant(node.inputs[1]) if x is not None else None
        if x is None or x.shape is None or axes is None or axes.size != 1 or x.dtype != ir.DataType.FLOAT:
            continue
        axis = int(axes.item()) % len(x.shape)
        size = x.shape[axis]
        if axis in (0, len(x.shape) - 1) or not isinstance(size, int) or not 1 <= size <= MOST_ADDED:
            continue
        replace(node.outputs[0], _added(Before(graph, node), x, axis, size))
        found += 1
    return found


def _added(at: Before, x: ir.Value, axis: int, size: int) -> ir.Value:
    parts = at.add("Split", [x, at.constant("ones", np.ones(size, np.int64))], outputs=size, axis=axis)
    total = parts[0]
    for part in parts[1:]:
        total = at.add("Add", [total, part])[0]
    if not at.node.attributes.get_int("keepdims", 1):
        total = at.add("Squeeze", [total, at.constant("axis", np.array([axis]))])[0]
    return total
