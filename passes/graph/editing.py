"""Small edits of an onnx-ir graph: what a value is made by, constants, new nodes before another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir


class Before:
    """Inserts nodes before ``node``, named after what it makes."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node, self.count = graph, node, 0

    def add(
        self, operator: str, inputs: Sequence[ir.Value | None], outputs: int = 1, **attributes: int | Sequence[int]
    ) -> Sequence[ir.Value]:
        """A new node's outputs."""
        return self._insert(ir.node(operator, list(inputs), attributes=attributes, num_outputs=outputs))

    def like(self, node: ir.Node, inputs: Sequence[ir.Value | None], **changed: int) -> Sequence[ir.Value]:
        """The outputs of a node that is as ``node`` is, but for its inputs and the attributes ``changed``."""
        attributes = {**node.attributes, **{name: ir.AttrInt64(name, value) for name, value in changed.items()}}
        return self._insert(
            ir.Node("", node.op_type, list(inputs), list(attributes.values()), num_outputs=len(node.outputs))
        )

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> ir.Value:
        return new_constant(self.graph, f"{self.node.outputs[0].name}/{name}", value)

    def _insert(self, made: ir.Node) -> Sequence[ir.Value]:
        for value in made.outputs:
            value.name = f"{self.node.outputs[0].name}/{made.op_type}_{self.count}"
            self.count += 1
        self.graph.insert_before(self.node, made)
        return made.outputs


def new_constant(graph: ir.Graph, name: str, value: npt.NDArray[np.generic]) -> ir.Value:
    """An initializer of the graph."""
    tensor = ir.tensor(np.ascontiguousarray(value) if value.ndim else value, name=name)
    made = ir.Value(name=name, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(made)
    return made


def replace(old: ir.Value, new: ir.Value) -> None:
    """Whoever takes ``old``, the graph's outputs too, takes ``new``, under ``old``'s name there."""
    new.type, new.shape = old.type, old.shape
    if old.is_graph_output():
        name, old.name = old.name, f"{old.name}/before"
        new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def constant(value: ir.Value | None) -> npt.NDArray[np.generic] | None:
    """What an initializer holds; None for anything else."""
    tensor = None if value is None or not value.is_initializer() else value.const_value
    return None if tensor is None else tensor.numpy()


def made_by(value: ir.Value | None, operator: str, perm: Sequence[int] | None = None) -> ir.Node | None:
    """The node that makes ``value``, where it is that operator (with that ``perm``)."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != operator or node.domain:
        return None
    return node if perm is None or perm_of(node) == list(perm) else None


def only_user(value: ir.Value, operator: str) -> ir.Node | None:
    """The node that alone takes ``value``, where it is that operator."""
    users = [user for user, _ in value.uses()]
    return users[0] if len(users) == 1 and users[0].op_type == operator and not value.is_graph_output() else None


def perm_of(node: ir.Node) -> list[int]:
    """A Transpose's."""
    return list(node.attributes["perm"].as_ints())
