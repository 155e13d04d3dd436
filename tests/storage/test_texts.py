"""Texts in files: what numpy's own type of text would cut or blow up is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from millwork.artifacts.bundle_rehearsal import golden_rows
from millwork.errors import ModelError
from millwork.storage import texts
from millwork.tuning.load import tensors
from millwork.validators.rows import given as givens
from millwork.validators.rows.given import Given

TABLES: dict[str, list[list[str]]] = {
    "plain": [["a", "b"], ["", " c "]],
    "NULs": [["a\0", "a"], ["\0", "a\0b\0\0"]],
    "surrogates": [["\ud800\0", "a"]],
    "beyond the first plane": [["\U0001f525", "e\u0301"]],
    "long": [["x" * 10_000_000, "a"], ["b", "c"]],
}


def table(words: list[list[str]]) -> NDArray[Any]:
    return np.stack([texts.column(column) for column in zip(*words, strict=True)], axis=1)


@pytest.mark.parametrize("name", TABLES)
def test_texts_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    given = Given(np.zeros((len(TABLES[name]), 1), np.float32), table(TABLES[name]))
    givens.save(given, tmp_path)
    back = givens.load(tmp_path).categories
    assert back is not None
    assert back.tolist() == TABLES[name]
    tensors.save(tmp_path / "tensors.npz", given)
    assert tensors.read(tmp_path / "tensors.npz")["input__1"].tolist() == TABLES[name]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 64 << 20


def test_a_table_without_rows_keeps_its_width() -> None:
    assert texts.unpacked(texts.packed(np.zeros((0, 3), object))).shape == (0, 3)
    numbers = np.arange(6).reshape(3, 2)
    assert texts.unpacked(texts.packed(numbers)) is numbers


@pytest.mark.parametrize(
    "blob", [b"", b"[", b"[[1, 1], [1]]", b"[[2, 2], ['a']]", b"[[-5], []]", b"{}", b"\xff", b"[" * 9999]
)
def test_what_is_no_table_of_texts(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not a table of texts"):
        texts.unpacked(np.frombuffer(blob, np.uint8))


def test_golden_rows_keep_their_texts(tmp_path: Path) -> None:
    manifest: Any = SimpleNamespace(golden_file="golden.npz")
    words, numbers = table(TABLES["NULs"]), np.zeros((2, 1), np.float32)
    np.savez(tmp_path / "golden.npz", x=numbers, y=numbers, c=texts.packed(words))
    given, _ = golden_rows(tmp_path, manifest)
    assert given.categories is not None
    assert given.categories.tolist() == TABLES["NULs"]
    np.savez(tmp_path / "golden.npz", x=numbers, y=numbers, c=np.frombuffer(b"[[2, 1], [1, 2]]", np.uint8))
    with pytest.raises(ModelError, match="expected golden rows"):
        golden_rows(tmp_path, manifest)
