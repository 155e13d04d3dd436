"""The files that a run is told: model, rows, and a net's module, each digested before any stage's key is made of it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

import msgspec

from ..compile.frontends import model_file
from ..errors import ModelError, UsageError
from ..storage import inputs, row_files
from ..storage.files import refusal
from ..storage.inputs import Input
from ..values import Record
from . import module_files
from .module_files import MOST_FILES, ModuleFiles
from .plan import Plan


@dataclass(frozen=True)
class Given:
    """``data`` and ``module`` are None where none was named; ``local`` where the module is installed."""

    model: Input
    data: Input | None
    module: Input | None
    local: ModuleFiles | None = None

    @property
    def data_sha256(self) -> str:
        """Empty where no rows were named: never of rows that aren't there."""
        return "" if self.data is None else self.data.sha256

    @property
    def module_sha256(self) -> str:
        """Likewise."""
        return "" if self.module is None else self.module.sha256

    @property
    def reads(self) -> tuple[Path, ...]:
        """What a step may read beside the data's own path: files that links in a folder of rows point at."""
        if self.data is None or not self.data.path.is_dir():
            return ()
        files = (Path(stamp.path).resolve() for stamp in self.data.stamps)
        return tuple(file for file in files if not file.is_relative_to(self.data.path.resolve()))

    @contextlib.contextmanager
    def importable(self, plan: Plan) -> Iterator[tuple[str, tuple[Path, ...]]]:
        """The folder that a net's factory is imported from, and what a step may read for that: its own module, and
        nothing else of the user's folder."""
        if self.local is None or plan.trust:
            yield plan.module_path, ()
        else:
            with self.local.shown() as (folder, reads):
                yield str(folder), reads

    def of_module(self, plan: Plan) -> str:
        """What is read of the folder that the factory's module lies in, in words; empty where that isn't limited."""
        if self.local is None or plan.trust:
            return ""
        folder = self.local.folder
        return f"--module {plan.module} is read from {folder}: {self.local.in_words}. Nothing else there can be read"

    def changed(self) -> list[Path]:
        """The files that aren't as they were when the run began."""
        return [each.path for each in (self.model, self.data, self.module) if each is not None and each.changed()]

    def noted(self, found: Record, note: Callable[[str], None]) -> Record:
        """The record with a note, told too, for each file that was changed after it was read."""
        notes = [f"{path} was changed while the run went on; it is judged as it was before" for path in self.changed()]
        for text in notes:
            note(text)
        return msgspec.structs.replace(found, notes=(*found.notes, *notes))

    def require_unchanged(self) -> None:
        """UsageError names a file that was changed before it was read: what was made of it isn't what its key says."""
        changed = self.changed()
        if changed:
            raise UsageError(
                f"{changed[0]}: the file was changed while the run read it",
                "Give the same command again, or a copy that nobody writes to.",
            )


def look_at(plan: Plan) -> Given:
    """All that ``plan`` names, digested; ModelError or UsageError where one is missing or can't be read."""
    model_file.require(plan.model)
    if plan.data is not None:  # what is cheap is asked of both before one is read
        row_files.require(plan.data)
    try:
        model = inputs.look_at(plan.model)
    except OSError as error:
        raise ModelError(f"{refusal(error, plan.model)}") from error
    data = None if plan.data is None else inputs.rows(plan.data)
    module, local = _module(plan) if plan.module else (None, None)
    return Given(model, data, module, local)


def _module(plan: Plan) -> tuple[Input, ModuleFiles | None]:
    """The factory's package, or its file with what it imports from the same folder."""
    name = plan.module.partition(":")[0]
    try:
        if plan.module_path:
            local = module_files.find(Path(plan.module_path), name)
            return inputs.look_at(local.folder, local.files), local
        found = _installed(plan.module, name.partition(".")[0])
        return inputs.look_at(found[0].parent, found), None
    except OSError as error:
        raise module_files.said(error, plan.module) from error


def _installed(module: str, top: str) -> list[Path]:
    """The files of a module that is installed; UsageError where there is none."""
    try:
        spec: ModuleSpec | None = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UsageError(
            f"--module {module}: there is no module {top!r}",
            "The module must be importable: installed, on PYTHONPATH, or in the folder that you are in.",
        )
    folders = list(spec.submodule_search_locations or ())
    files = [Path(at, name) for folder in folders for at, _, names in os.walk(folder) for name in names]
    code = [path for path in files if path.suffix in (".py", ".so")]
    return sorted(code)[:MOST_FILES] or [Path(spec.origin or "")]
