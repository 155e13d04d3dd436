"""Compressed files, expanded with a limit: what joblib's ``compress=`` writes, and a pickle in a gzip file.

lz4 is read where the package of that name is installed, as joblib itself has it.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol, cast

from ....errors import ModelError

_CHUNK = 1 << 20
_LZMA_MEMORY = 256 << 20
"""The dictionary of xz preset 9 takes 65 MiB; a header can ask for 4 GiB."""

_EXPANSION = 200
_EXPANSION_FLOOR = 64 << 20
"""A file may grow two hundredfold, and any may grow to 64 MiB: honest models grow three- to twentyfold."""


class _Decompressor(Protocol):
    """What :mod:`bz2`, :mod:`lzma` and, below, :mod:`zlib` agree on."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Zlib:
    """:mod:`zlib` in the manner of the other two: it keeps its own unread input."""

    def __init__(self, window: int) -> None:
        self._stream = zlib.decompressobj(window)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _lz4() -> _Decompressor:
    import lz4.frame

    return cast("_Decompressor", lz4.frame.LZ4FrameDecompressor())


_READ: dict[str, Callable[[], _Decompressor]] = {
    "zlib": lambda: _Zlib(zlib.MAX_WBITS),
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, _LZMA_MEMORY),
    "lz4": _lz4,
}
_REFUSED = {"zstd": "zstd", "joblib-0.9": "joblib older than 0.10"}
_DAMAGED = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, RuntimeError)
"""What the decompressors raise for a stream that isn't one; lz4 a RuntimeError."""


def compression(head: bytes) -> str | None:
    """The name of the compression that a file's first bytes announce, or None."""
    for magic, kind in (
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x5d\x00\x00", "lzma"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"ZF", "joblib-0.9"),
    ):
        if head.startswith(magic):
            return kind
    # RFC 1950: the first two bytes are a multiple of 31, and the window is at most 32 KiB
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib"
    return None


def expand(payload: bytes, name: str, limit: int) -> bytes:
    """The contents of a compressed file; a file that isn't compressed as it is.

    Raises ModelError where the stream is damaged or truncated, grows beyond ``limit`` bytes or two hundredfold
    (beyond 64 MiB), or is of a kind that isn't read (zstd; lz4 where its package isn't installed).
    """
    kind = compression(payload[:16])
    if kind is None:
        return payload
    if kind in _REFUSED:
        raise ModelError(
            f"{name}: the file is compressed by {_REFUSED[kind]}, which is not supported",
            'Save it with joblib.dump(model, path, compress=("zlib", 3)), or uncompressed.',
        )
    limit = min(limit, max(_EXPANSION_FLOOR, _EXPANSION * len(payload)))
    try:
        return _expanded(payload, _READ[kind], name, limit)
    except ModuleNotFoundError:
        raise ModelError(
            f"{name}: the file is compressed by {kind}, whose package isn't installed", f"pip install {kind}"
        ) from None
    except _DAMAGED as error:
        raise ModelError(f"{name}: the {kind} stream is damaged: {error}", "Copy or save the file again.") from None


def head_of(payload: bytes, count: int) -> bytes:
    """The first ``count`` bytes of what a compressed file's first bytes hold; empty where that can't be told."""
    kind = compression(payload[:16])
    if kind not in _READ:
        return b""
    try:
        return _READ[kind]().decompress(payload, count)
    except (ModuleNotFoundError, *_DAMAGED):
        return b""


def _expanded(payload: bytes, make: Callable[[], _Decompressor], name: str, limit: int) -> bytes:
    expanded = bytearray()
    stream = make()
    remaining = payload
    while not stream.eof:
        chunk = stream.decompress(remaining, _CHUNK)
        remaining = b""
        expanded += chunk
        if len(expanded) > limit:
            raise ModelError(
                f"{name}: expands to more than {limit} bytes", "Save the model uncompressed if it is really so large."
            )
        if not chunk and not stream.eof:
            raise ModelError(f"{name}: the compressed stream ends too early: the file is truncated")
    return bytes(expanded)
