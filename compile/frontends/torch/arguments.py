"""An example of what a module is called with -> tensors, and the module as one that takes just those.

An example is one array or tensor, a tuple of ``forward``'s arguments in order, or a dict: of keyword arguments where
``forward`` names them so, else the one argument itself. Among them may be None, numbers and texts, which stay what they
are in the example.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from ....errors import ModelError
from ....values import Value
from .run_net import Tensors, words

CONSTANTS = (bool, int, float, str, type(None))
GIVE = "Give rows, (rows, codes), or a dict of what forward takes: arrays or tensors of 2 rows or more."


class Slot(Value):
    """Where a tensor of the example stands: ``place`` among the tensors."""

    place: int


class Arguments(Value):
    """``tensors``: all of the example, in its order. ``positional``, ``named``: the arguments, a :class:`Slot` for each
    tensor. ``plain``: they are the tensors and nothing else. ``said``: how a dict was taken where that's in doubt."""

    tensors: Any
    positional: tuple[Any, ...]
    named: dict[str, Any]
    said: str = ""

    @property
    def plain(self) -> bool:
        return not self.named and all(isinstance(part, Slot) for part in self.positional)


class Called(nn.Module):
    """``inner``, as a module of the example's tensors alone."""

    def __init__(self, inner: nn.Module, arguments: Arguments) -> None:
        super().__init__()
        self.inner, self.positional, self.named = inner, arguments.positional, arguments.named

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = [_filled(part, tensors) for part in self.positional]
        return self.inner(*given, **{name: _filled(part, tensors) for name, part in self.named.items()})


def of(module: nn.Module, example: Any) -> Arguments:
    """ModelError for what isn't an example, or not of this module."""
    tensors: list[torch.Tensor] = []
    if isinstance(example, Mapping):
        named = {key: _slots(part, tensors, str(key)) for key, part in example.items()}
        made = _of_mapping(module, named)
    else:
        given = example if isinstance(example, tuple | list) else (example,)
        made = Arguments(
            tensors=(),
            positional=tuple(_slots(part, tensors, f"argument {n}") for n, part in enumerate(given, 1)),
            named={},
        )
    if not tensors:
        raise ModelError("an example of the net's inputs is missing", GIVE)
    if not _binds(module, *made.positional, **made.named):
        raise ModelError(
            f"the example has {len(made.positional)} arguments, but the module's forward takes ({_takes(module)})", GIVE
        )
    return msgspec.structs.replace(made, tensors=tuple(tensors))


def applied(module: nn.Module, arguments: Arguments) -> nn.Module:
    """A module of the tensors alone: the module itself where it is one."""
    return module if arguments.plain else Called(module, arguments)


def _of_mapping(module: nn.Module, given: dict[Any, Any]) -> Arguments:
    """As keyword arguments, or as one argument. A dict for ``forward(batch)`` binds as both only if its key is
    ``batch``: then it is the keyword."""
    if all(isinstance(key, str) for key in given) and _binds(module, **given):
        return Arguments(tensors=(), positional=(), named=given)
    keys = ", ".join(map(repr, list(given)[:8]))
    if _binds(module, given):
        said = (
            f"The example's keys ({keys}) don't name forward's arguments ({_takes(module)}), so it was given the dict."
        )
        return Arguments(tensors=(), positional=(given,), named={}, said=said)
    raise ModelError(
        f"the example has {keys}, but the module's forward takes ({_takes(module)})",
        "Name the dict's keys as forward's arguments, or give a tuple in their order.",
    )


def _takes(module: nn.Module) -> str:
    return ", ".join(inspect.signature(module.forward).parameters)


def _binds(module: nn.Module, *positional: Any, **named: Any) -> bool:
    try:
        inspect.signature(module.forward).bind(*positional, **named)
    except TypeError:
        return False
    except ValueError:
        return True  # it has no signature to be asked for
    return True


def _slots(part: Any, tensors: list[torch.Tensor], where: str) -> Any:
    if isinstance(part, Mapping):
        return {key: _slots(inner, tensors, f"{where}[{key!r}]") for key, inner in part.items()}
    if isinstance(part, tuple | list) and any(isinstance(inner, torch.Tensor | np.ndarray | Mapping) for inner in part):
        made = [_slots(inner, tensors, f"{where}[{n}]") for n, inner in enumerate(part)]
        return made if isinstance(part, list) else tuple(made)
    if isinstance(part, CONSTANTS):
        return part
    tensors.append(_tensor(part, where))
    return Slot(place=len(tensors) - 1)


def _tensor(part: Any, where: str) -> torch.Tensor:
    """Whole numbers as int64, all else as float32. Frames have their numbers taken."""
    if hasattr(part, "to_numpy"):
        part = part.to_numpy()
    try:
        made = part if isinstance(part, torch.Tensor) else torch.as_tensor(np.array(part))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"the example's {where} is no array of numbers: {words(error)}", GIVE) from error
    if made.is_complex() or made.layout != torch.strided or made.is_quantized:
        raise ModelError(f"the example's {where} is a tensor of {made.dtype}, {made.layout}; expected numbers", GIVE)
    return made.to(torch.float32 if made.is_floating_point() or made.dtype == torch.bool else torch.int64)


def _filled(part: Any, tensors: Tensors) -> Any:
    if isinstance(part, Slot):
        return tensors[part.place]
    if isinstance(part, dict):
        return {key: _filled(inner, tensors) for key, inner in part.items()}
    if isinstance(part, list | tuple):
        return type(part)([_filled(inner, tensors) for inner in part])
    return part
