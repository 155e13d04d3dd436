"""Files of rows of every usual kind: folders of parquet, compressed text, Arrow's own; and what is said of a wrong
one."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from millwork.errors import UsageError
from millwork.storage import archives
from millwork.storage.row_files import separator
from millwork.storage.tables import read
from millwork.values import FeatureContract

FEATURES = FeatureContract(names=("age", "income"), named=True)
FRAME = pd.DataFrame({"y": [0, 1, 1], "income": [2.5, 1e5, -3.0], "age": [30.0, np.nan, 41.5]})
VALUES = FRAME[["age", "income"]].to_numpy(np.float32)
TEXT = FRAME.to_csv(index=False)


def zstd(text: str) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text.encode())
    return sink.getvalue().to_pybytes()


def stream(path: Path) -> None:
    table = pa.Table.from_pandas(FRAME)
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rows.pq": FRAME.to_parquet,
    "rows.parq": FRAME.to_parquet,
    "ROWS.PARQUET": FRAME.to_parquet,
    "rows.tsv": lambda path: path.write_text(TEXT.replace(",", "\t")),
    "rows.csv.gz": lambda path: path.write_bytes(gzip.compress(TEXT.encode())),
    "rows.csv.bz2": lambda path: path.write_bytes(bz2.compress(TEXT.encode())),
    "rows.csv.zst": lambda path: path.write_bytes(zstd(TEXT)),
    "rows.tsv.gz": lambda path: path.write_bytes(gzip.compress(TEXT.replace(",", "\t").encode())),
    "rows.feather": FRAME.to_feather,
    "rows.arrow": lambda path: pyarrow.feather.write_feather(pa.Table.from_pandas(FRAME), path, compression="lz4"),
    "stream.arrow": stream,
    "bom.csv": lambda path: path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode()),
    "semicolons.csv": lambda path: path.write_text(TEXT.replace(",", ";")),
    "tabs.csv": lambda path: path.write_text(TEXT.replace(",", "\t")),
    "lines.csv": lambda path: path.write_bytes(TEXT.replace("\n", "\r\n").encode()),
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_whatever_usual_file_they_are_in(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    found = read(tmp_path / name, FEATURES, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]


def test_a_semicolon_in_quotes_is_no_separator() -> None:
    assert separator(b'"a;b",c\n1,2\n', ",") == ","
    assert separator(b'"a,b";c\n1;2\n', ",") == ";"
    assert separator(b"alone\n1;2\n", ",") == ","


# ── a folder of parquet ───────────────────────────────────────────────────────────────────────────────────


def folder(at: Path, *parts: tuple[str, pd.DataFrame]) -> Path:
    for name, frame in parts:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(at / name, index=False)
    return at


def test_a_folder_of_parquet_is_its_files_one_after_the_other(tmp_path: Path) -> None:
    path = folder(tmp_path / "rows", ("part-1.parquet", FRAME[1:]), ("part-0.pq", FRAME[:1].astype({"y": float})))
    (path / "_SUCCESS").touch()
    (path / ".part-0.pq.crc").write_bytes(b"crc")
    found = read(path, FEATURES, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "types", [("int64", "float64"), ("float64", "int64"), ("int32", "int64"), ("float32", "float64")]
)
def test_files_of_a_folder_may_write_numbers_in_other_types(types: tuple[str, str], tmp_path: Path) -> None:
    """One file with a missing integer has floats."""
    parts = [(f"{i}.parquet", FRAME[i : i + 1].astype({"y": kind})) for i, kind in enumerate(types)]
    found = read(folder(tmp_path / "rows", *parts), FEATURES, "y")
    np.testing.assert_array_equal(found.rows, VALUES[:2])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


def test_the_names_of_hive_folders_are_columns(tmp_path: Path) -> None:
    parts = [(f"y={y}/kind=a%20b/{i}.parquet", FRAME.drop(columns="y")[i : i + 1]) for i, y in enumerate(FRAME.y)]
    features = FeatureContract(
        names=("age", "income"),
        named=True,
        category_names=("kind",),
        category_dtype="string",
        categories={"kind": ("a b",)},
        order=("age", "income", "kind"),
    )
    found = read(folder(tmp_path / "rows", *parts), features, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]
    assert found.categories is not None
    assert found.categories.tolist() == [["a b"]] * 3


def test_a_folder_whose_files_have_other_columns_is_refused_by_both_names(tmp_path: Path) -> None:
    path = folder(tmp_path / "rows", ("0.parquet", FRAME), ("1.parquet", FRAME.drop(columns="age")))
    with pytest.raises(UsageError, match=r"1\.parquet has no column 'age', which 0\.parquet has"):
        read(path, FEATURES)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("_delta_log/0.json", "this is a Delta table; its folder also holds rows that were replaced or deleted"),
        ("metadata/v1.metadata.json", "this is an Iceberg table"),
        ("notes.csv", r"notes\.csv: a folder of rows may hold \.parquet files only"),
    ],
)
def test_a_folder_that_holds_more_than_the_rows_is_refused(entry: str, said: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "rows", ("0.parquet", FRAME))
    (path / entry).parent.mkdir(exist_ok=True)
    (path / entry).touch()
    with pytest.raises(UsageError, match=said):
        read(path, FEATURES)


def test_a_folder_without_parquet(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"this is a folder without \.parquet files"):
        read(tmp_path, FEATURES)


# ── numbers of a text ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("word", ["None", "N/A", "<NA>", " NaN ", "null", ""])
def test_what_pandas_takes_for_nothing_is_missing_among_many_numbers(word: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,income\n" + "1.5,2\n" * 150_000 + f"{word},7\n2.5,8\n")
    rows = read(path, FEATURES).rows
    assert np.flatnonzero(np.isnan(rows[:, 0])).tolist() == [150_000]
    assert rows[-1].tolist() == [2.5, 8.0]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("-", "Leave a field empty where its value is missing"),
        ("many", "Encode it as you did for training"),
        ('"1,5"', "Write numbers with a point: 1.5, not 1,5."),
    ],
)
def test_the_first_value_that_is_no_number_is_named_with_its_column_and_row(
    word: str, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("age,income\n" + "1.5,2\n" * 150_000 + f"None,7\n{word},8\n?,9\n")
    with pytest.raises(UsageError) as refused:
        read(path, FEATURES)
    bare = word.strip('"')
    assert (
        f"column 'age' holds text; the model takes numbers. The first that isn't one is {bare!r}, in row 150,002"
        in (refused.value.message)
    )
    assert hint in refused.value.hint


def test_text_of_a_typed_file_is_no_number_whatever_it_says(tmp_path: Path) -> None:
    pd.DataFrame({"age": [None, "1"], "income": [1.0, 2.0]}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UsageError, match=r"column 'age' holds text.* '1', in row 2"):
        read(tmp_path / "rows.parquet", FEATURES)


# ── what can't be read ────────────────────────────────────────────────────────────────────────────────────


def test_a_text_of_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(UsageError, match=r"the text is UTF-16, not UTF-8\nSave it as UTF-8"):
        read(tmp_path / "rows.csv", FEATURES)


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv.zst", "rows.feather", "rows.arrow", "stream.arrow"])
def test_a_file_that_was_cut_is_one_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    for at in (0, 5, len(whole) // 2):
        path.write_bytes(whole[:at])
        with pytest.raises(UsageError, match=name):
            read(path, FEATURES)


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.arrow"])
def test_a_file_that_grows_too_much_is_refused_while_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FLOOR", 100_000)
    path = tmp_path / name
    if name == "rows.arrow":
        table = pa.table({"age": np.zeros(1_000_000), "income": np.zeros(1_000_000)})
        pyarrow.feather.write_feather(table, path, compression="zstd")
    else:
        path.write_bytes(gzip.compress(b"age,income\n" + b"1,2\n" * 1_000_000))
    with pytest.raises(UsageError, match="bytes in memory; the limit is"):
        read(path, FEATURES)


def test_a_pipe_and_a_file_that_nobody_may_read_are_told(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(UsageError, match="this is not a regular file"):
        read(tmp_path / "rows.csv", FEATURES)


def test_a_text_view_as_polars_writes_it(tmp_path: Path) -> None:
    texts = pa.array(["u", "v"], pa.string_view())
    coded = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.uint32()), texts)
    table = pa.table({"age": [1.0, 2.0], "kind": texts, "code": coded})
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    features = FeatureContract(
        names=("age",),
        named=True,
        category_names=("kind", "code"),
        category_dtype="string",
        order=("age", "kind", "code"),
    )
    found = read(tmp_path / "rows.arrow", features)
    assert found.categories is not None
    assert found.categories.tolist() == [["u", "v"], ["v", "u"]]
    pq.write_table(pa.table({"age": [1.0], "kind": ["u"], "code": ["v"]}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet", features).categories.tolist() == [["u", "v"]]  # type: ignore[union-attr]
