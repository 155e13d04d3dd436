"""The user's rows: every file format, in the model's own order, as float32; and what is said of a wrong one."""

from __future__ import annotations

import decimal
import resource
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millwork.errors import UsageError
from millwork.storage.tables import distinct_categories, read
from millwork.values import FeatureContract
from millwork.values.contracts import NO_CATEGORY, NO_INTEGER

NAMED = FeatureContract(names=("age", "income", "score"), named=True)
UNNAMED = FeatureContract(names=("f0", "f1", "f2"), named=False)
FRAME = pd.DataFrame(
    {"age": [30.0, 41.5, np.nan], "income": [1e5, 2.5, -3.0], "score": [0.1, 0.2, 0.3], "y": [0, 1, 1]}
)
VALUES = FRAME[["age", "income", "score"]].to_numpy(np.float32)


def save(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def parquet(columns: dict[str, Any], path: Path) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "ROWS.CSV"])
def test_columns_are_found_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    save(FRAME, path)
    found = read(path, NAMED, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.rows.dtype == np.float32
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 1]
    assert found.notes == ()


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_another_order_and_extra_columns(name: str, tmp_path: Path) -> None:
    frame = FRAME.assign(comment=["a", "b", "c"])[["score", "comment", "y", "income", "age"]]
    found = read(save(frame, tmp_path / name), NAMED, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.notes == ("ignored 1 column that the model doesn't take",)


def test_columns_by_position_where_the_model_has_no_names(tmp_path: Path) -> None:
    path = save(FRAME[["y", "age", "income", "score"]], tmp_path / "rows.csv")
    found = read(path, UNNAMED, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert "columns were taken in the file's order" in found.notes[0]
    with pytest.raises(
        UsageError, match=r"the file has 4 columns besides the label; the model takes 3 .*\nGive a file with only those"
    ):
        read(path, UNNAMED)


def test_arrays_by_position(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", VALUES.astype(np.float64))
    np.testing.assert_array_equal(read(tmp_path / "rows.npy", NAMED).rows, VALUES)
    np.savez(tmp_path / "rows.npz", X=VALUES, y=np.array(["a", "b", "a"]))
    found = read(tmp_path / "rows.npz", UNNAMED, "y")
    np.testing.assert_array_equal(found.rows, VALUES)
    assert found.labels is not None
    assert found.labels.tolist() == ["a", "b", "a"]


# ── numbers of every type ─────────────────────────────────────────────────────────────────────────────────


def test_numbers_of_every_type_become_float32(tmp_path: Path) -> None:
    columns = {
        "int64": pa.array([1, None, 3], pa.int64()),
        "uint8": pa.array([0, 255, 7], pa.uint8()),
        "bool": pa.array([True, False, None]),
        "null": pa.nulls(3),
        "decimal": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3.5")], pa.decimal128(5, 2)),
        "half": pa.array(np.array([0.5, 1.0, np.nan], np.float16)),
        "float64": pa.array([0.1, 1e300, -1e-300]),
    }
    features = FeatureContract(names=tuple(columns), named=True)
    found = read(parquet(columns, tmp_path / "rows.parquet"), features)
    nan = np.nan
    wanted = [[1, 0, 1, nan, 1.25, 0.5, 0.1], [nan, 255, 0, nan, nan, 1.0, np.inf], [3, 7, nan, nan, -3.5, nan, -0.0]]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found.rows, np.array(wanted, np.float32))


def test_float64_is_rounded_to_the_nearest_float32(tmp_path: Path) -> None:
    middle = 1.0 + 2.0**-24  # halfway between two float32 numbers: to the even one
    values = np.array([0.1, middle, middle + 2.0**-50, 16777217.0])
    found = read(parquet({"x": values}, tmp_path / "rows.parquet"), FeatureContract(names=("x",), named=True))
    np.testing.assert_array_equal(found.rows[:, 0], np.array([0.1, 1.0, 1.0 + 2.0**-23, 16777216.0], np.float32))


def test_float32_comes_through_bit_for_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**32, 2000, np.uint64).astype(np.uint32).view(np.float32)
    values = values[~np.isnan(values)]
    found = read(parquet({"x": values}, tmp_path / "rows.parquet"), FeatureContract(names=("x",), named=True))
    assert found.rows.tobytes() == values.tobytes()


def test_integers_round_once(tmp_path: Path) -> None:
    """By way of float64, 2^54 + 2^30 + 1 would first lose its 1 and then be a tie."""
    value = 2**54 + 2**30 + 1
    found = read(
        parquet({"x": pa.array([value])}, tmp_path / "rows.parquet"), FeatureContract(names=("x",), named=True)
    )
    assert found.rows[0, 0] == np.array([value]).astype(np.float32)[0]
    assert found.rows[0, 0] != np.float32(float(value))


@pytest.mark.parametrize("text", ["", "NA", "NaN", "nan", "null"])
def test_missing_values_of_a_csv(text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"age,income,score\n1,2,3\n{text},5,6\n")
    rows = read(tmp_path / "rows.csv", NAMED).rows
    assert np.isnan(rows[1, 0])
    assert rows[1, 1:].tolist() == [5, 6]


# ── what is wrong with it ─────────────────────────────────────────────────────────────────────────────────


def test_missing_columns_are_named_with_the_nearest_that_is_there(tmp_path: Path) -> None:
    path = save(FRAME.rename(columns={"income": "incom", "age": "AGE"}), tmp_path / "rows.csv")
    with pytest.raises(UsageError) as refused:
        read(path, NAMED, "y")
    assert refused.value.message == f"{path}: the file lacks 2 of the model's 3 features: age, income"
    assert refused.value.hint == "Did you mean 'AGE' for 'age', 'incom' for 'income'? The file has: AGE, incom, score."
    with pytest.raises(UsageError, match=r"Did you mean 'incom'\? The file has: age, incom, score, y\."):
        read(save(FRAME.rename(columns={"income": "incom"}), tmp_path / "two.csv"), NAMED)


def test_the_label_cant_be_one_of_the_features(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lacks 1 of the model's 3 features: score"):
        read(save(FRAME, tmp_path / "rows.csv"), NAMED, "score")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_a_label_that_isnt_there(name: str, tmp_path: Path) -> None:
    path = save(FRAME.rename(columns={"y": "target"}), tmp_path / name)
    with pytest.raises(UsageError, match=r"no column 'targets' \(--label\)\nDid you mean 'target'\?"):
        read(path, NAMED, "targets")


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_text_in_a_column_of_numbers(name: str, tmp_path: Path) -> None:
    path = save(FRAME.assign(income=["1", "2", "many"]), tmp_path / name)
    with pytest.raises(UsageError, match="column 'income' holds text; the model takes numbers"):
        read(path, NAMED, "y")


def test_dates_and_lists_in_a_column_of_numbers(tmp_path: Path) -> None:
    frame = FRAME.assign(age=pd.to_datetime(["2020-01-01"] * 3))
    with pytest.raises(UsageError, match="column 'age' holds timestamp"):
        read(save(frame, tmp_path / "rows.parquet"), NAMED)
    columns = {"age": [[1.0], [2.0]], "income": [1.0, 2.0], "score": [1.0, 2.0]}
    with pytest.raises(UsageError, match="column 'age' holds list"):
        read(parquet(columns, tmp_path / "lists.parquet"), NAMED)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,income,score,age\n1,2,3,4\n")
    with pytest.raises(UsageError, match="two columns are called 'age'"):
        read(tmp_path / "rows.csv", NAMED)
    (tmp_path / "other.csv").write_text("age,income,score,x,x\n1,2,3,4,5\n")
    assert read(tmp_path / "other.csv", NAMED).rows.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.npy", "rows.npz"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match=f"{name}: not a readable"):
        read(tmp_path / name, NAMED)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.npy", "rows.npz"])
def test_a_file_cut_short(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "rows.npz":
        np.savez(path, X=VALUES)
    elif name == "rows.npy":
        np.save(path, VALUES)
    else:
        save(FRAME, path)
    whole = path.read_bytes()
    for at in (3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:at])
        with pytest.raises(UsageError, match=name):
            read(path, NAMED)


def test_no_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", VALUES[:0])
    for path in (save(FRAME[:0].astype(float), tmp_path / "rows.parquet"), tmp_path / "rows.npy"):
        with pytest.raises(UsageError, match="the file has no rows"):
            read(path, NAMED)
    (tmp_path / "rows.csv").write_text("age,income,score\n")
    with pytest.raises(UsageError, match="the file has no rows"):
        read(tmp_path / "rows.csv", NAMED)


def test_ragged_and_binary_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,income,score\n1,2,3\n4,5\n")
    with pytest.raises(UsageError, match="not a readable csv file: CSV parse error"):
        read(tmp_path / "rows.csv", NAMED)
    (tmp_path / "rows.csv").write_bytes(b"age,income,score\n\xff\xfe,2,3\n")
    with pytest.raises(UsageError, match=r"rows\.csv"):
        read(tmp_path / "rows.csv", NAMED)


def test_arrays_that_dont_fit(tmp_path: Path) -> None:
    def wrong(said: str, label: str | None = None, **arrays: Any) -> None:
        np.savez(tmp_path / "rows.npz", **arrays)
        with pytest.raises(UsageError, match=said):
            read(tmp_path / "rows.npz", NAMED, label)

    wrong("the file has no array called X\nIt has: rows", rows=VALUES)
    wrong("each row has 2 values; the model takes 3", X=VALUES[:, :2])
    wrong(r"X must be numbers of shape \[rows, features\]", X=VALUES[0])
    wrong("X must be numbers", X=VALUES.astype(str))
    wrong(r"no array called 'y' \(--label\)", "y", X=VALUES)
    wrong(r"the labels must be one a row; their shape is \(2,\) for 3 rows", "y", X=VALUES, y=np.zeros(2))
    np.save(tmp_path / "rows.npy", VALUES)
    with pytest.raises(UsageError, match=r"no array called 'y' \(--label\)"):
        read(tmp_path / "rows.npy", NAMED, "y")


def test_pickled_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(UsageError, match="not a readable numpy file"):
        read(tmp_path / "rows.npy", NAMED)


def test_files_that_arent_there_or_arent_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "rows.csv", NAMED)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=r"this is a folder without \.parquet files"):
        read(tmp_path / "folder.csv", NAMED)
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(
        UsageError, match=r"this kind of data file isn't supported\nExpected one of \.parquet, \.pq, \.csv, .*\.npz"
    ):
        read(tmp_path / "rows.xlsx", NAMED)


