"""Damaged files of the CUDA kernel, sealed again: their size and checksum are right."""

from __future__ import annotations

import struct
import zlib
from typing import Any


def sealed(blob: bytearray) -> bytes:
    """With a checksum and a size that are right again."""
    struct.pack_into("<Q", blob, 16, len(blob))
    struct.pack_into("<I", blob, 12, zlib.crc32(blob[16:]))
    return bytes(blob)


def damaged(whole: bytes, rng: Any) -> bytes:
    """One to four bytes changed, half of them in the header or the first sections; one in ten is cut off."""
    blob = bytearray(whole)
    for _ in range(int(rng.integers(1, 5))):
        near = rng.integers(24, 700) if rng.random() < 0.5 else rng.integers(24, len(blob))
        blob[int(near)] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    return sealed(blob[: int(rng.integers(24, len(blob)))] if rng.random() < 0.1 else blob)
