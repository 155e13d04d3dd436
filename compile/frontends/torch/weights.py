"""A state dict with the module that it belongs to, which a factory of the user's makes: ``--module
package.module:factory``.

The file is read by :mod:`.state_dicts`: tensors, nothing else. The factory is the user's own code, named
on the command line, and runs in the sandbox like all that reads a model. It returns a module, or (module, example) with
the module's arguments, a batch each.
"""

from __future__ import annotations

import importlib
import io
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
from . import archive, export, interface, modules, net, probing, run_net, state_dicts, to_onnx
from .model_card import Card
from .state_dicts import State

EXAMPLE_ROWS = 4


def load(content: bytes, where: Provenance, options: LoadOptions) -> LoadedModel:
    """ModelError for a file that isn't a state dict, or doesn't fit the module; UsageError for the factory."""
    module = options.module
    state = state_dicts.read(content)
    if not module:
        raise ModelError(
            "a state dict holds only weights, not the net that they belong to",
            "Name the function that makes the net: --module package.module:factory. "
            "Or save the whole net by millwork.save_net.",
        )
    built, example = _net(_made(module, options.module_path), module)
    names: tuple[str, ...] = ()
    if example is None:
        names = _columns(options.data, options.label, module)
        example = (torch.zeros(EXAMPLE_ROWS, len(names)),)
    built = modules.unwrapped(built)
    notes = _fill(built, state, module)
    exported = export.export(built, example, accept)
    saved = io.BytesIO()
    torch.export.save(exported.program, saved)
    found = msgspec.structs.replace(archive.read(saved.getvalue()), card=Card(names=names), version="")
    return net.of_archive(found, where, options, (*notes, *exported.notes))


def _net(made: Any, name: str) -> tuple[nn.Module, Any]:
    """What the factory returned, as the module and its example, if any."""
    built, example = made if isinstance(made, tuple | list) and len(made) == 2 else (made, None)
    if isinstance(built, nn.Module):
        return built, example
    if isinstance(made, dict):
        what = f"a dict of {', '.join(str(key)[:40] for key in list(made)[:8])}"
    elif isinstance(made, tuple | list):
        what = f"a {type(made).__name__} of {', '.join(type(part).__name__ for part in made[:8])}"
    else:
        what = f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"
    raise UsageError(
        f"--module {name}: it returned {what}, not a torch.nn.Module",
        "Return the module, or (module, example): what the module is called with.",
    )


def accept(program: Any) -> None:
    """ModelError where the program can't be made an ONNX graph: another rung may do."""
    face = interface.of(program)
    run = program.module()
    to_onnx.convert(program, face, probing.rows(run, face, probing.known(run, face)))


_IMPORTABLE = (
    "The module must be importable: installed, on PYTHONPATH, or in the folder that you are in. Of that folder only "
    "the factory's module or package can be read, and the modules that it imports by name."
)
_IN_A_PACKAGE = (
    "In the sandbox a factory reads nothing but its module, and the files of packages that it imports. Put what it "
    "reads into its package (a folder with __init__.py), or give --trust."
)


def _made(module: str, folder: str) -> Any:
    name, _, function = module.partition(":")
    if not name or not function:
        raise UsageError(f"--module {module!r}: expected package.module:factory")
    if folder:
        sys.path.insert(0, folder)
    try:
        factory = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--module {module}: {error}", _IMPORTABLE) from error
    try:
        return factory()
    except Exception as error:
        hint = _IN_A_PACKAGE if isinstance(error, FileNotFoundError | PermissionError) else ""
        raise UsageError(
            f"--module {module}: it raised {type(error).__name__}: {run_net.words(error)}", hint
        ) from error


def _columns(data: Path | None, label: str | None, module: str) -> tuple[str, ...]:
    """The columns of the user's rows, where the factory gave no example."""
    if data is None:
        raise UsageError(
            f"--module {module}: it returned a module, but no example of its inputs",
            "Return (module, (rows,)) from it, or give --data.",
        )
    from ....storage.tables import columns

    return columns(data, label)


def _fill(module: nn.Module, found: State, name: str) -> tuple[str, ...]:
    """Load the weights, by the module's own names; notes on what was left out of the file, or changed its type."""
    wanted = module.state_dict()
    state = state_dicts.fitted(found, set(wanted))
    try:
        module.load_state_dict(state.tensors, strict=True)
    except (RuntimeError, ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"the state dict doesn't fit the module that {name} makes: {' '.join(lines[1:3] or lines)[:300]}",
            "The factory must make the net as it was trained.",
        ) from error
    filled = module.state_dict()
    other = [
        key for key, value in state.tensors.items() if value.is_floating_point() and filled[key].dtype != value.dtype
    ]
    if not other:
        return state.notes
    kinds = {str(state.tensors[key].dtype).removeprefix("torch.") for key in other}
    into = str(filled[other[0]].dtype).removeprefix("torch.")
    told = f"{len(other)} tensors of the state dict are {', '.join(sorted(kinds))}; the module holds them as {into}"
    return (*state.notes, told)