def test_a_column_that_is_not_there_is_looked_for_among_those_not_in_use(tmp_path: Path) -> None:
    features = FeatureContract(names=("price_1", "price_2", *(f"x{i}" for i in range(20))), named=True)
    columns = {name: [1.0] for name in features.names if name != "price_2"}
    path = parquet({**columns, "comment": ["a"], "PRICE 2": [2.0], "bought": [1]}, tmp_path / "rows.parquet")
    with pytest.raises(UsageError) as refused:
        read(path, features, "bought")
    assert refused.value.hint == ("Did you mean 'PRICE 2'? The file's columns that aren't used yet: PRICE 2, comment.")
    whole = parquet({**columns, "price_2": [2.0], "comment": ["a"], "purchased": [1]}, tmp_path / "more.parquet")
    with pytest.raises(UsageError) as refused:
        read(whole, features, "price")
    assert refused.value.hint == "The file's columns that aren't used yet: purchased, comment."
    with pytest.raises(UsageError, match=r"Did you mean 'purchased'\?"):
        read(whole, features, "Purchased_")


# ── samples and labels ────────────────────────────────────────────────────────────────────────────────────


def test_a_sample_is_seeded_in_order_and_keeps_rows_with_their_labels(tmp_path: Path) -> None:
    rows = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    np.savez(tmp_path / "rows.npz", X=rows, y=rows[:, 0])
    found = read(tmp_path / "rows.npz", NAMED, "y", limit=100)
    assert found.rows.shape == (100, 3)
    assert found.labels is not None
    assert np.array_equal(found.rows[:, 0], found.labels)
    assert np.all(np.diff(found.labels) > 0)
    assert found.notes == ("a seeded sample of 100 of 1,000 rows",)
    assert np.array_equal(read(tmp_path / "rows.npz", NAMED, limit=100).rows, found.rows)
    assert read(tmp_path / "rows.npz", NAMED, limit=1000).notes == ()


