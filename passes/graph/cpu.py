"""The same numbers by operators that ONNX Runtime's CPU kernels are faster at, in nets (figures: 1.32, 4,096 rows, one
thread). Each rewrite is a function that finds its pattern and says how often it did:

    sizes          what Shape says of a dimension that doesn't vary -> a constant
    short sums     ReduceSum over a few values of an axis that isn't the last -> Split, Add          255 -> 24 us
    pair products  some entries of x times x transposed (DLRM's interactions) -> Mul, ReduceSum      370 -> 200 us
    batch last     see batch_last.py

Sums are added in another order, which moves an answer by some units in the last place, as the tolerance of fp32 allows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from ...values import PassNote
from .batch_last import UnknownLayoutError, batch_last
from .editing import Before, constant, made_by, new_constant, only_user, perm_of, replace

MOST_ADDED = 8
"""A sum of more values stays one operator."""

CLEAN = ir.passes.Sequential(
    common.RemoveUnusedNodesPass(), common.CommonSubexpressionEliminationPass(), common.TopologicalSortPass()
)


def for_cpu(model: onnx.ModelProto) -> tuple[onnx.ModelProto, PassNote | None]:
    """The graph rewritten and checked; None, and the very model that was given, where no pattern is in it."""
    graph = _read(model)
    done = {name: rewrite(graph.graph) for name, rewrite in REWRITES.items()}
    if any(done.values()):
        model = _written(graph)
    graph = _read(model)
    try:
        done["operators with the batch last"] = batch_last(graph.graph)
    except UnknownLayoutError:  # the graph is half done, and dropped
        done["operators with the batch last"] = 0
    if done["operators with the batch last"]:
        model = _written(graph)
    said = ", ".join(f"{count} {name}" for name, count in done.items() if count)
    return model, PassNote(name="for-cpu", modified=True, summary=said) if said else None


def _read(model: onnx.ModelProto) -> ir.Model:
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def _written(graph: ir.Model) -> onnx.ModelProto:
    out = ir.to_proto(CLEAN(graph).model)
    del out.graph.value_info[:]
    onnx.checker.check_model(out, full_check=True)
    return out


def _sizes(graph: ir.Graph) -> int:
    """Gather(Shape(x), k) of a static dimension -> a constant."""
    found = 0
    for node in list(graph):
        if node.op_type == "Gather" and (sizes := made_by(node.inputs[0], "Shape")) is not None:
            at, source = constant(node.inputs[1]), sizes.inputs[0]
            shape = source.shape if source is not None else None
            if (
                at is None
                or at.ndim
                or shape is None
                or sizes.attributes.get_int("start", 0)
                or "end" in sizes.attributes
            ):
                continue
            size = shape[int(at)]
            if isinstance(size, int):
                replace(node.outputs[0], new_constant(graph, f"{node.outputs[0].name}/size", np.array(size)))
                found += 1
    return found


def _short_sums(graph: ir.Graph) -> int:
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
        at = Before(graph, node)
        parts = at.add("Split", [x, at.constant("ones", np.ones(size, np.int64))], outputs=size, axis=axis)
        total = parts[0]
        for part in parts[1:]:
            total = at.add("Add", [total, part])[0]
        if not node.attributes.get_int("keepdims", 1):
            total = at.add("Squeeze", [total, at.constant("axis", np.array([axis]))])[0]
        replace(node.outputs[0], total)
        found += 1
    return found


def _pair_products(graph: ir.Graph) -> int:
    """MatMul(x [N, M, D], Transpose(x)) whose entries at constant places alone are used, as torch's z[:, i, j] says it:
    Transpose (1, 2, 0), GatherND [P, 2], Transpose (1, 0)."""
    found = 0
    for node in list(graph):
        if node.op_type != "GatherND" or node.attributes.get_int("batch_dims", False):
            continue
        places, last = constant(node.inputs[1]), only_user(node.outputs[0], "Transpose")
        turned = made_by(node.inputs[0], "Transpose", perm=[1, 2, 0])
        product = None if turned is None else made_by(turned.inputs[0], "MatMul")
        if product is None or last is None or perm_of(last) != [1, 0] or places is None or places.ndim != 2:
            continue
        x, other = product.inputs
        flipped = made_by(other, "Transpose", perm=[0, 2, 1])
        if x is None or flipped is None or flipped.inputs[0] is not x or places.shape[1] != 2 or places.min() < 0:
            continue
        at = Before(graph, last)
        first, second = (
            at.add("Gather", [x, at.constant(name, places[:, k])], axis=1)[0]
            for k, name in enumerate(("rows", "columns"))
        )
        scaled = at.add("Mul", [first, second])[0]
        out = at.add("ReduceSum", [scaled, at.constant("across", np.array([2]))], keepdims=0)[0]
        replace(last.outputs[0], out)
        found += 1
    return found


REWRITES: dict[str, Callable[[ir.Graph], int]] = {
    "sizes": _sizes, "short sums": _short_sums, "pair products": _pair_products,
}  # fmt: skip
