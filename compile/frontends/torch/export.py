"""A module -> torch's ExportedProgram with a batch that varies, proved against the module itself.

The ladder: ``strict=False``, then ``strict=True``; each may still hide a fixed batch, so each is asked for batches of
1, 2, an odd number and a large one and compared. The legacy exporter (tracing) is never used: it takes a branch that
depends on the rows for a constant, without a word.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ....errors import ModelError
from ....values import Value
from . import arguments, interface, modules, repeatable, written_out
from .rewrites import rewritten
from .run_net import Tensors, batch, first, words

if TYPE_CHECKING:
    from torch.export import ExportedProgram

BATCHES = (1, 2, 7, 513)
"""One, two, odd, and larger than anything that a graph is likely to be cut into."""
EQUAL = 1e-4
"""Of the answers' own size: an exported program runs the same operators, in another order at most."""


UNKNOWN = "Give an example whose codes are all in the module's tables. (Served, a row with another is answered NaN.)"
_PLACE = re.compile(r'File "(/[^"]{1,300}\.py)", line (\d{1,7})')
"""Where torch's errors say that the user's code was."""


class ExportError(ModelError):
    """No rung of the ladder held."""


class Exported(Value):
    """``notes``: what was rewritten, and by which rung it was exported."""

    program: Any
    notes: tuple[str, ...]


def export(module: nn.Module, example: Any, accept: Callable[[Any], None] | None = None) -> Exported:
    """``example``: what the module is called with, as :mod:`.arguments` reads it; its tensors are batches of at least 2
    rows each, float32 [N, F] or int64 [N, C]. ``accept``: raises where the program won't do for what comes after; then
    the next rung is tried.

    ModelError where no rung gives a program that answers as the module does at every batch size, and where the module
    itself answers the same rows differently from call to call. The module is afterwards as it was."""
    module = modules.unwrapped(module)
    modules.require_exportable(module)
    given = arguments.of(module, example)
    inputs = tuple(tensor.detach().cpu() for tensor in given.tensors)
    _require_example(inputs)
    with modules.untouched(module), torch.random.fork_rng(devices=[]), torch.compiler.set_stance("force_eager"):
        module.eval()
        asked = [batch(inputs, size) for size in BATCHES]
        answers = _answers(module, given, asked)
        ready, notes = rewritten(module)
        said = _exported(arguments.applied(ready, given), inputs, _Truth(asked=asked, answers=answers), accept)
    return msgspec.structs.replace(said, notes=(*(f"rewritten for export: {note}" for note in notes), *said.notes))


class _Truth(Value):
    """What the module itself answers: ``answers``, a tensor for each batch of ``asked``."""

    asked: Any
    answers: Any


def _exported(ready: nn.Module, inputs: Tensors, truth: _Truth, accept: Callable[[Any], None] | None) -> Exported:
    reasons: list[str] = []
    refused: ModelError | None = None
    for strict in (False, True):
        try:
            program = _export(ready, inputs, strict=strict)
            _require_same(program, truth.asked, truth.answers)
            refused = _refused(accept, program)
            if refused is not None:
                raise refused
        except Exception as error:  # noqa: BLE001 -- torch's exporters raise all kinds of things
            reasons.append(f"strict={strict}: {_said(error)}")
            continue
        said = f"exported with strict={strict}" + (f", as {reasons[0]}" if reasons else "")
        return Exported(program=program, notes=(said,))
    if refused is not None:  # torch exported it, and it is right: what comes after won't do
        raise refused
    by_rows = any("data-dependent" in reason.lower() for reason in reasons)
    raise ExportError(
        "the net can't be exported with a batch that varies:\n  " + "\n  ".join(reasons),
        ("Write a branch that depends on the rows as torch.where. " if by_rows else "")
        + "Take each shape from the input's own shape.",
    )


def _refused(accept: Callable[[Any], None] | None, program: ExportedProgram) -> ModelError | None:
    """Why the program won't do."""
    try:
        if accept is not None:
            accept(program)
    except ModelError as error:
        return error
    return None


def _answers(module: nn.Module, given: arguments.Arguments, asked: Sequence[Tensors]) -> list[torch.Tensor]:
    """The module's own. The largest batch is asked twice: a net that isn't repeatable has no answer to be held to."""
    run, device = arguments.applied(module, given), _device(module)
    before = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    try:
        answers = [_answer(module, run, tuple(tensor.to(device) for tensor in part), given.said) for part in asked]
        again = _answer(module, run, tuple(tensor.to(device) for tensor in asked[-1]), given.said)
        repeatable.require_same(answers[-1], again)
        changed = modules.changed_buffer(module, before)
        if changed:
            raise ModelError(
                f"the module changes its own buffer {changed!r} on each call, in evaluation too",
                "Let forward change nothing unless self.training is set.",
            )
    except ModelError as error:
        layer = modules.in_training(module)
        if not layer:
            raise
        raise ModelError(
            f"{layer} is still in training mode after the module's eval(): {error.message}",
            "Let train() and eval() reach every layer: answers may not depend on chance, or on the rest of the batch.",
        ) from error
    return answers


def _answer(module: nn.Module, run: nn.Module, given: Tensors, said: str) -> torch.Tensor:
    """The module's own; ModelError where it has none."""
    try:
        with torch.no_grad():
            return first(run(*given))
    except ModelError:
        raise
    except Exception as error:
        floats = modules.other_floats(module)
        raise ModelError(
            f"the module's weights are {floats}, and numbers are served as float32: {words(error)}"
            if floats
            else f"the module fails on a batch of {len(given[0])}: {words(error)}",
            "Call .float() on the module, and export that."
            if floats
            else said or (UNKNOWN if isinstance(error, IndexError) else "It must accept any number of rows, also one."),
        ) from error


def _export(module: nn.Module, inputs: Tensors, *, strict: bool) -> ExportedProgram:
    size = torch.export.Dim("batch")
    either = contextlib.nullcontext() if strict else _AnyBatch()
    with warnings.catch_warnings(), torch.no_grad(), _quiet(), either:
        warnings.simplefilter("ignore")
        return torch.export.export(module, inputs, dynamic_shapes=_shapes(module, inputs, size), strict=strict)


class _AnyBatch(TorchFunctionMode):
    """torch.cdist takes another way from 26 rows on: here it is the same for any number."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (written_out.distances if func is torch.cdist else func)(*args, **(kwargs or {}))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Where torch's exporter fails, it prints pages of the graph."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(level)


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
    for kind, role in ((torch.float32, "numbers"), (torch.int64, "codes")):
        if sum(tensor.dtype == kind for tensor in inputs) > 1:
            raise ModelError(f"the net takes two tensors of {role}; expected one", interface.WRAP)
    if len({len(tensor) for tensor in inputs}) > 1:
        raise ModelError("the example's tensors must have as many rows as one another", "Give the same rows in each.")


def _device(module: nn.Module) -> torch.device:
    for parameter in module.parameters():
        return parameter.device
    return torch.device("cpu")


def _said(error: Exception) -> str:
    """One line, and where in the user's code it was; of an error of ours all of it, since what it lists is why."""
    if isinstance(error, ModelError):
        return f"{type(error).__name__}: {' '.join(error.message.split())[:600]}"
    if not str(error).strip():
        return type(error).__name__
    own = str(Path(torch.__file__).parent)
    places = [found for found in _PLACE.findall(str(error)) if not found[0].startswith(own)]
    at = f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""
    return f"{type(error).__name__}: {words(error)[:200]}{at}"