def test_labels_are_as_the_file_has_them(tmp_path: Path) -> None:
    for labels in ([1, 2, 3], [0.5, 1.5, 2.5], [True, False, True], ["a", "b", "c"]):
        found = read(save(FRAME.assign(y=labels), tmp_path / "rows.parquet"), NAMED, "y")
        assert found.labels is not None
        assert found.labels.tolist() == labels


# ── categories ────────────────────────────────────────────────────────────────────────────────────────────

ORDER = ("place", "age", "kind")
TEXTS = FeatureContract(
    names=("age",), named=True, category_names=("place", "kind"), category_dtype="string", order=ORDER
)
INTEGERS = msgspec.structs.replace(TEXTS, category_dtype="int64")
NULLS = msgspec.structs.replace(TEXTS, category_nulls=True)
WORDS = [["Oslo", "u"], ["Troms\u00f8", "v"], ["7", "u"]]


def mixed(place: Any, kind: Any) -> dict[str, Any]:
    return {"kind": kind, "extra": [1, 2, 3], "age": [1.0, 2.5, None], "place": place}


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_text_is_a_category_of_every_kind_of_column(kind: str, tmp_path: Path) -> None:
    types = {"string": pa.string(), "large_string": pa.large_string(), "dictionary": pa.string()}
    columns = [pa.array([row[c] for row in WORDS], types[kind]) for c in (0, 1)]
    if kind == "dictionary":
        columns = [column.dictionary_encode() for column in columns]
    found = read(parquet(mixed(*columns), tmp_path / "rows.parquet"), TEXTS)
    np.testing.assert_array_equal(found.rows, np.array([[1], [2.5], [np.nan]], np.float32))
    assert found.categories is not None
    assert found.categories.tolist() == WORDS
    assert found.notes == ("ignored 1 column that the model doesn't take",)


