"""A state dict with the module that it belongs to, which a factory of the user's makes: ``--module
package.module:factory``.

The file is read by ``torch.load(weights_only=True)``: tensors, nothing else. The factory is the user's own code, named
on the command line, and runs in the sandbox like all that reads a model. It returns a module, or (module, example) with
the module's arguments, a batch each.
"""

from __future__ import annotations

import importlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from ....errors import ModelError, UsageError
from ....values import Provenance
from ..load_options import LoadOptions
from ..loaded_model import LoadedModel
from . import archive, export, interface, net, probing, run_net, to_onnx
from .model_card import Card

EXAMPLE_ROWS = 4
_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,200})")
SAVE = "Save torch.save(net.state_dict(), path), or better the whole net by millwork.save_net or torch.export.save."


def load(content: bytes, where: Provenance, options: LoadOptions) -> LoadedModel:
    """ModelError for a file that isn't a state dict, or doesn't fit the module; UsageError for the factory."""
    module = options.module
    state = _state(content)
    if not module:
        raise ModelError(
            "a state dict holds only weights, not the net that they belong to",
            "Name the function that makes the net: --module package.module:factory. "
            "Or save the whole net by millwork.save_net.",
        )
    made = _made(module, options.module_path)
    built, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(built, nn.Module):
        raise UsageError(f"--module {module}: it returned a {type(built).__name__}, not a torch.nn.Module")
    names: tuple[str, ...] = ()
    if example is None:
        names = _columns(options.data, options.label, module)
        example = (torch.zeros(EXAMPLE_ROWS, len(names)),)
    _fill(built, state, module)
    exported = export.export(built, tuple(example), accept)
    saved = io.BytesIO()
    torch.export.save(exported.program, saved)
    found = msgspec.structs.replace(archive.read(saved.getvalue()), card=Card(names=names), version="")
    return net.of_archive(found, where, options, exported.notes)


def accept(program: Any) -> None:
    """ModelError where the program can't be made an ONNX graph: another rung may do."""
    face = interface.of(program)
    run = program.module()
    to_onnx.convert(program, face, probing.rows(run, face, probing.known(run, face)))


def _state(content: bytes) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelError(
            f"not a state dict of plain tensors: {_held(error)}",
            f"A pickled module is not read, because reading it runs code. {SAVE}",
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ModelError(f"the file holds a {type(found).__name__}, not a state dict", SAVE)
    return found


def _held(error: Exception) -> str:
    """What the file holds, in torch's words. Its first lines advise to read the file all the same."""
    named = _GLOBAL.search(str(error))
    return f"a pickle of {named[1]}" if named else "torch can't read it without running code that is in it"


def _made(module: str, folder: str) -> Any:
    name, _, function = module.partition(":")
    if not name or not function:
        raise UsageError(f"--module {module!r}: expected package.module:factory")
    if folder:
        sys.path.insert(0, folder)
    try:
        factory = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--module {module}: {error}",
            "The module must be importable: installed, on PYTHONPATH, or in the folder that you are in.",
        ) from error
    try:
        return factory()
    except Exception as error:
        raise UsageError(f"--module {module}: it raised {type(error).__name__}: {run_net.words(error)}") from error


def _columns(data: Path | None, label: str | None, module: str) -> tuple[str, ...]:
    """The columns of the user's rows, where the factory gave no example."""
    if data is None:
        raise UsageError(
            f"--module {module}: it returned a module, but no example of its inputs",
            "Return (module, (rows,)) from it, or give --data.",
        )
    from ....storage.tables import columns

    return columns(data, label)


def _fill(module: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"the state dict doesn't fit the module that {name} makes: {' '.join(lines[1:3])[:300]}",
            "The factory must make the net as it was trained.",
        ) from error
