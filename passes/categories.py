"""``Categories``: ``input__1``, and the columns that are made of it for the trees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .encoding import MULTIPLIER, UNKNOWN_HASH, mix
from .forest import Ints

__all__ = ["MULTIPLIER", "UNKNOWN_HASH", "Categories", "Code", "Ctr", "mix"]

Given = npt.NDArray[Any]
"""Category values of N rows, [N, C]: text (numpy str or objects), or int64."""


@dataclass(frozen=True, eq=False)
class Code:
    """A column of numbers that stand for a category feature's values: float32 [V + 1], the last for unknown ones."""

    feature: int
    table: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ctr:
    """D columns of CatBoost's statistics of a combination of elements; names as in ``encoding``.

    ``categories`` int32 [a]; ``columns`` int32 [b], ``borders`` float32 [b], ``nan`` bool [b]; ``features`` int32 [c],
    ``values`` int64 [c]; ``keys`` uint64 [n] ascending; ``table`` float32 [n + 1, D].
    """

    categories: Ints
    columns: Ints
    borders: npt.NDArray[np.float32]
    nan: npt.NDArray[np.bool_]
    features: Ints
    values: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    table: npt.NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.table.shape[1])


@dataclass(frozen=True, eq=False)
class Categories:
    """``vocabularies``: the known values of each of the C features (text, or integers where ``integer``); ``hashes``:
    CatBoost's of them, int64 [V + 1] each, none where no CTR needs them."""

    integer: bool
    vocabularies: tuple[tuple[str | int, ...], ...]
    codes: tuple[Code, ...] = ()
    hashes: tuple[npt.NDArray[np.int64], ...] = ()
    ctrs: tuple[Ctr, ...] = ()

    @property
    def n_features(self) -> int:
        return len(self.vocabularies)

    @property
    def n_columns(self) -> int:
        """How many columns follow the numeric ones in the encoded row."""
        return len(self.codes) + sum(ctr.width for ctr in self.ctrs)

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """As :mod:`millwork.passes.encoding` reads them."""
        words = json.dumps([list(values) for values in self.vocabularies])
        out: dict[str, npt.NDArray[Any]] = {
            "vocabulary": np.frombuffer(words.encode(), np.uint8),
            "code_feature": np.array([code.feature for code in self.codes], np.int32),
        }
        out |= {f"hash{c}": values for c, values in enumerate(self.hashes)}
        out |= {f"code{j}": code.table for j, code in enumerate(self.codes)}
        for k, ctr in enumerate(self.ctrs):
            out |= {f"ctr{k}_{name}": value for name, value in vars(ctr).items()}
        return out


def from_tables(tables: Mapping[str, npt.NDArray[Any]], *, integer: bool) -> Categories:
    """What :meth:`Categories.tables` gave."""
    words = json.loads(tables["vocabulary"].tobytes())
    ctrs = sum(name.startswith("ctr") and name.endswith("_keys") for name in tables)
    fields = tuple(Ctr.__dataclass_fields__)
    return Categories(
        integer=integer,
        vocabularies=tuple(tuple(values) for values in words),
        codes=tuple(Code(int(c), tables[f"code{j}"]) for j, c in enumerate(tables["code_feature"])),
        hashes=tuple(tables[f"hash{c}"] for c in range(len(words)) if f"hash{c}" in tables),
        ctrs=tuple(Ctr(**{name: tables[f"ctr{k}_{name}"] for name in fields}) for k in range(ctrs)),
    )