def test_integers_and_truth_values_are_categories_as_text_or_as_integers(tmp_path: Path) -> None:
    place, kind = pa.array([3, -7, 2**40]), pa.array([True, False, True])
    found = read(parquet(mixed(place, kind), tmp_path / "rows.parquet"), TEXTS).categories
    assert found is not None
    assert found.tolist() == [["3", "True"], ["-7", "False"], [str(2**40), "True"]]
    digits = msgspec.structs.replace(TEXTS, truths=("0", "1"))
    for own in (kind, kind.dictionary_encode()):
        path = parquet({"place": place, "age": [1.0, 2.0, 3.0], "kind": own}, tmp_path / "rows.parquet")
        digit = read(path, digits).categories
        assert digit is not None
        assert digit[:, 1].tolist() == ["1", "0", "1"]
        assert distinct_categories(path, digits)[1] == ["0", "1"]
    coded = pa.array([1, 1, 0], pa.int8()).dictionary_encode()
    found = read(parquet(mixed(place, coded), tmp_path / "rows.parquet"), INTEGERS).categories
    assert found is not None
    assert found.dtype == np.int64
    assert found.tolist() == [[3, 1], [-7, 1], [2**40, 0]]


def test_a_missing_category_is_one_only_where_the_model_takes_it(tmp_path: Path) -> None:
    path = parquet(mixed(pa.array(["a", None, "b"]), pa.nulls(3)), tmp_path / "rows.parquet")
    found = read(path, NULLS).categories
    assert found is not None
    assert found.tolist() == [["a", NO_CATEGORY], [NO_CATEGORY, NO_CATEGORY], ["b", NO_CATEGORY]]
    with pytest.raises(
        UsageError, match="column 'place' has missing values, but the model doesn't take a missing category"
    ):
        read(path, TEXTS)
    path = parquet(mixed(pa.array([1, None, 2]), pa.array([0, 0, 0])), tmp_path / "whole.parquet")
    found = read(path, msgspec.structs.replace(INTEGERS, category_nulls=True)).categories
    assert found is not None
    assert found[:, 0].tolist() == [1, NO_INTEGER, 2]


