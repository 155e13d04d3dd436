"""The rows on the last axis, in the part of a net that embeds numbers: [N, F, K] is kept as [F, K, N].

Each feature times weights of its own is x [N, F, 1] * w [F, K]: rows of one number, which ONNX Runtime's CPU kernels
take 7 ns each for. With the batch last it is [F, 1, N] * [F, K, 1], N at a time; slices and concatenations copy whole
blocks, the products by feature want that layout, and the first Gemm after them takes it as it is (transA). Numbers are
the same; a product's sum may be added up in another order. Where any operator of that part isn't known here, nothing is
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir

from .editing import Before, constant, replace
from .graph_pass import GraphPass, GraphRewrite, edited

UNARY = frozenset(
    {"Abs", "Clip", "Cos", "Elu", "Erf", "Exp", "LeakyRelu", "Neg", "Relu", "Sigmoid", "Sin", "Sqrt", "Tanh"}
)
BINARY = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True)
class BatchLast(GraphPass):
    name: ClassVar[str] = "batch-last"

    def apply(self, program: onnx.ModelProto) -> GraphRewrite:
        try:
            return edited(program, batch_last, "operators with the batch last", ("Unsqueeze", "Mul"))
        except UnknownLayoutError as unknown:  # the graph is half done, and dropped
            return GraphRewrite(program, False, f"operators with the batch last: none, because of {unknown}")


@dataclass(frozen=True)
class Kept:
    """``value`` is the original transposed by ``perm``, whose last entry is the batch's axis."""

    value: ir.Value
    perm: tuple[int, ...]

    @property
    def batch(self) -> int:
        return self.perm[-1]

    def axis(self, original: int) -> int:
        return self.perm.index(original % len(self.perm))


class UnknownLayoutError(Exception):
    """An operator, or a use of one, that the layout isn't known for."""


Kepts = dict[ir.Value, Kept]
Rule = Callable[[ir.Node, Before, Kepts], Kept | ir.Value]
"""What stands for a node's output: kept in the layout, or in the usual one again."""


def batch_last(graph: ir.Graph) -> int:
    """Rewrites ``graph`` in place; how many operators were. On UnknownLayoutError the graph is half done: drop it."""
    kept: Kepts = {}
    count = 0
    for node in list(graph):
        begins = node.op_type == "Unsqueeze" and _is_rows_of_numbers(node)
        if not begins and not any(value in kept for value in node.inputs if value is not None):
            continue
        rule = _begin if begins else RULES.get(node.op_type)
        if rule is None or node.domain or len(node.outputs) != 1:
            raise UnknownLayoutError(node.op_type)
        made = rule(node, Before(graph, node), kept)
        if isinstance(made, Kept) and node.outputs[0].is_graph_output():
            raise UnknownLayoutError("an output")
        if isinstance(made, Kept):
            kept[node.outputs[0]] = made
        else:
            replace(node.outputs[0], made)
        count += 1
    return count


def _is_rows_of_numbers(node: ir.Node) -> bool:
    """Unsqueeze of float32 [N, F], N alone varying, to [N, F, 1] that a constant by feature is multiplied with."""
    x, axes = node.inputs[0], constant(node.inputs[1])
    shape = None if x is None else x.shape
    if x is None or x.dtype != ir.DataType.FLOAT or shape is None or len(shape) != 2 or axes is None:
        return False
    varies = not isinstance(shape[0], int) and isinstance(shape[1], int)
    if not varies or axes.size != 1 or axes.item() not in (2, -1):
        return False
    users = (user for user, _ in node.outputs[0].uses())
    return all(user.op_type == "Mul" and any(constant(value) is not None for value in user.inputs) for user in users)


def _begin(node: ir.Node, at: Before, _kept: Kepts) -> Kept:
    turned = at.add("Transpose", [node.inputs[0]], perm=[1, 0])[0]
    return Kept(at.add("Unsqueeze", [turned, at.constant("axis", np.array([1]))])[0], (1, 2, 0))


def _unary(node: ir.Node, at: Before, kept: Kepts) -> Kept:
    own = _of(node.inputs[0], kept)
    return Kept(at.like(node, [own.value, *node.inputs[1:]])[0], own.perm)


def _binary(node: ir.Node, at: Before, kept: Kepts) -> Kept:
    perms = {kept[value].perm for value in node.inputs if value in kept}
    if len(perms) != 1:
        raise UnknownLayoutError(node.op_type)
    (perm,) = perms
    return Kept(
        at.like(node, [_turned(value, perm, at, kept, f"side_{k}") for k, value in enumerate(node.inputs)])[0], perm
    )


