"""``RandomCase``: a model that a seed makes, rows that its training never saw, and what the trained object answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class RandomCase:
    """``model``: a file, or the live object. ``data``: the training rows, a file or a frame. ``asked``: rows that
    training never saw, a file. ``expected``: [N, K], the answers to them of the object that was trained, in the memory
    of the process that trained it. ``words``: the case in a line. ``precise``: how far off an answer may be, as a share
    of the answers' spread and of the answer itself. ``export``: makes ``model`` a file by our own means."""

    model: Any
    data: Any
    label: str | None
    asked: Path
    expected: npt.NDArray[np.float64]
    words: str
    options: dict[str, Any] = field(default_factory=dict)
    precise: float = 2e-6
    export: Callable[[], Path] | None = None


Maker = Callable[[Rng, Path], RandomCase]
"""Makes a case's files in the folder."""


def pick(rng: Rng, *values: Any) -> Any:
    """One of ``values``, as it is (numpy's choice would make arrays of them)."""
    return values[int(rng.integers(len(values)))]


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def two_dimensional(answers: Any) -> npt.NDArray[np.float64]:
    found = np.asarray(answers, np.float64)
    return found[:, None] if found.ndim == 1 else found


def write(frame: pd.DataFrame, path: Path) -> Path:
    """As a user would: parquet by pandas, or csv."""
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path
