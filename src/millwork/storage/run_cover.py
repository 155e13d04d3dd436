"""What a run leaves beside its stages (its record, the report, what it chose), and whether that is still as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..values import FileDigest
from . import wire
from .files import atomic_write, digest, refusal
from .opening import read_limited
from .run_directory import DONE_FILE, RECORD_FILE, Done

ENDED = (RECORD_FILE, "chosen.json", "report.html", "report.md", "client.py")
"""What a run leaves beside its stages."""
LONGEST = 1 << 20
"""Bytes of a list of digests that are read."""


def cover(path: Path, names: Sequence[str] = ENDED) -> None:
    """Note the digests of what lies beside a run's stages; of ``names`` only, where others were noted before."""
    known = {file.path: file for file in _covered(path) or () if file.path not in names}
    known |= {name: digest(path / name, path) for name in names if (path / name).is_file()}
    atomic_write(path / DONE_FILE, wire.encode(Done(key="", files=tuple(known[name] for name in sorted(known)))))


def record_changes(path: Path) -> list[str] | None:
    """Which of the files beside a run's stages aren't as they were when it ended, one sentence each; None where that
    isn't known: it didn't end, or an older millwork made it."""
    covered = _covered(path)
    if covered is None:
        return None
    told = []
    for file in covered:
        try:
            same = (path / file.path).stat().st_size == file.bytes and digest(path / file.path, path) == file
        except FileNotFoundError:
            told.append(f"{file.path} is missing")
        except OSError as error:
            told.append(refusal(error, path / file.path))
        else:
            told += [] if same else [f"{file.path} has changed"]
    return told


def _covered(path: Path) -> tuple[FileDigest, ...] | None:
    try:
        files = wire.decode(read_limited(path / DONE_FILE, LONGEST), Done).files
    except (OSError, msgspec.DecodeError):
        return None
    return tuple(file for file in files if file.path in ENDED)
