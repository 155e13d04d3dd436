"""Codes that a net takes out of its numbers: ``embedding(x[:, 0].long())``.

Such a lookup fails in torch where a number is no code of the table, for the whole batch. A graph has no failure for one
row, and would count from the table's end. So, as for columns of codes, the row is answered NaN: the code is bounded to
the table before it is looked up, and the answers of the rows where that changed it are replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import TensorArgument

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph, Node

aten = torch.ops.aten
CASTS = ("aten.to.", "aten._to_copy.", "aten.type_as.", "prims.convert_element_type.")
BOUNDED = ("aten.clamp.", "aten.remainder.")


def guarded(program: ExportedProgram) -> int:
    """Guard each lookup of codes that come out of numbers, in place; how many there were."""
    graph, batch = program.graph, _batch(program)
    if batch is None:
        return 0
    marks = [
        _guard(graph, node, place, index, (low, count), batch)
        for node in list(graph.nodes)
        for place, index, low, count in _lookups(node)
        if _out_of_numbers(index) and _batch_axis(index, batch) is not None
    ]
    if marks:
        _mark_answers(program, marks)
        graph.lint()
        program.graph_module.recompile()
    return len(marks)


def _batch(program: ExportedProgram) -> Any:
    """The batch's size, as the graph has it; None where the first input has none that varies."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if node.name in inputs and isinstance(value, torch.Tensor) and value.ndim:
            size: Any = value.shape[0]
            return size if isinstance(size, torch.SymInt) else None
    return None


def _lookups(node: Node) -> list[tuple[tuple[int, ...], Node, int, int]]:
    """Where in the node's arguments a tensor of codes stands, that tensor, the least code and the table's length."""
    if node.op != "call_function":
        return []
    name = str(node.target)
    if name.startswith("aten.embedding."):
        return _sized((1,), node.args[1], 0, _length(node.args[0], 0))
    if name.startswith("aten.index_select."):
        return _sized((2,), node.args[2], 0, _length(node.args[0], node.args[1]))
    if name.startswith("aten.one_hot."):
        return _sized((0,), node.args[0], 0, node.args[1] if len(node.args) > 1 else None)
    if name == "aten.index.Tensor":
        found = []
        indices: Any = node.args[1]
        for axis, index in enumerate(indices):
            count = _length(node.args[0], axis)
            found += _sized((1, axis), index, -count if isinstance(count, int) else 0, count)
        return found
    return []


def _sized(place: tuple[int, ...], index: Any, low: int, count: Any) -> list[tuple[tuple[int, ...], Node, int, int]]:
    value = getattr(index, "meta", {}).get("val")
    known = isinstance(value, torch.Tensor) and value.dtype in (torch.int64, torch.int32)
    return [(place, index, low, count)] if known and isinstance(count, int) and count > 0 else []


def _length(table: Any, axis: Any) -> Any:
    value = getattr(table, "meta", {}).get("val")
    return (
        value.shape[axis] if isinstance(value, torch.Tensor) and isinstance(axis, int) and axis < value.ndim else None
    )


def _out_of_numbers(index: Node) -> bool:
    """Whether floats were made integers on the way to it, with nothing that bounds them after that."""
    pending, seen = [index], set()
    while pending:
        node = pending.pop()
        value = node.meta.get("val")
        whole = isinstance(value, torch.Tensor) and value.dtype in (torch.int64, torch.int32, torch.int16, torch.int8)
        if node in seen or not whole or str(node.target).startswith(BOUNDED):
            continue
        seen.add(node)
        sources = [source.meta.get("val") for source in node.all_input_nodes]
        if (
            str(node.target).startswith(CASTS)
            and isinstance(sources[0], torch.Tensor)
            and sources[0].is_floating_point()
        ):
            return True
        pending += node.all_input_nodes
    return False


def _batch_axis(index: Node, batch: Any) -> int | None:
    shape = index.meta["val"].shape
    same = [
        axis for axis, size in enumerate(shape) if isinstance(size, torch.SymInt) and size.node.expr == batch.node.expr
    ]
    return same[0] if same else None


def _guard(graph: Graph, node: Node, place: tuple[int, ...], index: Node, limits: tuple[int, int], batch: Any) -> Node:
    """Bound the codes of one lookup; a node [N] that says in which rows one was out of bounds."""
    low, count = limits
    with graph.inserting_before(node):
        add = _adder(graph, node)
        bounded = add(aten.clamp.default, index, low, count - 1)
        mark = add(aten.ne.Tensor, bounded, index)
        keep = _batch_axis(index, batch)
        for axis in reversed(range(index.meta["val"].ndim)):
            if axis != keep:
                mark = add(aten.any.dim, mark, axis)
    args: list[Any] = list(node.args)
    if len(place) == 2:
        inner = list(args[place[0]])
        inner[place[1]] = bounded
        args[place[0]] = inner
    else:
        args[place[0]] = bounded
    node.args = tuple(args)
    return mark


def _mark_answers(program: ExportedProgram, marks: list[Node]) -> None:
    """NaN for the marked rows, in the first output: the one that is served."""
    graph = program.graph
    out = graph.find_nodes(op="output")[0]
    answers = out.args[0][0]
    with graph.inserting_before(out):
        add = _adder(graph, answers)
        odd = marks[0]
        for mark in marks[1:]:
            odd = add(aten.logical_or.default, odd, mark)
        for axis in range(1, answers.meta["val"].ndim):
            odd = add(aten.unsqueeze.default, odd, axis)
        made = add(aten.where.ScalarSelf, odd, float("nan"), answers)
    out.args = ((made, *out.args[0][1:]),)
    specs = [spec for spec in program.graph_signature.output_specs if spec.arg.name == answers.name]
    specs[0].arg = TensorArgument(name=made.name)


def _adder(graph: Graph, like: Node) -> Callable[..., Node]:
    """A function that adds a node, with the value that torch would give it, and ``like``'s place in the user's code."""

    def add(target: Any, *args: Any) -> Node:
        node = graph.call_function(target, args)
        node.meta = {key: value for key, value in like.meta.items() if key in ("nn_module_stack", "stack_trace")}
        node.meta["val"] = target(*(getattr(part, "meta", {}).get("val", part) for part in args))
        return node

    return add
