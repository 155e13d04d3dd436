"""Tidy a net's graph by onnx-ir's passes: constants folded, copies and dead ends gone, and nothing stale left.

Shapes that an exporter wrote down are dropped: a pass that changes types would be misled by them.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from ...values import PassNote

TIDY = ir.passes.Sequential(
    common.IdentityEliminationPass(),
    common.LiftConstantsToInitializersPass(lift_all_constants=True),
    common.DeduplicateInitializersPass(),
    common.CommonSubexpressionEliminationPass(),
    common.RemoveUnusedNodesPass(),
    common.RemoveUnusedOpsetsPass(),
    common.TopologicalSortPass(),
)


def tidy(model: onnx.ModelProto) -> tuple[onnx.ModelProto, PassNote]:
    """The same graph, tidied and checked, and what that changed."""
    before = len(model.graph.node)
    out = ir.to_proto(TIDY(ir.from_proto(model)).model)
    del out.graph.value_info[:]
    onnx.checker.check_model(out, full_check=True)
    after = len(out.graph.node)
    note = PassNote(
        name="tidy", modified=after != before,
        summary=f"{before} operators, {after} left" if after != before else f"{after} operators, none of them idle",
    )  # fmt: skip
    return out, note
