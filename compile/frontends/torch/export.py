"""A module -> torch's ExportedProgram with a batch that varies, proved against the module itself.

The ladder: ``strict=False``, then ``strict=True``; each may still hide a fixed batch, so each is asked for batches of
1, 2, an odd number and a large one and compared. The legacy exporter (tracing) is never used: it takes a branch that
depends on the rows for a constant, without a word.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ....errors import ModelError
from ....values import Value
from . import written_out
from .rewrites import rewritten
from .run_net import Tensors, batch, first, words

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BATCHES = (1, 2, 7, 513)
"""One, two, odd, and larger than anything that a graph is likely to be cut into."""
EQUAL = 1e-4
"""Of the answers' own size: an exported program runs the same operators, in another order at most."""


class ExportError(ModelError):
    """No rung of the ladder held."""


class Exported(Value):
    """``notes``: what was rewritten, and by which rung it was exported."""

    program: Any
    notes: tuple[str, ...]


def export(module: nn.Module, example: Sequence[torch.Tensor], accept: Callable[[Any], None] | None = None) -> Exported:
    """``example``: the module's arguments, a batch of at least 2 rows each, float32 [N, F] or int64 [N, C].
    ``accept``: raises where the program won't do for what comes after; then the next rung is tried.

    ModelError where no rung gives a program that answers as the module does at every batch size."""
    inputs = tuple(tensor.detach().cpu() for tensor in example)
    _require_example(inputs)
    original = module
    training = module.training
    original.eval()
    try:
        ready, notes = rewritten(module)
        asked = [batch(inputs, size) for size in BATCHES]
        answers = [_answer(original, tuple(tensor.to(_device(module)) for tensor in part)) for part in asked]
        reasons = []
        refused: ModelError | None = None
        for strict in (False, True):
            try:
                program = _export(ready, inputs, strict=strict)
                _require_same(program, asked, answers)
                refused = _refused(accept, program)
                if refused is not None:
                    raise refused
            except Exception as error:  # noqa: BLE001 -- torch's exporters raise all kinds of things
                reasons.append(f"strict={strict}: {_said(error)}")
                continue
            said = f"exported with strict={strict}" + (f", as {reasons[0]}" if reasons else "")
            return Exported(program=program, notes=(*(f"rewritten for export: {note}" for note in notes), said))
    finally:
        original.train(training)
    if refused is not None:  # torch exported it, and it is right: what comes after won't do
        raise refused
    raise ExportError(
        "the net can't be exported with a batch that varies:\n  " + "\n  ".join(reasons),
        "Write a branch that depends on the rows as torch.where. Take each shape from the input's own shape.",
    )


def _refused(accept: Callable[[Any], None] | None, program: ExportedProgram) -> ModelError | None:
    """Why the program won't do."""
    try:
        if accept is not None:
            accept(program)
    except ModelError as error:
        return error
    return None


def _answer(module: nn.Module, given: Tensors) -> torch.Tensor:
    """The module's own; ModelError where it has none."""
    try:
        with torch.no_grad():
            return first(module(*given))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"the module fails on a batch of {len(given[0])}: {words(error)}",
            "It must accept any number of rows, also one.",
        ) from error


def _export(module: nn.Module, inputs: Tensors, *, strict: bool) -> ExportedProgram:
    size = torch.export.Dim("batch")
    with warnings.catch_warnings(), torch.no_grad(), contextlib.nullcontext() if strict else _AnyBatch():
        warnings.simplefilter("ignore")
        return torch.export.export(module, inputs, dynamic_shapes=_shapes(module, inputs, size), strict=strict)


class _AnyBatch(TorchFunctionMode):
    """torch.cdist takes another way from 26 rows on: here it is the same for any number."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (written_out.distances if func is torch.cdist else func)(*args, **(kwargs or {}))


def _shapes(module: nn.Module, inputs: Tensors, batch: Any) -> Any:
    """``forward(*args)`` wants its shapes in a tuple of its own."""
    import inspect

    each = tuple({0: batch} for _ in inputs)
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (each,) if kinds and kinds[0] is inspect.Parameter.VAR_POSITIONAL else each


def _require_same(program: ExportedProgram, asked: Sequence[Tensors], answers: Sequence[torch.Tensor]) -> None:
    run = program.module()
    for part, expected in zip(asked, answers, strict=True):
        with torch.no_grad():
            got = first(run(*part))
        if got.shape != expected.shape:
            raise ModelError(
                f"for a batch of {len(part[0])} the exported net returns {list(got.shape)}, "
                f"the module {list(expected.shape)}"
            )
        size = float(expected.abs().nan_to_num().max()) if expected.numel() else 0.0
        apart = float((got - expected.cpu()).abs().nan_to_num(nan=0.0).max()) if expected.numel() else 0.0
        if apart > EQUAL * max(size, 1e-6) or bool((got.isnan() != expected.cpu().isnan()).any()):
            raise ModelError(f"for a batch of {len(part[0])} the exported net differs from the module by {apart:.3g}")


def _require_example(inputs: Tensors) -> None:
    if not inputs:
        raise ModelError("an example of the net's inputs is missing", "Give example=(rows,) or (rows, codes).")
    for tensor in inputs:
        if tensor.ndim != 2 or len(tensor) < 2 or tensor.dtype not in (torch.float32, torch.int64):
            raise ModelError(
                f"an example must be float32 [N, F] or int64 [N, C] of at least 2 rows; this one is "
                f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}",
                "Give rows as the net takes them.",
            )


def _device(module: nn.Module) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    return torch.device("cpu")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {words(error)[:200]}" if str(error).strip() else type(error).__name__
