"""A CUDA driver of emulated GPUs for the C++ side: tests/native/fake_cuda.cpp as libcuda.so.1, to be found first."""

from __future__ import annotations

import subprocess
from os import environ
from pathlib import Path

from models.emulated import COMPILER, FLAGS, NATIVE, SANITIZE, SOURCE

KERNEL = SOURCE.parents[1]
FATBIN = b"kernels of the emulated GPU"
"""What such a driver takes for forest.fatbin."""


def build(folder: Path) -> Path:
    """``libcuda.so.1`` in ``folder``. CalledProcessError where the compiler refuses."""
    library = folder / "libcuda.so.1"
    compiled(library, "fake_cuda.cpp", extra=(f'-DMW_SOURCE="{SOURCE}"', "-Wl,-soname,libcuda.so.1"))
    return library


def compiled(into: Path, *sources: str, extra: tuple[str, ...] = ()) -> Path:
    """A library of sources of tests/native, or of whole paths, with the kernel's headers."""
    paths = [str(NATIVE / source) for source in sources]
    sanitize = SANITIZE if "MILLWORK_TEST_KERNEL" in environ else ()
    subprocess.run([*COMPILER, *FLAGS, *sanitize, f"-I{KERNEL}", *extra, *paths, "-ldl", "-o", str(into)], check=True)
    return into
