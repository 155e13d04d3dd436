"""The C++ host of the CUDA kernel: the driver that it declares is CUDA's own, its reader refuses what Python's does."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from os import environ
from pathlib import Path

import numpy as np
import pytest
from conftest import once
from models import fake_cuda
from models.cuda_files import damaged
from models.emulated import COMPILER, NATIVE
from models.forests import program_of, random_forest

from millwork.compile.backends.native import cuda_file
from millwork.compile.runners import cuda_forest
from millwork.compile.runners.cuda_forest import ForestError

CUDA_H = next(
    (
        path
        for root in (environ.get("CUDA_HOME", ""), "/usr/local/cuda", Path(shutil.which("nvcc") or "").parent.parent)
        if (path := Path(root, "include", "cuda.h")).is_file()
    ),
    None,
)
PROGRAMS = (
    program_of(random_forest(3, trees=9, depth=10, features=4, categorical=1, outputs=2)),
    program_of(random_forest(5, trees=6, depth=4, features=3, outputs=3, vector_leaves=True), "softmax"),
    program_of(random_forest(6, trees=5, depth=3, features=3), "binary"),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    def make(folder: Path) -> None:
        kernel = fake_cuda.KERNEL
        sources = ("read_cuda_forest.cpp", str(kernel / "cuda" / "cuda_forest.cpp"), str(kernel / "packed.cpp"))
        fake_cuda.compiled(folder / "reader.so", *sources)

    library = ctypes.CDLL(str(once(tmp_path_factory, "cuda-forest-reader", make) / "reader.so"))
    library.refused.restype = ctypes.c_char_p
    library.refused.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library


def refused(reader: ctypes.CDLL, blob: bytes) -> str:
    said: bytes = reader.refused(blob, len(blob))
    return said.decode()


@pytest.mark.parametrize("which", range(len(PROGRAMS)))
def test_both_readers_take_the_same_files(which: int, reader: ctypes.CDLL, tmp_path: Path) -> None:
    """Bytes changed at random, sealed again: each is refused by both, or by neither."""
    path = tmp_path / "forest.cuda"
    cuda_file.write(PROGRAMS[which], path)
    whole, rng, counts = path.read_bytes(), np.random.default_rng(which), [0, 0]
    assert refused(reader, whole) == ""
    for i in range(1500):
        given = damaged(whole, rng) if i % 50 else whole[:i]
        path.write_bytes(given)
        try:
            cuda_forest.read(path)
            mine = ""
        except ForestError as error:
            mine = str(error)
        theirs = refused(reader, given)
        assert bool(mine) == bool(theirs), f"{i}: Python says {mine!r}, C++ {theirs!r}"
        counts[bool(mine)] += 1
    assert min(counts) > 100


def test_what_is_no_such_file_is_named(reader: ctypes.CDLL) -> None:
    assert refused(reader, b"") == refused(reader, b"MILLWORK" + bytes(300)) == "not a forest for the CUDA kernel"


@pytest.mark.skipif(CUDA_H is None, reason="no cuda.h on this machine: nothing to hold the declarations against")
def test_the_drivers_functions_are_declared_as_cuda_h_has_them() -> None:
    assert CUDA_H is not None
    command = [*COMPILER, "-std=c++17", "-fsyntax-only", f"-I{CUDA_H.parent}", f"-I{fake_cuda.KERNEL}"]
    subprocess.run([*command, str(NATIVE / "cuda_signatures.cpp")], check=True)
