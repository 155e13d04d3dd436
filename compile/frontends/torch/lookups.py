"""Which rows torch fails on: those whose code lies outside a table that it is looked up in.

torch raises there; ONNX counts a negative place from the end, and an engine fails on the whole batch beyond it. So all
places that a graph looks up are compared with the tables' sizes, as the graph itself computes them: ``e(c + 1)``,
``e(c % n)``, ``e(-c)``, and tables that a number cast to an integer is looked up in. Where each place is one column
plus a constant, that is a range of codes for each column; else the guard is a graph of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ....errors import ModelError
from ....passes.net import ANSWERED, CODES, NUMBERS

if TYPE_CHECKING:
    from torch.export import ExportedProgram

PLACES = "guard/places"
_SHIFTING = "Add Cast Concat Flatten Gather Identity Reshape Slice Squeeze Sub Transpose Unsqueeze"
SHIFTING = frozenset(_SHIFTING.split())
"""Operators that move codes, or add a constant to them."""
STRICT = frozenset({torch.ops.aten.index_select.default, torch.ops.aten.one_hot.default})
"""Like ``embedding``, they take no negative place."""
STEP = 1 << 20
"""How far a column is moved to see which places move with it: exact in any type that holds codes."""
INT64 = np.iinfo(np.int64)
Ranges = tuple[tuple[int, ...], tuple[int, ...]]


def guard(
    model: onnx.ModelProto, program: ExportedProgram, rows: dict[str, npt.NDArray[Any]]
) -> onnx.ModelProto | None:
    """From the graph's inputs to ``is_answered`` BOOL [N, 1]: whether every place that a row looks up is in its table.
    None where nothing is looked up. ``rows``: some that the net answers; ModelError where the guard doesn't
    know them."""
    tables = _tables(program)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {own.name: _dims(own) for own in (*inferred.value_info, *inferred.input)}
    constants = {own.name: own for own in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    limits: list[tuple[int, int]] = []
    parts: list[str] = []
    count = len(next(iter(rows.values())))
    for node in model.graph.node:
        found = _looked_up(node, shapes, constants)
        if found is None:
            continue
        sizes, batch = found
        bare = node.input[0].removeprefix("net/") in tables or node.output[0].removeprefix("net/") in tables
        name = f"guard/{len(parts)}"
        flat = _flat(node.input[1], name, batch, len(shapes[node.input[1]] or ()))
        width = _asked(_graph(model, flat, [*constants.values()], name), rows).size // count
        axes = numpy_helper.from_array(np.array([-1, width]), f"{name}/shape")
        constants[axes.name] = axes
        nodes += [*flat[:-1], helper.make_node("Reshape", [name, axes.name], [f"{name}/rows_of"])]
        nodes[-1:-1] = flat[-1:]
        parts.append(f"{name}/rows_of")
        each = [(0 if bare else -size, size) if size else (INT64.min, INT64.max) for size in sizes]
        limits += each * (width // len(each))
    if not parts:
        return None
    low, high = np.array(limits, np.int64).T[:, None]
    nodes += [helper.make_node("Concat", parts, [PLACES], axis=1), *_compared()]
    own = [*constants.values(), *(numpy_helper.from_array(value, name) for name, value in _constants(low, high))]
    made = _graph(model, nodes, own, ANSWERED)
    answered = _asked(made, rows)
    if answered.shape != (count, 1) or not answered.all():
        raise ModelError(
            "the net looks codes up in a table by places that can't be told apart by row",
            "Look up [N, C] codes as they are, and flatten what was looked up.",
        )
    return made


def _asked(model: onnx.ModelProto, rows: dict[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    (found,) = ReferenceEvaluator(model).run(None, {own.name: rows[own.name] for own in model.graph.input})
    return np.asarray(found)


def ranges(model: onnx.ModelProto, columns: int) -> Ranges | None:
    """The first code of each column and how many there are (0: any). None where places aren't columns plus
    constants."""
    nodes = [node for node in model.graph.node if not node.name.startswith("guard/")]
    constants = {own.name for own in model.graph.initializer}
    reads = {own.name for own in model.graph.input}
    if reads != {CODES} or any(
        node.op_type not in SHIFTING
        or (node.op_type == "Cast" and node.attribute[0].i != TensorProto.INT64)
        or (node.op_type in ("Add", "Sub") and not (set(node.input) & constants))
        or (node.op_type == "Sub" and node.input[0] in constants)
        for node in nodes
    ):
        return None
    asked = np.concatenate([np.zeros((1, columns), np.int64), STEP * np.eye(columns, dtype=np.int64)])
    places = _asked(_until(model, PLACES), {CODES: asked})
    moved = (places[1:] - places[0]) // STEP
    if not ((moved == 0) | (moved == 1)).all() or not (moved.sum(axis=0) == 1).all():
        return None
    values = {own.name: numpy_helper.to_array(own) for own in model.graph.initializer}
    low, high = values["guard/low"][0] - places[0], values["guard/high"][0] - places[0]
    used = moved.astype(bool)
    first = [int(low[row].max()) if row.any() else 0 for row in used]
    end = [int(high[row].min()) if row.any() else 0 for row in used]
    return tuple(first), tuple(max(b - a, 0) for a, b in zip(first, end, strict=True))


def _tables(program: ExportedProgram) -> set[str]:
    """The names of what ``embedding`` looks up in, and of its results: a negative place is an error there."""
    owned = {**program.graph_signature.inputs_to_parameters, **program.graph_signature.inputs_to_buffers}
    found = set()
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.embedding.default:
            found |= {node.name, owned.get(node.args[0].name, node.args[0].name)}
        if node.op == "call_function" and node.target in STRICT:
            found.add(node.name)
    return found


def _looked_up(node: onnx.NodeProto, shapes: dict[str, Any], constants: dict[str, Any]) -> tuple[list[int], int] | None:
    """Of a Gather or GatherND at places that rows say: the sizes of the axes that a place's numbers count along (0 for
    one that varies), and the places' axis of the rows."""
    if node.op_type not in ("Gather", "GatherND") or node.input[1] in constants:
        return None
    attributes = {own.name: own.i for own in node.attribute}
    table = tuple(constants[node.input[0]].dims) if node.input[0] in constants else shapes.get(node.input[0])
    places = shapes.get(node.input[1])
    if not table or not places or attributes.get("batch_dims", 0):
        return None
    axes = [attributes.get("axis", 0)] if node.op_type == "Gather" else range(places[-1])
    sizes = [table[axis] if isinstance(table[axis], int) else 0 for axis in axes]
    batch = [i for i, size in enumerate(places) if not isinstance(size, int)]
    if len(batch) != 1 or not any(sizes):
        return None
    return sizes, batch[0]


