"""Where in the row that ONNX's trees read each test finds its number.

ONNX's tree operators compare numbers, so a test of a category becomes one of an indicator: for each categorical
feature and each distinct set that some test of it has, a column that is 1 where the category is in the set, 0 where it
isn't and NaN where it is missing; the test is ``indicator <= 0.5``. The row: the client's numbers, then the CTRs, then
the indicators of one feature after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ....passes.program import Program


@dataclass(frozen=True, eq=False)
class Indicators:
    """Of one categorical feature. ``table``: float32 [P + 1, S], a row a place, the last one for whatever has none.

    ``column``: the client's number (its categories are 0 … P - 1), or None where it is ``category``, a feature of
    ``input__1`` whose places are those of its vocabulary.
    """

    column: int | None
    category: int | None
    table: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layout:
    """``column`` int64 [M] and ``threshold`` [M]: of each test, 0 on leaves; ``width``: numbers in the whole row."""

    column: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    indicators: tuple[Indicators, ...]
    width: int


def layout(program: Program) -> Layout:
    """Of a lowered program."""
    forest, categories = program.forest, program.categories
    codes = () if categories is None else categories.codes
    n_ctrs = program.n_encoded - program.n_columns - len(codes)
    test = ~forest.is_leaf
    column = np.zeros(forest.n_nodes, np.int64)
    encoded = program.columns[forest.feature[test]].astype(np.int64)
    column[test] = np.where(encoded < program.n_columns, encoded, encoded - len(codes))  # codes have no column here
    threshold = forest.threshold.copy()
    made, at = [], program.n_columns + n_ctrs
    member = forest.membership()
    for f in forest.category_features():
        nodes = np.flatnonzero(forest.is_categorical & (forest.feature == f))
        sets, place = np.unique(forest.category_set[nodes], return_inverse=True)
        column[nodes] = at + place
        threshold[nodes] = 0.5
        own = member[sets].T.astype(np.float32)
        source = int(program.columns[f])
        if source < program.n_columns:
            made.append(Indicators(source, None, own))
        else:
            code = codes[source - program.n_columns]
            made.append(Indicators(None, code.feature, _by_place(own, code.table)))
        at += len(sets)
    return Layout(column, threshold, tuple(made), at)


def _by_place(own: npt.NDArray[np.float32], codes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``own`` [categories + 1, S] looked up by the code of each place of a vocabulary: [V + 1, S]."""
    none = len(own) - 1
    valid = (codes >= 0) & (codes < none)
    table = own[np.where(valid, np.where(valid, codes, 0), none).astype(np.int64)]
    table[np.isnan(codes)] = np.nan
    return table