def _turned(value: ir.Value | None, perm: tuple[int, ...], at: Before, kept: Kepts, name: str) -> ir.Value:
    if value in kept:
        return kept[value].value
    own = constant(value)
    if own is None or own.ndim > len(perm):
        raise UnknownLayoutError("an operand")
    whole = own.reshape((1,) * (len(perm) - own.ndim) + own.shape)
    if whole.shape[perm[-1]] != 1:
        raise UnknownLayoutError("a constant with rows")
    return at.constant(name, whole.transpose(perm))


def _concat(node: ir.Node, at: Before, kept: Kepts) -> Kept:
    parts = [_of(value, kept) for value in node.inputs]
    axis = parts[0].axis(node.attributes.get_int("axis"))
    if {part.perm for part in parts} != {parts[0].perm} or axis == len(parts[0].perm) - 1:
        raise UnknownLayoutError("Concat")
    return Kept(at.add("Concat", [part.value for part in parts], axis=axis)[0], parts[0].perm)


def _slice(node: ir.Node, at: Before, kept: Kepts) -> Kept:
    own = _of(node.inputs[0], kept)
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if axes is None:
        raise UnknownLayoutError("Slice")
    moved = np.array([own.axis(int(axis)) for axis in axes], np.int64)
    if (moved == len(own.perm) - 1).any():
        raise UnknownLayoutError("a Slice of rows")
    inputs = [own.value, node.inputs[1], node.inputs[2], at.constant("axes", moved), *node.inputs[4:]]
    return Kept(at.add("Slice", inputs)[0], own.perm)


def _transpose(node: ir.Node, _at: Before, kept: Kepts) -> Kept:
    own = _of(node.inputs[0], kept)
    moved = list(node.attributes["perm"].as_ints())
    return Kept(own.value, tuple(moved.index(axis) for axis in own.perm))


def _matmul(node: ir.Node, at: Before, kept: Kepts) -> Kept | ir.Value:
    """x [.., K] times a constant: the constant transposed times [K, N], where K and the rows are the last two axes."""
    own, weight = _of(node.inputs[0], kept), constant(node.inputs[1])
    rank = len(own.perm)
    if weight is None or not 2 <= weight.ndim <= rank:
        raise UnknownLayoutError("MatMul")
    if rank == 2:
        return at.add("Gemm", [own.value, node.inputs[1]], transA=1)[0]
    if own.perm[-2] != rank - 1 or (weight.ndim > 2 and own.batch != rank - 2):
        raise UnknownLayoutError("MatMul")
    return Kept(at.add("MatMul", [at.constant("weight", weight.swapaxes(-1, -2)), own.value])[0], own.perm)


def _reshape(node: ir.Node, at: Before, kept: Kepts) -> Kept:
    """[N, F, K] -> [N, F * K]."""
    own, before, after = _of(node.inputs[0], kept), _sizes(node.inputs[0]), _sizes(node.outputs[0])
    asked = constant(node.inputs[1])
    if own.perm != (1, 2, 0) or len(after) != 2 or asked is None or asked.tolist() != [-1, after[1]]:
        raise UnknownLayoutError("Reshape")
    if before[1] * before[2] != after[1]:
        raise UnknownLayoutError("Reshape")
    width = after[1]
    return Kept(at.add("Reshape", [own.value, at.constant("shape", np.array([width, -1]))])[0], (1, 0))


def _sizes(value: ir.Value | None) -> list[int]:
    """Of each axis, 0 where it varies."""
    shape = None if value is None else value.shape
    if shape is None:
        raise UnknownLayoutError("a shape")
    return [size if isinstance(size, int) else 0 for size in shape]


def _gemm(node: ir.Node, at: Before, kept: Kepts) -> ir.Value:
    own = _of(node.inputs[0], kept)
    if (
        own.perm != (1, 0)
        or node.attributes.get_int("transA", False)
        or any(value in kept for value in node.inputs[1:])
    ):
        raise UnknownLayoutError("Gemm")
    return at.like(node, [own.value, *node.inputs[1:]], transA=1)[0]


def _of(value: ir.Value | None, kept: Kepts) -> Kept:
    if value is None or value not in kept:
        raise UnknownLayoutError("an operand")
    return kept[value]


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    "Concat": _concat,
    "Slice": _slice,
    "Transpose": _transpose,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Gemm": _gemm,
}
