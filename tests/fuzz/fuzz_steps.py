"""The step that opens mutants one after another in one confined process: what it met is its reply, and where it is, for
when the process dies, is in a file beside it."""

from __future__ import annotations

import faulthandler
import gc
import shutil
import traceback
import warnings
from pathlib import Path

import formats
import msgspec
import mutations

from millwork.errors import MillworkError
from millwork.values.base import FilePath

SECONDS = 10
"""For one mutant; then the process ends, as it does at the pipeline's own limit."""
PROGRESS, TALLY = "progress", "tally.json"
KEPT = 20


class Mutants(msgspec.Struct, frozen=True):
    """Those numbered ``begin`` to ``end``, of the files in ``seeds``."""

    format: str
    seeds: FilePath
    begin: int
    end: int


class Tally(msgspec.Struct):
    """``read``: opened without complaint. ``refused``: by one of our errors. ``engine``: refused by the engine after
    it. ``uncaught``: the number and the last lines of the first of the others, and ``escaped``: how many there were."""

    read: int = 0
    refused: int = 0
    engine: int = 0
    escaped: int = 0
    uncaught: list[str] = []


def run(request: Mutants) -> Tally:
    """Open each; anything else than an answer or an error of ours is told."""
    warnings.simplefilter("ignore")
    seeds = [path.read_bytes() for path in sorted(Path(request.seeds).iterdir())]
    made = formats.FORMATS[request.format]
    tally = Tally()
    for number in range(request.begin, request.end):
        Path(PROGRESS).write_text(str(number))
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        folder = Path.cwd() / "mutant"
        folder.mkdir()
        path = folder / f"model{made.suffix}"
        path.write_bytes(mutations.mutant(seeds, number))
        _open(made, path, number, tally)
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(folder)
        if number % 100 == 0:
            gc.collect()
        if number % 10 == 0:
            Path(TALLY).write_bytes(msgspec.json.encode(tally))
    return tally


def _open(made: formats.Format, path: Path, number: int, tally: Tally) -> None:
    try:
        found = made.read(path)
    except MillworkError as error:
        tally.refused += 1
        if len(str(error)) > 3000:
            _escaped(tally, number, f"a message of {len(str(error))} characters")
        return
    except BaseException:  # noqa: BLE001 (what is looked for)
        _escaped(tally, number, traceback.format_exc())
        return
    if made.engine is not None:
        try:
            made.engine(path, found)
        except Exception:  # noqa: BLE001 (an engine may)
            tally.engine += 1
            return
    tally.read += 1


def _escaped(tally: Tally, number: int, said: str) -> None:
    tally.escaped += 1
    if len(tally.uncaught) < KEPT:
        tally.uncaught.append(f"mutant {number}: {said[-700:]}")
