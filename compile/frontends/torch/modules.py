"""A live module as it comes from a user: unwrapped, refused by name where it can't be exported, copied, left alone.

``copy.deepcopy`` fails on a tensor that came out of a computation (the last activation, the ``weight`` of the old
``weight_norm``), on locks, open files and generators. Then each of those is found first: such a tensor is copied
without its history, and what can't be copied at all is shared with the copy.
"""

from __future__ import annotations

import copy
import types
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ....errors import ModelError
from .run_net import words

TABLES = ("_parameters", "_buffers", "_modules")
_ATOMS = (bool, int, float, complex, str, bytes, type(None), type, types.FunctionType, types.BuiltinFunctionType)
_FLOATS = {torch.float64: "float64", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def unwrapped(module: nn.Module) -> nn.Module:
    """Without torch.compile, DataParallel and DistributedDataParallel around it: they answer as what is in them."""
    while True:
        wrapped = type(module).__name__ in ("DataParallel", "DistributedDataParallel")
        inner = getattr(module, "module" if wrapped else "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def require_exportable(module: nn.Module) -> None:
    """ModelError, with the part's name, for TorchScript, and for parameters that have no shape or no values yet."""
    for path, inner in module.named_modules():
        if isinstance(inner, torch.jit.ScriptModule):
            raise ModelError(
                f"{_part(path, inner)} is TorchScript (torch.jit.script or trace), which can't be exported",
                "Give the module that it was made from, with its weights.",
            )
    for path, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise ModelError(
                f"{path!r} has no shape yet: the module has a lazy layer, and was never called",
                "Call it once on rows, or load its weights, before it is exported.",
            )
        if tensor.is_meta:
            raise ModelError(
                f"{path!r} is on the device meta: it has a shape but no values", "Load the weights before the export."
            )


def other_floats(module: nn.Module) -> str:
    """float64, float16 or bfloat16 where a parameter has that type: the module then doesn't take float32 numbers."""
    return next((_FLOATS[tensor.dtype] for tensor in module.parameters() if tensor.dtype in _FLOATS), "")


def in_training(module: nn.Module) -> str:
    """The first layer that still drops values or takes the batch's own statistics, by its name; empty where none does.
    For a module on which ``eval()`` was called: one that overrides ``train`` may keep a layer as it was."""
    for path, inner in module.named_modules():
        drops = isinstance(inner, nn.modules.dropout._DropoutNd) and inner.p > 0  # noqa: SLF001 -- the layers' base
        norms = isinstance(inner, nn.modules.batchnorm._NormBase) and inner.running_mean is not None  # noqa: SLF001
        if inner.training and (drops or norms):
            return _part(path, inner)
    return ""


def copied(module: nn.Module) -> nn.Module:
    """A copy that shares no tensor with the module. ModelError, with the part's name, where there is no way."""
    try:
        return copy.deepcopy(module)
    except Exception:  # noqa: BLE001 -- whatever a part of it raises
        memo: dict[int, Any] = {}
        _remember(module, memo, set())
    try:
        return copy.deepcopy(module, dict(memo))
    except Exception as error:
        raise ModelError(
            f"{_uncopied(module, memo)} can't be copied: {words(error)}",
            "Delete what it holds beside its weights before the export, or save the state dict and name the factory "
            "of the module by --module.",
        ) from error


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Whatever is done to the module or asked of it: its modes, attributes, lists and buffers are then as they were."""
    parts = list(module.modules())
    attributes = [(vars(part), dict(vars(part))) for part in parts]
    tables: list[tuple[Any, Any]] = [
        (value, copy.copy(value))
        for _, kept in attributes
        for value in kept.values()
        if isinstance(value, dict | list | set | deque)
    ]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for value, kept in (*attributes, *tables):
            _put_back(value, kept)
        for buffer, before in buffers:
            if not torch.equal(buffer.detach(), before):
                with torch.no_grad():
                    buffer.copy_(before)


def changed_buffer(module: nn.Module, before: dict[str, torch.Tensor]) -> str:
    """The first buffer that isn't as it was, by its name; empty where all are."""
    return next(
        (name for name, value in module.named_buffers() if name in before and not _same(value.detach(), before[name])),
        "",
    )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one != one) & (other != other)).all())


def _put_back(value: Any, kept: Any) -> None:
    value.clear()
    if isinstance(value, list | deque):
        value.extend(kept)
    else:
        value.update(kept)


def _remember(value: Any, memo: dict[int, Any], seen: set[int]) -> None:
    """Into ``memo``, as deepcopy takes it: what is to stand for each object that it would fail on."""
    if isinstance(value, _ATOMS) or id(value) in seen or id(value) in memo:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
        return
    for inner in _inside(value):
        _remember(inner, memo, seen)
    if isinstance(value, nn.Module | dict | list | tuple | set | deque):
        return
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:  # noqa: BLE001 -- whatever it raises
        memo[id(value)] = value


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return list(value)
    if isinstance(value, types.MethodType):
        return [value.__self__]
    return list(vars(value).values()) if hasattr(value, "__dict__") and not isinstance(value, types.ModuleType) else []


def _uncopied(module: nn.Module, memo: dict[int, Any]) -> str:
    """The innermost part that can't be copied, by its name and its attribute's."""
    for path, inner in reversed(list(module.named_modules())):
        for name, value in vars(inner).items():
            try:
                if name not in TABLES:
                    copy.deepcopy(value, dict(memo))
            except Exception:  # noqa: BLE001 -- whatever it raises
                return f"{name!r} of {_part(path, inner)}"
        try:
            copy.deepcopy(inner, dict(memo))
        except Exception:  # noqa: BLE001 -- whatever it raises
            return _part(path, inner)
    return _part("", module)


def _part(path: str, module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        kind = str(getattr(module, "original_name", kind))
    return f"{path!r} ({kind})" if path else f"the module ({kind})"
