"""The forest kernel: C++ without Python symbols, built by setup.py. ``millwork.h`` is its interface; ``triton`` is
Triton's backend of it."""

from __future__ import annotations

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


def _built(name: str) -> Path | None:
    path = Path(__file__).with_name(name)
    return path if path.is_file() else None
