"""What torch's exporter writes -> the same numbers by fewer operators. Nothing here takes one number for another.

The exporter's own optimizer isn't used: its rules find ``x + 0`` and ``x * 1`` within a tolerance, so that a small
constant is dropped. Here are those of its rules that only move values, and constants are folded by operators whose
result IEEE 754 says to the bit. What isn't folded is an operator that the engine runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from ....errors import ModelError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

MOVING = (
    rules.cast_constant_of_shape_rule,
    rules.cast_constant_of_shape_without_value_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.dropout_inference_rule,
    rules.dropout_zero_rule,
    rules.materialize_reshape_shape_rule,
    rules.no_op_cast_rule,
    rules.no_op_dynamic_scatter_nd_rule,
    rules.no_op_expand_rule,
    rules.no_op_static_scatter_nd_rule,
    rules.no_op_transpose_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.reshape_reshape_rule,
    rules.slice_split_rule,
    rules.squeeze_reshape_1d_rule,
    rules.successive_relu_rule,
    rules.transpose_transpose_rule,
    rules.two_reshapes_matmul_reshape_rule,
    rules.unsqueeze_unsqueeze_rule,
)
"""Rules that move values, or leave out what changes none."""
ROUNDED_ONCE = frozenset({"Add", "Sub", "Mul", "Div", "Sqrt", "Reciprocal"})
"""On floats: the number next to the exact result, whoever computes it."""
_PICKED = (
    "Abs And Cast CastLike Ceil Concat Equal Expand Flatten Floor Gather GatherElements GatherND Greater "
    "GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Neg Not Or Pad Range Reshape ScatterElements "
    "ScatterND Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where Xor"
)
PICKED = frozenset(_PICKED.split())
"""Whose results are their inputs' own numbers, or truths and whole numbers about them."""
_WHOLE = "Max Min Mod Mul Pow ReduceMax ReduceMin ReduceProd ReduceSum CumSum Sign"
WHOLE = frozenset(_WHOLE.split())
"""Folded of whole numbers alone."""
CARRIED = ("add.", "sub.", "mul.", "div.", "maximum", "minimum", "where.Scalar", "rsub.")
"""Operators of torch whose floats stand in the graph as they are."""


def exact(model: ir.Model) -> frozenset[bytes]:
    """Rewrite ``model`` in place; the bytes of the constants that were folded into others."""
    folded: set[bytes] = set()

    def foldable(node: ir.Node) -> bool | None:
        if not _is_exact(node):
            return False
        folded.update(_bits(value.const_value) for value in node.inputs if value and value.const_value is not None)
        return None

    for step in (common.InlinePass(), common.RemoveUnusedNodesPass()):
        step(model)
    for _ in range(2):
        optimizer.fold_constants_ir(model, onnx_shape_inference=True, should_fold=foldable)
        rewriter.RewritePass(MOVING)(model)
        for tidy in (common.RemoveUnusedNodesPass(), common.RemoveUnusedOpsetsPass()):
            tidy(model)
    for last in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    ):
        last(model)
    return frozenset(folded)


def _is_exact(node: ir.Node) -> bool:
    floats = any(value is not None and value.dtype in FLOATS for value in (*node.inputs, *node.outputs))
    return node.op_type in PICKED or (node.op_type in ROUNDED_ONCE if floats else node.op_type in WHOLE | ROUNDED_ONCE)


FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def _bits(tensor: Any) -> bytes:
    return bytes(np.ascontiguousarray(tensor.numpy()).tobytes())


def require_constants(program: ExportedProgram, model: onnx.ModelProto, folded: frozenset[bytes]) -> None:
    """ModelError where a constant that ``program`` uses is neither in ``model``, to the bit, nor in ``folded``."""
    held = folded | {bytes(onnx.numpy_helper.to_array(own).tobytes()) for own in model.graph.initializer}
    for name, value in _constants(program):
        if value.numpy().tobytes() not in held:
            shown = f"{float(value):.9g}" if value.numel() == 1 else f"{list(value.shape)}"
            raise ModelError(f"the exporter lost a constant of the net: {name} ({shown})")


def _constants(program: ExportedProgram) -> list[tuple[str, torch.Tensor]]:
    """The float32 constants that operators take: weights and buffers, and floats that are written beside operators."""
    signature = program.graph_signature
    owned = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    found = []
    for node in _live(program):
        if node.op == "placeholder" and node.name in owned:
            name = owned[node.name]
            value = program.state_dict[name] if name in program.state_dict else program.constants[name]
            if value.dtype == torch.float32:
                found.append((name, value.detach().cpu().contiguous()))
        if node.op == "call_function" and str(node.target).startswith(tuple(f"aten.{name}" for name in CARRIED)):
            found += [
                (f"in {node.target}", torch.tensor(value, dtype=torch.float32))
                for value in node.args
                if isinstance(value, float) and _is_float(node)
            ]
    return found


def _live(program: ExportedProgram) -> list[Any]:
    """The nodes that an output comes from."""
    live: set[Any] = set()
    for node in reversed(program.graph.nodes):
        if node.op == "output" or node in live:
            live.update([node, *node.all_input_nodes])
    return [node for node in program.graph.nodes if node in live]


def _is_float(node: Any) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32
