"""``inspect``: what a model is, without judging or building anything."""

from __future__ import annotations

from pathlib import Path

from .. import worker
from ..compile import compile_steps
from ..compile.compile_steps import Loaded, Lowered
from ..errors import ModelError, UsageError
from ..storage import row_files, scratch
from ..storage.inputs import require_file, require_local
from ..values import Value
from .options import InspectOptions


class Inspected(Value):
    """The model as it was read, and what lowering made of it."""

    model: Loaded
    lowered: Lowered


def inspect(options: InspectOptions) -> Inspected:
    """Read and lower the model, each in a worker. ModelError where it can't be."""
    if options.label is not None and options.data is None:
        raise UsageError("--label without --data", "Give the file that holds the label's column with --data.")
    require_local(options.model, "the model")
    require_file(Path(options.model))
    if options.data is not None:
        require_local(options.data, "--data")
        row_files.require(Path(options.data).absolute())
    sandbox = worker.Sandbox(on=not options.trust)
    load = compile_steps.LoadRequest(
        path=str(Path(options.model).absolute()),
        data="" if options.data is None else str(Path(options.data).absolute()),
        label=options.label,
        task=options.task or "",
    )
    with scratch.folder("inspect") as folder:
        loaded = worker.run("millwork.compile.compile_steps:load", load, Loaded, folder=folder, sandbox=sandbox)
        if isinstance(loaded, worker.Failure):
            loaded.raise_(ModelError, f"Reading {options.model}")
        lower = compile_steps.LowerRequest(program=str(folder / compile_steps.program_file(loaded.value.signature)))
        lowered = worker.run("millwork.compile.compile_steps:lower", lower, Lowered, folder=folder, sandbox=sandbox)
        if isinstance(lowered, worker.Failure):
            lowered.raise_(ModelError, f"Lowering {options.model}")
    return Inspected(model=loaded.value, lowered=lowered.value)