def test_categories_of_a_csv(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("kind,age,place\nu,1,Oslo\nv,2.5,Troms\u00f8\nu,,x y\n")
    found = read(tmp_path / "rows.csv", TEXTS).categories
    assert found is not None
    assert found.tolist() == [["Oslo", "u"], ["Troms\u00f8", "v"], ["x y", "u"]]


def test_categories_by_position_where_the_model_has_no_names(tmp_path: Path) -> None:
    """In training order, numbers and categories among each other."""
    unnamed = FeatureContract(
        names=("f1",), named=False, category_names=("f0", "f2"), category_dtype="string", order=("f0", "f1", "f2")
    )
    found = read(parquet({"x": ["a", "b"], "y": [1.0, 2.0], "z": ["c", "d"]}, tmp_path / "rows.parquet"), unnamed)
    assert found.rows.tolist() == [[1], [2]]
    assert found.categories is not None
    assert found.categories.tolist() == [["a", "c"], ["b", "d"]]


def test_arrays_of_numbers_and_of_categories(tmp_path: Path) -> None:
    numbers = np.zeros((3, 1))
    np.savez(tmp_path / "rows.npz", X=numbers, C=np.array(WORDS))
    found = read(tmp_path / "rows.npz", TEXTS)
    assert found.categories is not None
    assert found.categories.tolist() == WORDS
    np.savez(tmp_path / "rows.npz", X=numbers, C=np.array([[1, 2], [3, 4], [5, 6]], np.int16))
    found = read(tmp_path / "rows.npz", INTEGERS)
    assert found.categories is not None
    assert found.categories.dtype == np.int64


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, r"an array C of text \[3, 2\]; there is none"),
        ({"C": np.array(WORDS)[:, :1]}, r"\[3, 2\]; it is <U6 \[3, 1\]"),
        ({"C": np.array(WORDS)[:2]}, r"\[3, 2\]; it is <U6 \[2, 2\]"),
        ({"C": np.zeros((3, 2), np.int64)}, r"of text \[3, 2\]; it is int64 \[3, 2\]"),
    ],
)
def test_arrays_of_categories_that_dont_fit(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 1)), **arrays)
    with pytest.raises(UsageError, match=said):
        read(tmp_path / "rows.npz", TEXTS)


def test_columns_that_are_no_categories(tmp_path: Path) -> None:
    for numbers in ([1.0, 1.5, 2.0], [1.0, float("inf"), float("nan")]):
        with pytest.raises(
            UsageError, match="holds double; it is a category for the model, so expected text or integers"
        ):
            read(parquet(mixed(numbers, ["u", "v", "u"]), tmp_path / "rows.parquet"), TEXTS)
    with pytest.raises(UsageError, match=r"are integers, but those of 'place' aren't: .*'Oslo', in row 2"):
        read(parquet(mixed(["1", "Oslo", "2"], [1, 2, 3]), tmp_path / "rows.parquet"), INTEGERS)
    with pytest.raises(UsageError, match="lacks 1 of the model's 3 features: kind"):
        read(parquet({"age": [1.0], "place": ["a"]}, tmp_path / "rows.parquet"), TEXTS)


KNOWN = {"place": ("10", "7", "Oslo"), "kind": ("u", "v")}


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_floats_that_pandas_made_of_integers_are_refused_by_the_columns_name(kind: pa.DataType, tmp_path: Path) -> None:
    """10.0 is no known category, and looks like one."""
    path = parquet(mixed(pa.array([10.0, None, 7.0], kind), ["u", "v", "u"]), tmp_path / "rows.parquet")
    for features in (TEXTS, INTEGERS):
        for reader in (read, distinct_categories):
            with pytest.raises(
                UsageError,
                match=r"column 'place' holds \w+, but it is a category .*, and 10\.0 isn't the category 10\n",
            ) as said:
                reader(path, features)
            assert "pandas turns integers into floats where some are missing" in said.value.hint
            assert (
                "df['place'].astype('Int64') does, and fill the missing ones as you did for training."
                in said.value.hint
            )
    with pytest.raises(UsageError) as said:
        read(path, NULLS)
    assert "fill" not in said.value.hint


def test_pandas_integers_among_which_some_are_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"place": [10, 7], "age": [1.0, 2.0]}).reindex([0, 1, 2]).assign(kind="u")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(UsageError, match=r"column 'place' holds double, .* 10\.0 isn't the category 10"):
        read(tmp_path / "rows.csv", TEXTS)
    frame["place"] = frame["place"].astype("Int64")
    frame.to_parquet(tmp_path / "mended.parquet")
    found = read(tmp_path / "mended.parquet", NULLS).categories
    assert found is not None
    assert found[:, 0].tolist() == ["10", "7", NO_CATEGORY]


def test_their_texts_are_told_where_the_model_knows_the_integers(tmp_path: Path) -> None:
    features = msgspec.structs.replace(TEXTS, categories=KNOWN)
    place = ["10.0", "Oslo", "3.0"]
    path = parquet({"age": [1.0] * 3, "place": place, "kind": ["u", "v", "4.0"]}, tmp_path / "rows.parquet")
    note, unknown, _ = read(path, features).notes
    assert unknown.startswith("66.7% of the rows (2 of 3) hold a category of 'place' that the model does not know")
    assert note.startswith("the category 'place' has the value '10.0', which the model doesn't know. It knows '10'")
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 1)), C=np.array([place, ["u"] * 3]).T)
    assert read(tmp_path / "rows.npz", features).notes[0] == note
    both = msgspec.structs.replace(features, categories={**KNOWN, "place": (*KNOWN["place"], "10.0")})
    assert not any("'10.0'" in note for note in read(path, both).notes)
    with pytest.raises(UsageError, match=r"are integers, but those of 'place' aren't: .*'10\.0'") as said:
        read(parquet(mixed(["10.0", "1", "2"], [1, 2, 3]), path), INTEGERS)
    assert "'10.0' isn't 10. Convert them to integers before you write them as text" in said.value.hint


