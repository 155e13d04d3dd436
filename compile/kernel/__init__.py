"""The forest kernel: C++ without Python symbols, built by setup.py beside this file. ``millwork.h`` is its interface."""

from __future__ import annotations

from pathlib import Path

LIBRARY = "libmillwork_kernel.so"


def library() -> Path | None:
    """The built library, or None where this installation has none (there was no C++ compiler)."""
    path = Path(__file__).with_name(LIBRARY)
    return path if path.is_file() else None
