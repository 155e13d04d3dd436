"""``Case``: a model's file, the rows it was trained on, and what the framework's public API answers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


@dataclass(frozen=True, eq=False)
class Case:
    """``data``: .parquet of the training frame, or .npz of X. ``expected``: [N, K], what a user of the framework gets
    for those rows. ``margin``: asked for as raw scores."""

    model: Path
    data: Path
    expected: npt.NDArray[Any]


Make = Callable[[Path], Case]
"""A case's files are made in the folder."""


def write_rows(given: Any, folder: Path) -> Path:
    """A frame as .parquet; an array as .npz."""
    if isinstance(given, pd.DataFrame):
        given.to_parquet(folder / "rows.parquet", index=False)
        return folder / "rows.parquet"
    np.savez(folder / "rows.npz", X=given)
    return folder / "rows.npz"


def two_dimensional(answers: Any) -> npt.NDArray[np.float32]:
    found = np.asarray(answers, np.float32)
    return found[:, None] if found.ndim == 1 else found
