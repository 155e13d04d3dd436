"""Frames of every library, by name: nothing is ever taken by its place where there are names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from millwork.errors import UsageError
from millwork.storage import named_rows, tables
from millwork.values import FeatureContract

FEATURES = FeatureContract(names=("a", "b"), named=True)
COLUMNS = {"b": np.array([3.0, 4.0]), "y": np.array([0, 1]), "a": np.array([1.0, 2.0])}


class Stream:
    """A frame of another library that speaks Arrow's stream, and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.columns = table.column_names

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Protocol:
    """One that speaks the dataframe protocol."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, *args: Any, **options: Any) -> object:
        return self._table.__dataframe__(*args, **options)


class Plain:
    """One that has columns and items."""

    columns = tuple(COLUMNS)

    def __getitem__(self, name: str) -> Any:
        return COLUMNS[name]


FRAMES: dict[str, Callable[[], object]] = {
    "pandas": lambda: pd.DataFrame(COLUMNS),
    "pandas with an index": lambda: pd.DataFrame(COLUMNS, index=[7, 3]).rename_axis("a_row"),
    "a table": lambda: pa.table(COLUMNS),
    "a record batch": lambda: pa.RecordBatch.from_pydict({k: pa.array(v) for k, v in COLUMNS.items()}),
    "a reader": lambda: pa.table(COLUMNS).to_reader(),
    "a stream": lambda: Stream(pa.table(COLUMNS)),
    "the protocol": lambda: Protocol(pa.table(COLUMNS)),
    "a mapping": lambda: COLUMNS,
    "a mapping of lists": lambda: {name: column.tolist() for name, column in COLUMNS.items()},
    "a mapping of single columns": lambda: {name: column[:, None] for name, column in COLUMNS.items()},
    "a structured array": lambda: np.rec.fromarrays(list(COLUMNS.values()), names=",".join(COLUMNS)),
    "columns": Plain,
}


def taken(data: object, label: object, folder: Path, features: FeatureContract = FEATURES) -> tables.Table:
    """What a step reads of it."""
    table, name = named_rows.table(data, label)
    with pa.OSFile(str(folder / "data.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return tables.read(folder / "data.arrow", features, name)


@pytest.mark.parametrize("kind", FRAMES)
def test_columns_are_found_by_name_in_every_kind_of_frame(kind: str, tmp_path: Path) -> None:
    found = taken(FRAMES[kind](), "y", tmp_path)
    assert found.rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "label",
    [
        [5, 6],
        np.array([[5], [6]]),
        np.array([5, 6], object),
        pd.Series([5, 6], index=[1, 0]),
        pd.DataFrame({"any": [5, 6]}),
        pd.array([5, 6], "Int64"),
        pa.chunked_array([[5], [6]]),
        pa.table({"any": [5, 6]}),
    ],
    ids=lambda label: type(label).__name__,
)
def test_labels_go_with_the_rows_by_place(label: object, tmp_path: Path) -> None:
    found = taken(pd.DataFrame(COLUMNS, index=[1, 0]), label, tmp_path)
    assert found.labels is not None
    assert found.labels.tolist() == [5, 6]
    assert found.rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]


def test_names_that_are_numbers(tmp_path: Path) -> None:
    features = FeatureContract(names=("0", "1"), named=True)
    found = taken(pd.DataFrame({4: [9, 8], 1: [3.0, 4.0], 0: [1.0, 2.0]}), 4, tmp_path, features)
    assert found.rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert found.labels is not None
    assert found.labels.tolist() == [9, 8]


@pytest.mark.parametrize("names", [("x a", "x b"), ("('x', 'a')", "('x', 'b')")], ids=["xgboost", "catboost"])
def test_names_of_several_levels_as_the_framework_joins_them(names: tuple[str, str], tmp_path: Path) -> None:
    columns = pd.MultiIndex.from_tuples([("x", "b"), ("y", ""), ("x", "a")])
    frame = pd.DataFrame([[3.0, 0, 1.0], [4.0, 1, 2.0]], columns=columns)
    found = taken(frame, ("y", ""), tmp_path, FeatureContract(names=names, named=True))
    assert found.rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


ODD = {
    "intervals": pd.cut(pd.Series([1.0, 2.0]), 2),
    "lists": pd.Series([[1], [2]]),
    "objects": pd.Series([object(), object()]),
    "mixed": pd.Series([1, "x"], dtype=object),
    "complex": pd.Series([1j, 2j]),
    "periods": pd.Series(pd.period_range("2020", periods=2, freq="D")),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_column_of_anything_is_in_the_way_only_of_a_model_that_takes_it(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(COLUMNS).assign(odd=ODD[kind])
    assert taken(frame, "y", tmp_path).rows.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(UsageError, match="column 'a' can't be taken: "):
        taken(frame.assign(a=ODD[kind]), "y", tmp_path)
    with pytest.raises(UsageError, match="column 'odd' can't be taken: "):
        taken(frame[["b", "a", "odd"]], None, tmp_path, FeatureContract(names=("f0", "f1"), named=False))


@pytest.mark.parametrize(
    ("data", "label", "said"),
    [
        (pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "a"]), None, "two columns are called 'a'"),
        (
            pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "c"]).set_index("a"),
            None,
            "it is the frame's index",
        ),
        ({"a": [1.0, 2.0], "b": [1.0]}, None, "data's columns aren't of one length: 1, 2 rows"),
        ({"a": 1.0, "b": [1.0]}, None, "column 'a' can't be taken"),
        (pd.DataFrame(), None, "lacks 2 of the model's 2 features"),
        (COLUMNS, [1], "1 labels for 2 rows"),
        (COLUMNS, np.zeros((2, 2)), r"labels must be one a row; their shape is \[2, 2\]"),
        (COLUMNS, [None, 1], "the label of row 1 is missing"),
        (COLUMNS, "z", r"no column 'z' \(--label\)"),
    ],
)
def test_what_cannot_be_taken_is_one_error(data: object, label: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        taken(data, label, tmp_path)


@pytest.mark.parametrize("data", [np.zeros((2, 2)), [[1.0]], pd.Series([1.0]), pa.chunked_array([[1.0]]), [{"a": 1}]])
def test_what_has_no_names(data: object) -> None:
    assert not named_rows.has_names(data)
