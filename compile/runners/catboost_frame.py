"""The user's rows as CatBoost itself takes a data frame of them, beside what millwork made of them. Standalone: numpy,
pandas (which CatBoost needs) and the runner.

    frame.npz    columns   uint8: JSON, [name, kind] of each feature in training order
                 c{i}      the values of column i: booleans, integers, floats
                 t{i}      or its texts as ask.py reads them, [N, 1]
                 k{i}      of a column of kind "category": the place of each row's value among those of c{i} or t{i}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd


def compare(runner: Any, path: Path, given: tuple[Any, Any], texts: Callable[[Any], Any]) -> dict[str, Any]:
    """``rows``: on how many the two are answered differently; ``column``, ``kind``: the column that it is for.
    ``error``: what CatBoost says where it refuses the frame. Of ``given``, numbers and categories, the last rows are
    the frame's; ``texts`` unpacks texts."""
    columns, kinds = _read(path, texts)
    rows, categories = (part[len(part) - len(columns[0]) :] for part in given)
    own = runner.answers(rows, categories)
    try:
        wrong = _different(own, _asked(runner, columns))
    except (catboost.CatBoostError, TypeError, ValueError, SystemError) as error:
        return {"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:300]}
    if not wrong:
        return {}
    left = {}
    for place, column in enumerate(runner.columns):
        swapped = list(columns)
        swapped[place] = rows[:, column] if column >= 0 else _objects(categories[:, -1 - column])
        left[place] = _different(own, _asked(runner, swapped))
    place = min(left, key=left.__getitem__)
    return {"rows": wrong, "column": kinds[place][0], "kind": kinds[place][1]}


def _read(path: Path, texts: Callable[[Any], Any]) -> tuple[list[Any], list[list[str]]]:
    with np.load(path, allow_pickle=False) as held:
        kinds = json.loads(held["columns"].tobytes())
        columns: list[Any] = []
        for i, (_, kind) in enumerate(kinds):
            values = _objects(texts(held[f"t{i}"])[:, 0]) if f"t{i}" in held else held[f"c{i}"]
            columns.append(pd.Categorical.from_codes(held[f"k{i}"], values) if kind == "category" else values)
    return columns, kinds


def _asked(runner: Any, columns: list[Any]) -> Any:
    frame = pd.DataFrame(dict(enumerate(columns)))
    if runner.by_name:
        frame.columns = pd.Index(runner.model.feature_names_)
    places = [place for place, column in enumerate(runner.columns) if column < 0]
    return runner.answers_of(catboost.Pool(frame, cat_features=places))


def _different(a: Any, b: Any) -> int:
    """On how many rows."""
    return int((~((a == b) | (np.isnan(a) & np.isnan(b)))).any(axis=1).sum())


def _objects(values: Any) -> Any:
    out = np.empty(len(values), object)
    out[:] = values.tolist()
    return out
