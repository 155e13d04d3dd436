"""``GraphPass``: a pass on ONNX graphs, and how one edits a graph by onnx-ir."""

from __future__ import annotations

from collections.abc import Callable, Collection

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from ..base import Pass, Rewrite

GraphRewrite = Rewrite[onnx.ModelProto]

LEFT_OVER = ir.passes.Sequential(
    common.RemoveUnusedNodesPass(), common.CommonSubexpressionEliminationPass(), common.TopologicalSortPass()
)
"""What an edit leaves behind."""


class GraphPass(Pass[onnx.ModelProto, GraphRewrite]):
    """Its results are checked by the ONNX checker, shapes and types inferred."""

    def invalid(self, program: onnx.ModelProto) -> str | None:
        try:
            onnx.checker.check_model(program, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            return str(error)
        return None


def edited(
    model: onnx.ModelProto, edit: Callable[[ir.Graph], int], what: str, operators: Collection[str]
) -> GraphRewrite:
    """``model`` after ``edit``, which changes a graph in place and returns how often it did; the very model where it
    found nothing, or where one of ``operators`` isn't in it. ``what``: what is counted, in words."""
    if not {node.op_type for node in model.graph.node}.issuperset(operators):
        return GraphRewrite(model, False, f"{what}: none")
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    count = edit(graph.graph)
    if not count:
        return GraphRewrite(model, False, f"{what}: none")
    return GraphRewrite(written(LEFT_OVER(graph).model), True, f"{what}: {count}")


def written(graph: ir.Model) -> onnx.ModelProto:
    """Without shapes that were inferred, or that an exporter wrote down: they'd mislead a pass that changes types."""
    out = ir.to_proto(graph)
    del out.graph.value_info[:]
    return out