def test_a_sample_keeps_rows_with_their_categories(tmp_path: Path) -> None:
    names = [f"n{i}" for i in range(500)]
    columns = {"age": np.arange(500.0), "place": names, "kind": names}
    found = read(parquet(columns, tmp_path / "rows.parquet"), TEXTS, limit=50)
    assert found.categories is not None
    assert found.categories.tolist() == [[f"n{int(age)}"] * 2 for age in found.rows[:, 0]]


def test_the_distinct_categories_of_a_file(tmp_path: Path) -> None:
    path = parquet(mixed(["b", "a", "b"], [2, 10, 2]), tmp_path / "rows.parquet")
    assert distinct_categories(path, TEXTS) == [["a", "b"], ["10", "2"]]
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 1)), C=np.array(WORDS))
    assert distinct_categories(tmp_path / "rows.npz", TEXTS) == [["7", "Oslo", "Troms\u00f8"], ["u", "v"]]
    np.savez(tmp_path / "rows.npz", X=np.zeros((3, 1)))
    with pytest.raises(UsageError, match="no array C"):
        distinct_categories(tmp_path / "rows.npz", TEXTS)


# ── categories of a .csv, of which a reader makes numbers ─────────────────────────────────────────────────────────────


def of_csv(text: str, folder: Path, known: tuple[str, ...] = (), **contract: Any) -> list[str]:
    """The categories that are read of a .csv whose column ``place`` has those fields."""
    path = folder / "rows.csv"
    path.write_text("age,place\n" + "".join(f"1,{field}\n" for field in text.split("|")))
    features = FeatureContract(
        names=("age",),
        named=True,
        category_names=("place",),
        category_dtype="string",
        order=("age", "place"),
        categories={"place": known} if known else {},
        **contract,
    )
    found = read(path, features).categories
    assert found is not None
    return [str(word) for word in found[:, 0]]


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ("02134|90210|00501", ("02134", "90210")),
        ('"02134"|90210', ("02134", "90210")),
        ("true|false|true", ("true", "false")),
        ("2024-01-05|2024-02-06", ("2024-01-05",)),
        ("2024-01-05 10:00|2024-02-06 11:00", ("2024-01-05 10:00",)),
        ("12:30|07:45", ("07:45", "12:30")),
        ("1.5|2.50|3.0", ("1.5", "2.50")),
        ("10.0|7.0", ("10.0", "7.0")),
        ("+7|+8", ("+7",)),
        ("99999999999999999999|99999999999999999998", ("99999999999999999999",)),
        ("10|7|-3", ("10", "7")),
    ],
)
def test_a_csvs_texts_are_the_categories_that_the_model_knows(
    fields: str, known: tuple[str, ...], tmp_path: Path
) -> None:
    texts = [field.strip('"') for field in fields.split("|")]
    assert of_csv(fields, tmp_path, known) == texts
    if known != ("10.0", "7.0"):  # pandas makes such floats of integers: taken for text only where the model has it so
        assert of_csv(fields, tmp_path) == texts


def test_a_csvs_integers_and_truth_values_where_the_model_knows_those(tmp_path: Path) -> None:
    assert of_csv("02134|7| 8", tmp_path, ("2134", "7", "8")) == ["2134", "7", "8"]
    assert of_csv("true|FALSE", tmp_path, ("True", "False")) == ["True", "False"]
    assert of_csv("07|7", tmp_path, ("07", "7")) == ["07", "7"]
    digits = {"truths": ("0", "1")}
    assert of_csv("true|FALSE", tmp_path, ("0", "1"), **digits) == ["1", "0"]
    assert of_csv("True|False", tmp_path, ("True", "False", "1"), **digits) == ["True", "False"]
    assert of_csv("true|FALSE", tmp_path, ("True", "False"), **digits) == ["True", "False"]
    assert of_csv("true|1|0", tmp_path, ("0", "1"), **digits) == ["true", "1", "0"]
    assert of_csv("07|08", tmp_path, ("Oslo", "7")) == ["7", "08"]
    assert of_csv(f"0{'9' * 5000}|1", tmp_path, ("1",))[1] == "1"


