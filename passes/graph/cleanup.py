"""Tidy a graph that a writer made, by onnx-ir's passes, and check that what is left is valid ONNX."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

CLEANUP = ir.passes.Sequential(
    common.IdentityEliminationPass(),
    common.RemoveUnusedNodesPass(),
    common.RemoveUnusedOpsetsPass(),
    common.TopologicalSortPass(),
    common.CheckerPass(),
)


def cleanup(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without identities, unused nodes and unused opsets; checked. InferenceError if invalid."""
    result = CLEANUP(ir.from_proto(model))
    return ir.to_proto(result.model)
