"""What a file of rows would take in memory, asked before any of it is read: a few kilobytes can stand for gigabytes.

An .npz is a zip, whose table says how large each member is (the reader stops there); an array's header says its shape.
A .parquet file's footer says its rows, columns, and bytes once decompressed. Whatever lies is found by its reader.
"""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ModelError, UsageError
from . import opening

LARGEST = 16 << 30
"""Bytes that the rows of one file may take: 100 million rows of 40 numbers."""
EXPANSION = 250
"""How many times its own size a file's rows may take, once they take more than :data:`FLOOR`."""
FLOOR = 1 << 30
VALUE = 8
"""Bytes of one value of a table while it is read."""
MOST_MEMBERS = 1000
LONGEST_REASON = 300
LONGEST_HEADER = 16_384
"""Bytes that are read for an array's header; numpy takes one of 10,000."""

UNREADABLE = (
    ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error, RuntimeError,
    SyntaxError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip
"""What numpy and zipfile raise for a file that is damaged. A zip with a password is a RuntimeError; a header is read as
Python's literals, and then taken for what it should be."""


def reason(error: Exception) -> str:
    """The first line of an error's text, as far as it is fit to be shown: it may hold the file's own bytes."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if len(first) <= LONGEST_REASON else f"{first[:LONGEST_REASON]}…"


def require_size(path: Path, expanded: int, largest: int = LARGEST, *, size: int | None = None) -> None:
    """UsageError where the rows of ``path`` would take ``expanded`` bytes, and that is too many. ``size``: the bytes of
    a folder's files."""
    size = path.stat().st_size if size is None else size
    limit = min(largest, max(FLOOR, EXPANSION * size))
    if expanded > limit:
        raise UsageError(
            f"{path}: its rows take {expanded:,} bytes in memory; the limit is {limit:,} bytes for a file of "
            f"{size:,} bytes",
            "Give a sample of the rows. If all of them are needed, save the file uncompressed.",
        )


def require_file_size(path: Path, size: int) -> None:
    """UsageError where a file by itself is larger than its rows may be in memory: before any of it is read."""
    if size > LARGEST:
        raise UsageError(f"{path}: the file has {size:,} bytes; the limit is {LARGEST:,}", "Give a sample of the rows.")


def require_arrays(file: IO[bytes], path: Path, largest: int = LARGEST) -> None:
    """The same of an open .npy or .npz, which is left at its beginning; ``UNREADABLE`` where it isn't one."""
    magic = file.read(4)
    if magic == b"PK\x03\x04":
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise UsageError(f"{path}: the archive has {len(members):,} arrays; at most {MOST_MEMBERS:,} are read")
            require_size(path, sum(member.file_size for member in members), largest)
            for member in members:
                with archive.open(member) as array:
                    _require_array(array, member.file_size)
    else:
        file.seek(0)
        _require_array(file, os.fstat(file.fileno()).st_size)
    file.seek(0)


def read(path: Path, largest: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz that a step, or whoever wrote a repository, left: at most ``largest`` bytes. ModelError
    where it isn't one, or has more."""
    try:
        with opening.opened(path, largest) as file:
            require_arrays(file, path, largest)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except UsageError as error:
        raise ModelError(error.message) from error
    except UNREADABLE as error:
        raise ModelError(f"{path}: not a readable file of arrays: {reason(error)}") from error


def array(path: Path, mode: Literal["r"] | None = None) -> npt.NDArray[Any]:
    """The array of a .npy of ours; ``mode``: mapped into memory and not read."""
    opening.opened(path).close()  # a regular file, or an error
    loaded: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return loaded


def described(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and type of the array in a .npy, which is whole and has nothing after it; ``UNREADABLE`` where that
    isn't so."""
    with opening.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        shape, dtype = _require_array(file, size)
    if size > math.prod(shape) * dtype.itemsize + LONGEST_HEADER:
        raise ValueError(f"an array of shape {shape} can't have {size:,} bytes")
    return shape, dtype


def _require_array(whole: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The header's shape and type; ValueError where it announces more than the file has."""
    file = io.BytesIO(whole.read(LONGEST_HEADER))
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    count = 1
    for length in shape:
        if length < 0:
            raise ValueError(f"an array of shape {shape}")
        count *= length
    if not dtype.hasobject and count * dtype.itemsize > size:
        raise ValueError(f"an array of {count:,} values in {size:,} bytes")
    return shape, dtype


def require_parquet(path: Path) -> None:
    """The same of a .parquet file; pyarrow's own errors where it isn't one."""
    import pyarrow.parquet

    require_size(path, parquet_bytes(pyarrow.parquet.read_metadata(path)))


def parquet_bytes(footer: Any) -> int:
    """What the rows of a .parquet file with this footer take in memory, as far as it says so."""
    stored = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
    return int(max(stored, footer.num_rows * footer.num_columns * VALUE))