def _flat(places: str, name: str, batch: int, rank: int) -> list[onnx.NodeProto]:
    """Nodes that make ``name`` int64 [N, K] of ``places``."""
    order = [batch, *(axis for axis in range(rank) if axis != batch)]
    turned = [] if batch == 0 else [helper.make_node("Transpose", [places], [f"{name}/rows"], perm=order)]
    first = places if batch == 0 else f"{name}/rows"
    return [
        *turned,
        helper.make_node("Flatten", [first], [f"{name}/flat"], axis=1),
        helper.make_node("Cast", [f"{name}/flat"], [name], to=TensorProto.INT64),
    ]


def _compared() -> list[onnx.NodeProto]:
    made = [
        helper.make_node("GreaterOrEqual", [PLACES, "guard/low"], ["guard/above"]),
        helper.make_node("Less", [PLACES, "guard/high"], ["guard/below"]),
        helper.make_node("And", ["guard/above", "guard/below"], ["guard/within"]),
        helper.make_node("Cast", ["guard/within"], ["guard/as_number"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["guard/as_number", "guard/across"], ["guard/least"], keepdims=1),
        helper.make_node("Greater", ["guard/least", "guard/half"], [ANSWERED]),
    ]
    for number, node in enumerate(made):
        node.name = f"guard/{number}"
    return made


def _constants(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[Any]]]:
    return [
        ("guard/low", low),
        ("guard/high", high),
        ("guard/across", np.array([1])),
        ("guard/half", np.array(0.5, np.float32)),
    ]


def _graph(
    model: onnx.ModelProto, more: list[onnx.NodeProto], constants: list[onnx.TensorProto], output: str
) -> onnx.ModelProto:
    """The part of ``model`` and ``more`` that ``output`` comes from, under names of its own."""
    needed, kept = {output}, []
    for node in reversed([*model.graph.node, *more]):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(node.input)
    copies = []
    for node in reversed(kept):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = node.name if node.name.startswith("guard/") else f"asked/{node.name or node.output[0]}"
        copy.input[:] = [_own(name) for name in node.input]
        copy.output[:] = [_own(name) for name in node.output]
        copies.append(copy)
    held = []
    for constant in constants:
        if constant.name in needed:
            copied = onnx.TensorProto()
            copied.CopyFrom(constant)
            copied.name = _own(constant.name)
            held.append(copied)
    kind = (TensorProto.BOOL, ["N", 1]) if output == ANSWERED else (TensorProto.INT64, ["M", None])
    out = helper.make_tensor_value_info(output, *kind)
    reads = [own for own in model.graph.input if own.name in needed]
    graph = helper.make_graph(copies, "guard", reads, [out], held)
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.checker.check_model(made, full_check=True)
    return made


def _own(name: str) -> str:
    return (
        f"asked/{name}" if name and name not in (ANSWERED, NUMBERS, CODES) and not name.startswith("guard/") else name
    )


def _until(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    last = next(i for i, node in enumerate(out.graph.node) if output in node.output)
    del out.graph.node[last + 1 :], out.graph.output[:]
    out.graph.output.append(helper.make_tensor_value_info(output, TensorProto.INT64, ["N", None]))
    return out


def _dims(value: onnx.ValueInfoProto) -> list[int | str] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
