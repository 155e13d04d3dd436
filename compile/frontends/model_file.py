"""Reading a model's file from disk: a regular file, of a size that fits, or a ModelError that says why not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from ...errors import ModelError
from ...storage import opening
from ...storage.files import broken_link

MAX_BYTES = 4 << 30
"""The largest file that is read; an XGBoost model of 100,000 trees of depth 8 is about 1 GiB."""


TO_A_FILE = "Save the model to a file, and give that file."


def read_head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes, fewer where the file is shorter. Raises ModelError as :func:`read_whole` does."""
    with _open(path, MAX_BYTES) as file:
        return file.read(count)


def read_whole(path: Path, limit: int = MAX_BYTES) -> bytes:
    """All bytes of the file.

    Raises ModelError where there is no such file, it may not be read, it isn't a regular file (a folder, a pipe,
    a device), is empty, or is larger than ``limit`` bytes.
    """
    with _open(path, limit) as file:
        payload = file.read(limit + 1)
    if len(payload) > limit:
        raise ModelError(f"{path}: grew beyond the limit of {limit} bytes while it was read")
    return payload


def require(path: Path) -> None:
    """ModelError as :func:`read_whole` raises it, before any of the file is read."""
    _open(path, MAX_BYTES).close()


def _open(path: Path, limit: int) -> BinaryIO:
    if what := opening.odd(path):
        raise ModelError(f"{path}: {opening.not_regular(what)}", TO_A_FILE)
    try:
        if path.is_dir():
            raise ModelError(f"{path}: this is a folder, not a model file", "Name the file in it.")
        file = opening.opened(path)
    except FileNotFoundError:
        if astray := broken_link(path):
            raise ModelError(astray, "Check the path of the model.") from None
        raise ModelError(f"{path}: there is no such file", "Check the path of the model.") from None
    except PermissionError:
        raise ModelError(
            f"{path}: permission denied", "Change the file's permissions, or run as a user who may read it."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelError(f"{str(path)!r}: can't be opened: {reason}") from None
    try:
        _require_size(path, os.fstat(file.fileno()).st_size, limit)
    except ModelError:
        file.close()
        raise
    return file


def _require_size(path: Path, size: int, limit: int) -> None:
    if size == 0:
        raise ModelError(f"{path}: the file is empty", "Save the model again; the disk may have been full.")
    if size > limit:
        raise ModelError(f"{path}: {size} bytes are more than the limit of {limit}")
