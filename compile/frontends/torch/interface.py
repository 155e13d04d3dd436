"""What an exported net takes and gives, as the contract has it: numbers float32 [N, F], codes int64 [N, C], answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from ....errors import ModelError
from ....values import Value

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Role = Literal["numbers", "codes"]

WRAP = "Wrap the net in a module that takes numbers [N, F] and codes [N, C], and returns one tensor [N, K]."


class Interface(Value):
    """``inputs``: the role of each argument, in order. ``features`` F, ``codes`` C, ``outputs`` K. ``flat``: the net
    answers [N], not [N, 1]. ``extra``: how many further outputs it has, which aren't served."""

    inputs: tuple[Role, ...]
    features: int
    codes: int
    outputs: int
    flat: bool = False
    extra: int = 0


def of(program: ExportedProgram) -> Interface:
    """ModelError where the net's inputs or outputs aren't a table's, or its batch is fixed."""
    shapes: dict[Role, int] = {}
    inputs: list[Role] = []
    for name, value in _values(program, program.graph_signature.user_inputs):
        role = _role(name, value)
        if role in shapes:
            raise ModelError(f"the net takes two tensors of {role}; expected one", WRAP)
        shapes[role] = int(value.shape[1])
        inputs.append(role)
    if not inputs:
        raise ModelError("the net takes no tensor", WRAP)
    outputs = _values(program, program.graph_signature.user_outputs)
    if not outputs:
        raise ModelError("the net returns no tensor", WRAP)
    name, first = outputs[0]
    _require_batch(name, first)
    if first.ndim not in (1, 2) or first.dtype != torch.float32 or not all(isinstance(n, int) for n in first.shape[1:]):
        raise ModelError(f"the net returns {_words(first)}; expected float32 [N] or [N, K]", WRAP)
    return Interface(
        inputs=tuple(inputs),
        features=shapes.get("numbers", 0),
        codes=shapes.get("codes", 0),
        outputs=1 if first.ndim == 1 else int(first.shape[1]),
        flat=first.ndim == 1,
        extra=len(outputs) - 1,
    )


def _values(program: ExportedProgram, names: Any) -> list[tuple[str, Any]]:
    nodes = {node.name: node for node in program.graph.nodes}
    found = []
    for name in names:
        node = nodes.get(name) if isinstance(name, str) else None
        value = None if node is None else node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"the net takes or returns {name!r}, which isn't a tensor", WRAP)
        found.append((name, value))
    return found


def _role(name: str, value: Any) -> Role:
    _require_batch(name, value)
    if value.ndim != 2 or not isinstance(value.shape[1], int):
        raise ModelError(f"the net's input {name!r} is {_words(value)}; expected rows [N, columns]", WRAP)
    if value.dtype == torch.float32:
        return "numbers"
    if value.dtype == torch.int64:
        return "codes"
    raise ModelError(f"the net's input {name!r} is {_words(value)}; expected float32 numbers or int64 codes", WRAP)


def _require_batch(name: str, value: Any) -> None:
    if value.ndim == 0 or isinstance(value.shape[0], int):
        raise ModelError(
            f"the net was exported for batches of {value.shape[0] if value.ndim else 'one number'} only ({name!r})",
            "Export it with a batch that varies: torch.export.export(net, example, dynamic_shapes=({0: "
            "Dim('batch')},)), "
            "or let millwork.save_net do it.",
        )


def _words(value: Any) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} [{', '.join(str(n) for n in value.shape)}]"
