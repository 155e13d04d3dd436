"""Files that a user names: digested before anything is made of them, and looked at again afterwards.

A digest is of what is there, or the error says why there is none: nothing stands for a file that is missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from . import opening, row_files
from .files import refusal

RACY_NS = 100_000_000
"""A file that was written so shortly before it was looked at may be written again and keep its time."""

_REMOTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_STORES = ("s3", "s3a", "s3n", "gs", "gcs", "az", "adl", "abfs", "abfss", "wasb", "wasbs", "hdfs", "oss", "r2")
_PLACES = {
    **dict.fromkeys(_STORES, "in an object store"),
    **dict.fromkeys(("models", "runs", "mlflow-artifacts"), "in a model registry"),
}


class Stamp(NamedTuple):
    """What the system says of a file, which a write changes."""

    path: str
    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int


class Input(NamedTuple):
    """A file, or the files of a folder, as it was looked at. ``sha256`` is of its content, and of a folder of names and
    contents. ``of_rows``: a folder of rows, in which a file may come up later."""

    path: Path
    sha256: str
    stamps: tuple[Stamp, ...]
    racy: bool
    of_rows: bool = False

    def changed(self) -> bool:
        """Whether its content isn't what was digested; a file that has gone has changed."""
        files = [Path(stamp.path) for stamp in self.stamps]
        try:
            found = row_files.parts(self.path) if self.of_rows else files
            if tuple(map(_stamp, found)) == self.stamps and not self.racy:
                return False
            return _digest(self.path, found) != self.sha256
        except (OSError, UsageError):
            return True


def look_at(path: Path, files: Sequence[Path] | None = None) -> Input:
    """``path`` digested: a regular file, or ``files`` (those of a folder, or those that belong together). ``OSError``
    where one can't be read, or isn't a regular file."""
    found = [path] if files is None else list(files)
    stamps = tuple(map(_stamp, found))
    now = time.time_ns()
    racy = any(now - stamp.modified_ns < RACY_NS for stamp in stamps)
    return Input(path, _digest(path, found), stamps, racy)


def rows(path: Path) -> Input:
    """A file or folder of rows. UsageError where there is none, or it can't be read."""
    row_files.require(path)
    try:
        if not path.is_dir():
            return look_at(path)
        return look_at(path, row_files.parts(path))._replace(of_rows=True)
    except OSError as error:
        raise UsageError(f"{refusal(error, path)}") from error


def require_local(text: str | Path, what: str) -> None:
    """UsageError where ``text`` names something on another machine: only what is on this one is read and written.
    ``what`` it was given for: ``the model``, ``--data``."""
    found = _REMOTE.match(str(text))
    if found is None or os.path.lexists(text):
        return
    scheme = found[1].lower()
    if scheme == "file":
        path = re.sub(r"^[^:]+:/+", "/", str(text))
        raise UsageError(f"{text}: {what} is named by a path, not by a URL", f"Give {path}.")
    where = _PLACES.get(scheme, f"a URL ({scheme}:)")
    raise UsageError(
        f"{text}: {what} must be on this machine, and this is {where}", "Copy it here first, and give its path."
    )


def require_file(path: Path, what: str = "") -> None:
    """UsageError where a pipe, a device or the like is at ``path``; what else can be wrong, its reader says.
    ``what`` it was given for, where its path alone doesn't say so."""
    if odd := opening.odd(path):
        raise UsageError(
            f"{what} {path}: {opening.not_regular(odd)}".lstrip(), "Save it to a file, and give that file."
        )


def _digest(path: Path, files: Sequence[Path]) -> str:
    if files == [path]:
        return opening.sha256(path)
    whole = hashlib.sha256()
    for file in files:
        name = os.path.relpath(file, path)
        whole.update(f"{len(name)} {name} {opening.sha256(file)}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return Stamp(str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
