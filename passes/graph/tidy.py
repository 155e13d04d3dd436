"""Tidy a graph by onnx-ir's passes: copies, dead ends and unused opsets gone, constants and equal parts held once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from .graph_pass import GraphPass, GraphRewrite, written

MERGING = (
    common.LiftConstantsToInitializersPass(lift_all_constants=True),
    common.DeduplicateInitializersPass(),
    common.CommonSubexpressionEliminationPass(),
)


@dataclass(frozen=True)
class Tidy(GraphPass):
    """``keep_equal``: equal constants and equal operators stay apart, under the names that their writer gave them. An
    artifact that is read back by names needs that; so does one whose constants are large."""

    name: ClassVar[str] = "tidy"
    keep_equal: bool = False

    @property
    def spec(self) -> str:
        return f"{self.name}(keep-equal)" if self.keep_equal else self.name

    def apply(self, program: onnx.ModelProto) -> GraphRewrite:
        passes = ir.passes.Sequential(
            common.IdentityEliminationPass(),
            *(() if self.keep_equal else MERGING),
            common.RemoveUnusedNodesPass(),
            common.RemoveUnusedOpsetsPass(),
            common.TopologicalSortPass(),
        )
        result = passes(ir.from_proto(program))
        out = written(result.model)
        return GraphRewrite(out, result.modified, _summary(len(program.graph.node), len(out.graph.node), result))


def _summary(before: int, after: int, result: ir.passes.PassResult) -> str:
    if after != before:
        return f"{before} operators, {after} left"
    idle = "their constants, opsets or order tidied" if result.modified else "none of them idle"
    return f"{after} operators, {idle}"
