"""``Given``: what a client sends, N rows of it: numbers, and categories where the model takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...passes.forest import Rows
from ...storage import archives, texts

ROWS_FILE, CATEGORIES_FILE = "rows.npy", "categories.npy"


@dataclass(frozen=True, eq=False)
class Given:
    """``numbers``: float32 [N, F]. ``categories``: texts (objects) or int64 [N, C], or None."""

    numbers: Rows
    categories: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, which: Any) -> Given:
        """Some of the rows: a slice, or an array of numbers or truths."""
        return Given(self.numbers[which], None if self.categories is None else self.categories[which])

    @property
    def parts(self) -> tuple[Any, ...]:
        """As a runner's ``predict`` takes them."""
        return (self.numbers,) if self.categories is None else (self.numbers, self.categories)


def joined(parts: list[Given]) -> Given:
    """One after the other."""
    categories = [part.categories for part in parts if part.categories is not None]
    return Given(np.concatenate([part.numbers for part in parts]), np.concatenate(categories) if categories else None)


def save(given: Given, folder: Path) -> None:
    np.save(folder / ROWS_FILE, given.numbers)
    if given.categories is not None:
        np.save(folder / CATEGORIES_FILE, texts.packed(given.categories), allow_pickle=False)


def load(folder: Path, *, mapped: bool = False) -> Given:
    """What :func:`save` wrote. ``mapped``: read from disk as it is used."""
    mode: Literal["r"] | None = "r" if mapped else None
    path = folder / CATEGORIES_FILE
    return Given(
        archives.array(folder / ROWS_FILE, mode),
        texts.unpacked(archives.array(path)) if path.is_file() else None,
    )
