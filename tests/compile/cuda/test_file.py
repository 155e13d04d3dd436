"""The CUDA kernel's file: what is written is read, and a damaged one is an error before any of it is on a GPU."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from models.cuda_files import damaged, sealed
from models.forests import program_of, random_forest

from millwork.compile.backends.native import cuda_file
from millwork.compile.runners import cuda_forest
from millwork.compile.runners.cuda_forest import ForestError, read

PROGRAM = program_of(random_forest(3, trees=9, depth=10, features=4, categorical=1, outputs=2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    cuda_file.write(PROGRAM, tmp_path / "forest.cuda")
    return tmp_path / "forest.cuda"


def changed(path: Path, name: str, at: int, value: float) -> None:
    """The file with one item of a section changed, sealed."""
    blob = bytearray(path.read_bytes())
    for i in range(len(cuda_forest.SECTIONS)):
        kind, _, offset, items, _ = struct.unpack_from("<IIQQQ", blob, 128 + 32 * i)
        if cuda_forest.SECTIONS[kind - 1] == name:
            held = read(path).arrays[name]
            item = np.array([value], held.dtype)
            place = offset + (at % items) * item.itemsize
            blob[place : place + item.itemsize] = item.tobytes()
    path.write_bytes(sealed(blob))


def test_what_is_written_is_read(path: Path) -> None:
    numbers, arrays = cuda_file.packed(PROGRAM)
    found = read(path)
    assert found.numbers == numbers
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert cuda_forest.NUMBERS == cuda_file.NUMBERS
    assert cuda_forest.SECTIONS == cuda_file.SECTIONS
    assert len(found.arrays["deep"]), "this forest has nodes below the eighth level"


@pytest.mark.parametrize(
    ("name", "at", "value", "said"),
    [
        ("tree", 1, 0xFFFF0001, "a test of a column"),
        ("tree", 0, 9, "the levels of a tree"),
        ("tree", 0, 4, "the size"),
        ("deep", 0, 0xFFFF0001, "a test of a column"),
        ("deep", 1, 0, "a node that isn't there"),
        ("deep", 2, 1 << 30, "a node that isn't there"),
        ("slot_target", 0, 0x80FFFFFF, "a leaf that isn't there"),
        ("tree_at", 1, 3, "where its trees begin"),
        ("tree_slot", -1, 1 << 20, "the slots of a tree"),
        ("tree_id", 0, 5, "the numbers of its trees"),
        ("leaf_row", 0, -1, "the numbers of its leaves"),
        ("leaf_value", 0, np.inf, "isn't finite"),
        ("search", 1, np.nan, "a threshold is NaN"),
        ("feature", 0, 77, "reads another column"),
        ("feature", 2, 0, "the columns of its features"),
        ("feature", 3, 30, "a search that is too deep"),
        ("feature", 5, 1 << 20, "a search table"),
        ("column", 2, 9, "a set that isn't there"),
        ("column", 1, 300, "a rank of NaN"),
        ("set_start", -1, 1 << 20, "its sets"),
        ("member", 0, 1 << 25, "its sets"),
        ("output_start", 1, 1 << 20, "the trees of its outputs"),
        ("group", -1, 3, "its groups of trees"),
    ],
)
def test_an_index_out_of_range_is_named(name: str, at: int, value: float, said: str, path: Path) -> None:
    changed(path, name, at, value)
    with pytest.raises(ForestError, match=said) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_what_is_no_such_file_is_named(path: Path) -> None:
    whole = path.read_bytes()
    for blob, said in (
        (b"", "not a forest"),
        (b"MILLWORK" + whole[8:], "not a forest"),
        (whole[:-1], "where it says"),
        (whole[:200] + b"\xff" + whole[201:], "has changed"),
        (whole[:8] + struct.pack("<I", 7) + whole[12:], "version 7"),
    ):
        path.write_bytes(blob)
        with pytest.raises(ForestError, match=said):
            read(path)


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_file_is_an_error_or_a_sound_forest(seed: int, path: Path) -> None:
    """Bytes changed at random, sealed again: nothing but ForestError, and what passes is sound by the same checks."""
    whole, rng, refused = path.read_bytes(), np.random.default_rng(seed), 0
    for _ in range(400):
        path.write_bytes(damaged(whole, rng))
        try:
            read(path)
        except ForestError:
            refused += 1
    assert 100 < refused < 400
