"""Run a published version here: its files checked, its runner in a worker, answers into a .npy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from .. import worker
from ..artifacts import manifest as manifests
from ..artifacts import repository
from ..artifacts.repository import reading
from ..compile.runners.load import runner
from ..errors import ModelError, UsageError
from ..storage import archives, row_files, scratch, tables
from ..storage.files import refusal
from ..storage.inputs import require_local
from ..validators.rows.given import Given
from ..values import Manifest, Value
from ..values.base import FilePath
from ..worker import MOST_MEMORY, Failure, Limits, Sandbox
from .options import PredictOptions

ANSWERS_FILE = "predicted.npy"
BLOCK = 65536


class PredictRequest(Value):
    """``folder``: the version's. ``rows``: the user's file."""

    folder: FilePath
    manifest: Manifest
    rows: FilePath


class PredictReply(Value):
    """Beside it: ``predicted.npy``, float32 [rows, outputs]."""

    rows: int
    outputs: int
    notes: tuple[str, ...]


def predict(options: PredictOptions) -> str:
    """Write the published version's answers for the rows of a file; what was done, in a line."""
    require_local(options.rows, "--input")
    require_local(options.answers, "--output")
    row_files.require(Path(options.rows))
    answers = Path(options.answers)
    if answers.suffix != ".npy":
        raise UsageError(f"--output {answers}: expected a file ending in .npy")
    if not answers.absolute().parent.is_dir():
        raise UsageError(f"--output {answers}: no such folder: {answers.parent}")
    where = repository.at(str(options.repository))
    with scratch.folder("predict") as own:
        folder = reading.found(where, options.name, options.version, own / "version").folder
        version = f"version {folder.name} of {options.name}"
        reply = _asked(folder, options, own, f"V{version[1:]}")
        try:
            _move(own / ANSWERS_FILE, answers)
        except OSError as error:
            raise UsageError(f"--output {refusal(error, answers)}") from error
    notes = "".join(f"; {note}" for note in reply.notes)
    return f"{reply.rows:,} rows, {reply.outputs} outputs, {version}: {answers}{notes}"


def _asked(folder: Path, options: PredictOptions, own: Path, version: str) -> PredictReply:
    """What the version's runner answered, in a worker; its answers are in ``own``."""
    request = PredictRequest(
        folder=str(folder), manifest=manifests.read_intact(folder), rows=str(Path(options.rows).absolute())
    )
    done = worker.run(
        "millwork.commands.predict:run",
        request,
        PredictReply,
        folder=own,
        limits=Limits(seconds=3600.0, memory_bytes=MOST_MEMORY),
        sandbox=Sandbox(on=not options.trust),
    )
    if isinstance(done, Failure):
        done.raise_(ModelError, f"{version}, asked to predict,")
    _require_answers(own / ANSWERS_FILE, done.value, version)
    return done.value


def run(request: PredictRequest) -> PredictReply:
    """The step: rows in the manifest's order, the artifact's own runner, all in this process."""
    manifest = request.manifest
    given = tables.read(Path(request.rows), manifest.features)
    engine = runner(manifest.runner)(Path(request.folder) / manifest.model_file, manifest.parameters, 1)
    rows = Given(given.rows, given.categories)
    parts = [engine.predict(*rows[i : i + BLOCK].parts) for i in range(0, len(rows), BLOCK)]
    out = np.concatenate(parts).astype(np.float32)
    np.save(Path.cwd() / ANSWERS_FILE, out)
    return PredictReply(rows=len(out), outputs=out.shape[1], notes=given.notes)


def _require_answers(path: Path, reply: PredictReply, version: str) -> None:
    """ModelError where the file isn't what the reply says."""
    try:
        shape, dtype = archives.described(path)
        same = shape == (reply.rows, reply.outputs) and dtype == np.float32
    except archives.UNREADABLE:
        same = False
    if not same:
        raise ModelError(f"{version}, asked to predict, left other answers than it said.")


def _move(source: Path, to: Path) -> None:
    """Into place by a rename, so that nobody reads half of it."""
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, beside)
        beside.rename(to)
    finally:
        beside.unlink(missing_ok=True)
