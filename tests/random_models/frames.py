"""Random frames: columns of every dtype that a framework takes, and labels that depend on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from case import Rng, chance, pick

Values = Callable[[Rng, int, bool], Any]
"""Values of a column: how many, and whether training never saw them."""

WORDS = (
    "Oslo",
    "Bergen",
    "a b",
    " padded ",
    "7",
    "007",
    "1.0",
    "None",
    "nan",
    "True",
    "x,y",
    'say "hi"',
    "Tromsø",
    "日本",
    "-",
)
HARD_WORDS = ("", "a", "a\0", "\0", "a\0b", "null", "NA", "'", "\\", "\t", "\u017f", "é", "e\u0301")


def _scaled(scale: float, dtype: str = "float64", gaps: float = 0.0) -> Values:
    def made(rng: Rng, rows: int, unseen: bool) -> Any:
        found = rng.normal(size=rows) * scale * (4 if unseen else 1)
        found[rng.random(rows) < gaps] = np.nan
        return found.astype(dtype)

    return made


def _whole(low: int, high: int, dtype: str, gaps: float = 0.0) -> Values:
    def made(rng: Rng, rows: int, unseen: bool) -> Any:
        found = rng.integers(low, high, rows)
        if dtype.islower():
            return found.astype(dtype)
        return pd.array(np.where(rng.random(rows) < gaps, None, found.astype(object)), dtype=dtype)

    return made


def _truth(rng: Rng, rows: int, unseen: bool) -> Any:
    return rng.random(rows) < 0.4


NUMBERS: dict[str, Values] = {
    "float64": _scaled(1.0),
    "float64 with gaps": _scaled(1.0, gaps=0.15),
    "float32": _scaled(1.0, "float32"),
    "float32 with gaps": _scaled(30.0, "float32", gaps=0.1),
    "large": _scaled(1e8),
    "small": _scaled(1e-7),
    "int64": _whole(-50, 50, "int64"),
    "int32 with zeros": _whole(0, 4, "int32"),
    "int8": _whole(-100, 100, "int8"),
    "uint8": _whole(0, 200, "uint8"),
    "large int64": _whole(2**53 - 1000, 2**53 + 1000, "int64"),
    "bool": _truth,
}
NULLABLE: dict[str, Values] = {
    "Int64 with gaps": _whole(-9, 9, "Int64", gaps=0.1),
    "Int32": _whole(0, 5, "Int32"),
    "Float64": lambda rng, rows, unseen: pd.array(_scaled(1.0)(rng, rows, unseen), dtype="Float64"),
    "boolean": lambda rng, rows, unseen: pd.array(_truth(rng, rows, unseen), dtype="boolean"),
}


@dataclass(frozen=True, eq=False)
class Column:
    """``make(rng, rows, unseen)``: its values."""

    kind: str
    make: Values
    category: bool = False


def numbers(rng: Rng, count: int, *, nullable: bool = False) -> list[Column]:
    kinds = NUMBERS | NULLABLE if nullable else NUMBERS
    names = [pick(rng, *kinds) for _ in range(count)]
    return [Column(name, kinds[name]) for name in names]


def _among(known: list[Any], unknown: list[Any], dtype: Any) -> Values:
    def made(rng: Rng, rows: int, unseen: bool) -> Any:
        values = known + unknown if unseen else known
        found = np.empty(rows, object)
        found[:] = [values[i] for i in rng.integers(0, len(values), rows)]
        return pd.Series(found).astype(dtype).array if dtype is not None else found

    return made


def categories(rng: Rng, count: int, *, hard: bool) -> list[Column]:
    """As CatBoost takes them: text, integers or truth values, some of which training never saw. ``hard``: of text that
    a csv can't tell from another, too (00 from 0)."""
    made = []
    for _ in range(count):
        kind = pick(
            rng, "words", "words", "many words", "digits", "integers", "negative integers", "bools", "categorical"
        )
        words = list(WORDS + HARD_WORDS if hard else WORDS)
        rng.shuffle(words)
        few = int(rng.integers(2, 8))
        integers = [int(i) for i in rng.integers(-40 if kind == "negative integers" else 0, 60, few + 2)]
        make = {
            "words": lambda w=words, n=few: _among(w[:n], w[n : n + 2], None),
            "many words": lambda: _among([f"user {i}" for i in range(40)], ["nobody", "user 40"], None),
            "digits": lambda n=few: _among([str(i) for i in range(n)], [str(n), *(["00"] if hard else [])], None),
            "integers": lambda i=integers: _among(i[:-2], i[-2:], "int64"),
            "negative integers": lambda i=integers: _among(i[:-2], i[-2:], "int32"),
            "bools": lambda: _among([True, False], [], "bool"),
            "categorical": lambda w=words, n=few: _among(w[:n], w[n : n + 2], "category"),
        }[kind]()
        made.append(Column(kind, make, category=True))
    return made


def pandas_categories(rng: Rng, count: int, *, reordered: bool) -> list[Column]:
    """As XGBoost takes them: pandas' categoricals of text or of integers, some missing. ``reordered``: in another order
    than in training, when they are asked."""
    made = []
    for _ in range(count):
        text = chance(rng, 0.6)
        known = (
            list(WORDS[: int(rng.integers(2, 9))])
            if text
            else [int(i) for i in rng.choice(100, int(rng.integers(2, 9)), False) - 20]
        )
        gaps = pick(rng, 0.0, 0.1)

        def make(rng: Rng, rows: int, unseen: bool, known: list[Any] = known, gaps: float = gaps) -> Any:
            order = list(reversed(known)) if unseen and reordered else known
            codes = rng.integers(0, len(known), rows)
            codes[: len(known)] = np.arange(len(known))
            codes[len(known) :][rng.random(rows - len(known)) < gaps] = -1
            return pd.Categorical.from_codes(codes, categories=order)

        made.append(Column("text categories" if text else "integer categories", make, category=True))
    return made


def frame(rng: Rng, columns: list[Column], names: list[str], rows: int, *, unseen: bool = False) -> pd.DataFrame:
    return pd.DataFrame({name: column.make(rng, rows, unseen) for name, column in zip(names, columns, strict=True)})


def names(rng: Rng, count: int) -> list[str]:
    kind = pick(rng, "plain", "plain", "odd", "digits")
    if kind == "digits":
        return [str(i) for i in range(count)]
    odd = ["a b", "Größe", "x.y", "x:y", "f1", "f0", "_", "label?", "A", "a"]
    return [f"col{i}" for i in range(count)] if kind == "plain" else (odd + [f"c{i}" for i in range(count)])[:count]


def number_of(rng: Rng, given: pd.DataFrame) -> Any:
    """A number a row that depends on every column; float64 [N], finite."""
    total = rng.normal(size=len(given)) * 0.2
    for name in given.columns:
        column = given[name]
        if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object or str(column.dtype) == "str":
            codes = pd.factorize(column.astype(object), sort=False)[0].astype(float)
        else:
            codes = pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
        codes = np.nan_to_num(codes, nan=0.3)
        spread = codes.std() or 1.0
        total = total + pick(rng, 1.0, -1.0, 0.5) * np.sin((codes - codes.mean()) / spread * pick(rng, 1.0, 2.5))
    return total


def label_name(given: pd.DataFrame) -> str:
    name = "y"
    while name in given.columns:
        name += "_"
    return name
