"""The forest kernel: C++ without Python symbols, built by setup.py. ``millwork.h`` is its interface; ``triton`` is
Triton's backend of it."""

from __future__ import annotations

import re
from pathlib import Path

LIBRARY = "libmillwork_kernel.so"
CUDA = Path(__file__).with_name("cuda")
"""The kernel for GPUs: forest.cu, and what ``make cuda`` made of it."""
TRITON_BACKEND = "millwork"
"""What config.pbtxt calls the backend, and its folder in the server's backend folder."""
TRITON_LIBRARY = f"libtriton_{TRITON_BACKEND}.so"


def library() -> Path | None:
    """The built library, or None where this installation has none (there was no C++ compiler)."""
    return _built(LIBRARY)


def triton_library() -> Path | None:
    """Triton's backend, or None likewise."""
    return _built(TRITON_LIBRARY)


def glibc(library: Path) -> tuple[int, int]:
    """The newest glibc whose symbols the library asks for: no system with an older one loads it."""
    versions = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", library.read_bytes())
    return max(((int(major), int(minor)) for major, minor in versions), default=(0, 0))


def _built(name: str) -> Path | None:
    path = Path(__file__).with_name(name)
    return path if path.is_file() else None