@pytest.mark.parametrize("field", ["", '""', "NA", "null"])
def test_a_field_of_a_csv_that_is_empty_among_numbers(field: str, tmp_path: Path) -> None:
    for known in ((), ("02134",), ("", "02134")):
        nulls = of_csv(f"02134|{field}|7", tmp_path, known, category_nulls=True)
        assert nulls == ["02134", NO_CATEGORY, "7"]
        with pytest.raises(UsageError, match="column 'place' has missing values"):
            of_csv(f"02134|{field}|7", tmp_path, known)
        with pytest.raises(UsageError, match="column 'place' has missing values"):
            of_csv(f"{field}|{field}", tmp_path, known)
    assert of_csv("x|NA||2", tmp_path, ("x",)) == ["x", "NA", "", "2"]  # a column of text, as ever


def test_a_word_for_nothing_that_the_model_knows(tmp_path: Path) -> None:
    assert of_csv("1|NA|2", tmp_path, ("NA", "1")) == ["1", "NA", "2"]
    assert of_csv("NA|NA", tmp_path, ("NA", "1")) == ["NA", "NA"]


@pytest.mark.parametrize(
    ("fields", "known", "said"),
    [
        ("10.0|7.0|", (), r"holds double, .* 10\.0 isn't the category 10"),
        ("10.0|7.0", ("10", "7"), r"holds double, .* 10\.0 isn't the category 10"),
        ("1.5|2.5", ("a", "b"), "holds double; it is a category for the model, so expected text or integers"),
    ],
)
def test_a_csvs_floats_that_the_model_has_not_as_texts(
    fields: str, known: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        of_csv(fields, tmp_path, known, category_nulls=True)


def test_only_the_categories_of_a_csv_are_texts(tmp_path: Path) -> None:
    """Several of them, in any order, beside two columns of one name; a model without names takes them by position."""
    (tmp_path / "rows.csv").write_text("kind,x,age,x,place,y\n01,1,2.5,1,Oslo,3\n02,1,007,1,true,4\n")
    known = {"kind": ("01", "02"), "place": ("Oslo", "true")}
    found = read(tmp_path / "rows.csv", msgspec.structs.replace(TEXTS, categories=known), "y")
    assert found.rows.tolist() == [[2.5], [7]]
    assert found.categories is not None
    assert found.categories.tolist() == [["Oslo", "01"], ["true", "02"]]
    assert found.labels is not None
    assert found.labels.tolist() == [3, 4]
    unnamed = FeatureContract(
        names=("f1",),
        named=False,
        category_names=("f0", "f2"),
        category_dtype="string",
        order=("f0", "f1", "f2"),
        categories={"f0": ("01", "02"), "f2": ("2024-01-05",)},
    )
    (tmp_path / "other.csv").write_text("b,a,c\n01,1,2024-01-05\n02,2,2024-01-06\n")
    found = read(tmp_path / "other.csv", unnamed)
    assert found.rows.tolist() == [[1], [2]]
    assert found.categories is not None
    assert found.categories.tolist() == [["01", "2024-01-05"], ["02", "2024-01-06"]]


@pytest.mark.parametrize("word", ["007", "+7", " 7", "7.0", "\u0667"])
def test_a_text_that_is_another_category_than_the_integer_is_not_taken_for_it(word: str, tmp_path: Path) -> None:
    """CatBoost knows 7 by the hash of "7", and not the others."""
    path = parquet({"place": ["7", word], "size": [1.0, 2.0]}, tmp_path / "rows.parquet")
    features = FeatureContract(
        names=("size",),
        named=True,
        categories={"place": ("7",)},
        category_names=("place",),
        category_dtype="int64",
        order=("place", "size"),
    )
    with pytest.raises(UsageError, match="the model's categories are integers, but those of 'place' aren't"):
        read(path, features)


@pytest.mark.parametrize("order", [("city", "zone", "member"), ("member", "zone", "city"), ("zone", "member", "city")])
def test_truth_values_of_a_csv_are_read_as_such_whatever_stands_before_them(
    order: tuple[str, ...], tmp_path: Path
) -> None:
    frame = pd.DataFrame({"city": ["a", "b"], "zone": [1, 2], "member": [True, False]})
    features = FeatureContract(
        names=(),
        named=True,
        categories={"city": ("a", "b"), "zone": ("1", "2"), "member": ("0", "1")},
        category_names=order,
        category_dtype="string",
        order=order,
        truths=("0", "1"),
    )
    found = read(save(frame, tmp_path / "rows.csv"), features)
    assert found.categories is not None
    assert found.categories[:, order.index("member")].tolist() == ["1", "0"]


def test_columns_that_are_numbers_are_the_features_of_those_numbers(tmp_path: Path) -> None:
    """Where the model doesn't name them: in whatever order, and beside others."""
    frame = FRAME[["score", "age", "income", "y"]].rename(columns={"age": "0", "income": "1", "score": "2"})
    found = read(save(frame, tmp_path / "rows.parquet"), UNNAMED)
    assert np.array_equal(found.rows, VALUES, equal_nan=True)
    assert found.notes == ("the model doesn't name its features, so columns were taken by their numbers",)


def test_a_csvs_integers_for_a_model_of_integers(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("kind,age,place\n01,1,02134\n2,1,7\n")
    found = read(tmp_path / "rows.csv", INTEGERS).categories
    assert found is not None
    assert found.tolist() == [[2134, 1], [7, 2]]


def test_the_distinct_categories_of_a_csv_are_its_texts_and_what_they_are_read_as(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("kind,age,place\ntrue,1,02134\nfalse,1,7\ntrue,2,02134\n")
    assert distinct_categories(tmp_path / "rows.csv", TEXTS) == [
        ["02134", "2134", "7"],
        ["False", "True", "false", "true"],
    ]
    (tmp_path / "rows.csv").write_text("kind,age,place\n2024-01-05,1,02134\n2024-01-06,1,x\n")
    assert distinct_categories(tmp_path / "rows.csv", TEXTS) == [["02134", "x"], ["2024-01-05", "2024-01-06"]]


# ── archives that grow ────────────────────────────────────────────────────────────────────────────────────────────


def bombs(folder: Path) -> dict[Path, str]:
    """Files that stand for more than they are, and what is said of each."""
    zeros = folder / "zeros.npz"
    with zipfile.ZipFile(zeros, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as member:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 28, 2)}
        np.lib.format.write_array_header_1_0(member, header)
        member.write(bytes(1 << 20))
    content = bytearray(zeros.read_bytes())  # the zip's table says 4 GB
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = (0xF0000000).to_bytes(4, "little")
    zeros.write_bytes(content)

    short = folder / "short.npz"
    with zipfile.ZipFile(short, "w") as archive, archive.open("X.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 2)})
    plain = folder / "plain.npy"
    with plain.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 2)})
    many = folder / "many.npz"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(1500):
            archive.writestr(f"{number}.npy", b"")

    rows = folder / "rows.parquet"
    column = pa.repeat(pa.scalar(1.0), 150_000_000 // 64)
    with pq.ParquetWriter(rows, pa.schema([("a", pa.float64())])) as writer:
        for _ in range(65):
            writer.write_table(pa.table({"a": column}), row_group_size=len(column))
    return {
        zeros: "its rows take",
        short: "2,199,023,255,552 values in",
        plain: "values in",
        many: "the archive has 1,500 arrays; at most 1,000 are read",
        rows: "its rows take",
    }


def test_archives_that_grow_are_refused_before_they_are_read(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path, said in bombs(tmp_path).items():
        assert path.stat().st_size < 5 << 20
        with pytest.raises(UsageError, match=said) as refused:
            read(path, NAMED)
        assert refused.value.message.startswith(f"{path}: ")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


def test_columns_of_one_name_in_a_parquet_file(tmp_path: Path) -> None:
    columns = [pa.array([1.0, 2.0])] * 4
    pq.write_table(pa.table(columns, names=["age", "income", "score", "age"]), tmp_path / "rows.parquet")
    with pytest.raises(UsageError, match="two columns are called 'age'"):
        read(tmp_path / "rows.parquet", NAMED)
    pq.write_table(pa.table([*columns, columns[0]], names=["age", "income", "score", "x", "x"]), tmp_path / "o.parquet")
    assert read(tmp_path / "o.parquet", NAMED).rows.tolist() == [[1, 1, 1], [2, 2, 2]]
