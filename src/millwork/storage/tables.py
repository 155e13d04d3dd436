"""The user's rows, of every kind of file (:mod:`.row_files`), to float32 [N, F] and categories [N, C] in the model's
own order, and labels. In an .npz the rows are ``X`` and the categories ``C``.

Numbers become float32 here, as the frameworks make them when they read a DataFrame; ``input__0`` is FP32 too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..values import FeatureContract
from ..values.contracts import NO_CATEGORY, NO_INTEGER
from . import archives, csv_text, named_rows, opening, row_files, suggestions, unknown
from . import texts as packing
from .csv_text import readings, whole_of
from .row_files import readable

Rows = npt.NDArray[np.float32]
Categories = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """``rows``: float32 [N, F]. ``labels``: [N], as the file has them, or None. ``notes``: what was left out.
    ``categories``: [N, C], texts (objects) or int64; None where the model takes none. ``frame``: then the features with
    the types of the file, a table of pyarrow's in training order; None where the file's columns have no types."""

    rows: Rows
    labels: npt.NDArray[Any] | None
    notes: tuple[str, ...] = ()
    categories: Categories | None = None
    frame: Any = None


def read(path: Path, features: FeatureContract, label: str | None = None, *, limit: int | None = None) -> Table:
    """Read ``path``; columns are found by name where the model names its features, else by position.

    ``limit``: a seeded sample of that many rows. Raises UsageError: a file that can't be read, a column that lacks
    or isn't numeric, a wrong width, no rows.
    """
    row_files.require(path)
    if row_files.kind(path) == "array":
        table = _from_arrays(path, features, label)
    else:
        table = _from_columns(path, features, label)
    if len(table.rows) == 0:
        raise UsageError(f"{path}: the file has no rows")
    table = replace(
        table, notes=(*table.notes, *_unknown_floats(table, features), *unknown.notes(table.categories, features))
    )
    return table if limit is None or len(table.rows) <= limit else _sample(table, limit)


def columns(path: Path, label: str | None = None) -> tuple[str, ...]:
    """The names of all columns but the label's; ``f0`` … of an array without names. UsageError as :func:`read`."""
    row_files.require(path)
    if row_files.kind(path) == "array":
        arrays = _arrays(path)
        if "X" not in arrays or arrays["X"].ndim != 2:
            raise UsageError(f"{path}: the file has no array X of shape [rows, features]")
        return tuple(f"f{i}" for i in range(arrays["X"].shape[1]))
    with readable(path):
        names = [str(name) for name in row_files.table(path).column_names]
    return tuple(name for name in names if name != label)


def distinct_categories(path: Path, features: FeatureContract, label: str | None = None) -> list[list[str]]:
    """The distinct values of each category feature in the file, as text; the same errors as :func:`read`. Of a .csv's
    integers and truth values the texts, and what those are read as (:func:`readings`)."""
    row_files.require(path)
    if row_files.kind(path) == "array":
        given = _arrays(path).get("C")
        if given is None or given.ndim != 2 or given.shape[1] != len(features.category_names):
            raise UsageError(
                f"{path}: the file has no array C of shape [rows, {len(features.category_names)}] with the categories"
            )
        _require_utf8(path, given)
        return [sorted(set(map(str, given[:, c].tolist()))) for c in range(given.shape[1])]
    table, wanted, _ = _located(path, features, label)
    found = dict(zip(features.all_names, wanted, strict=True))
    distinct = []
    for name in features.category_names:
        words = set(_texts(path, found[name], table.column(found[name]).unique(), features))
        distinct.append(sorted(words | readings(words, features.truths) if _is_csv(path) else words))
    return distinct


def _sample(table: Table, limit: int) -> Table:
    keep = np.sort(np.random.default_rng(0).choice(len(table.rows), limit, replace=False))
    note = f"a seeded sample of {limit:,} of {len(table.rows):,} rows"
    labels = None if table.labels is None else table.labels[keep]
    categories = None if table.categories is None else table.categories[keep]
    frame = None if table.frame is None else table.frame.take(keep)
    return Table(table.rows[keep], labels, (*table.notes, note), categories, frame)


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with opening.opened(path) as file:
            archives.require_arrays(file, path)
            loaded = np.load(file, allow_pickle=False)
            return {"X": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except archives.UNREADABLE as error:
        raise UsageError(f"{path}: not a readable numpy file: {archives.reason(error)}") from error


def _from_arrays(path: Path, features: FeatureContract, label: str | None) -> Table:
    arrays = _arrays(path)
    if "X" not in arrays:
        raise UsageError(f"{path}: the file has no array called X", f"It has: {', '.join(arrays) or 'nothing'}.")
    rows = arrays["X"]
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise UsageError(f"{path}: X must be numbers of shape [rows, features]; it is {rows.dtype} {rows.shape}")
    labels = None
    if label is not None:
        if label not in arrays:
            raise UsageError(
                f"{path}: the file has no array called {label!r} (--label)", f"It has: {', '.join(arrays)}."
            )
        labels = arrays[label]
        if labels.shape != (len(rows),):
            raise UsageError(
                f"{path}: the labels must be one a row; their shape is {labels.shape} for {len(rows)} rows"
            )
    if rows.shape[1] != len(features.names):
        raise UsageError(f"{path}: each row has {rows.shape[1]} values; the model takes {len(features.names)}")
    return Table(_float32(rows), labels, (), _category_array(path, arrays.get("C"), len(rows), features))


def _category_array(
    path: Path, given: npt.NDArray[Any] | None, rows: int, features: FeatureContract
) -> Categories | None:
    wanted = len(features.category_names)
    if not wanted:
        return None
    kinds, words = ("iu", "integers") if features.category_dtype == "int64" else ("U", "text")
    if given is None or given.shape != (rows, wanted) or given.dtype.kind not in kinds:
        found = "there is none" if given is None else f"it is {given.dtype} {list(given.shape)}"
        raise UsageError(
            f"{path}: the model takes categories. Expected an array C of {words} [{rows}, {wanted}]; {found}"
        )
    if kinds == "iu":
        return given.astype(np.int64)
    _require_utf8(path, given)
    return given.astype(object)


def _require_utf8(path: Path, given: npt.NDArray[Any]) -> None:
    """UsageError where a text has no form in UTF-8, which is how it is sent."""
    if given.dtype.kind != "U":
        return
    for row, words in enumerate(given.tolist()):
        for word in words:
            try:
                word.encode()
            except UnicodeEncodeError:
                raise UsageError(f"{path}: row {row} of C holds {word[:40]!r}, which isn't valid text") from None


def _located(path: Path, features: FeatureContract, label: str | None) -> tuple[Any, Sequence[str], tuple[str, ...]]:
    """The file's table, the columns of the model's features in training order, and what is to be said of the others."""
    with readable(path):
        table = row_files.table(path)
        _require_one_of_each(path, [str(name) for name in table.column_names], features, label)
        table = named_rows.named_for(table, features, label)
        names = [str(name) for name in table.column_names]  # those of a .csv are decoded only now
    named_rows.require_taken(path, table, features, label)
    if label is not None and label not in names:
        raise UsageError(
            f"{path}: the file has no column {label!r} (--label)",
            suggestions.hint([label], names, features.all_names if features.named else ()),
        )
    wanted, notes = _columns(path, names, features, label)
    _require_one_of_each(path, [name for name in names if name in set(wanted)], features, label)
    if _is_csv(path) and features.category_dtype == "string":
        column = dict(zip(features.all_names, wanted, strict=True))
        known = {column[name]: features.categories.get(name, ()) for name in features.category_names}
        with readable(path):
            table = csv_text.with_texts(path, table, known, features.truths)
    return table, wanted, notes


def _require_one_of_each(path: Path, names: Sequence[str], features: FeatureContract, label: str | None) -> None:
    """UsageError where a column that is taken has another's name, too."""
    taken = {*(features.all_names if features.named else names), label}
    if twice := row_files.first_twice([name for name in names if name in taken]):
        raise UsageError(f"{path}: two columns are called {twice!r}", "Rename one of them.")


def _is_csv(path: Path) -> bool:
    return row_files.kind(path) == "csv"


def _from_columns(path: Path, features: FeatureContract, label: str | None) -> Table:
    table, wanted, notes = _located(path, features, label)
    column = dict(zip(features.all_names, wanted, strict=True))
    columns = [_numbers(path, column[name], table.column(column[name])) for name in features.names]
    rows = np.stack(columns, axis=1) if columns else np.zeros((table.num_rows, 0), np.float32)
    labels = None if label is None else np.asarray(table.column(label).to_numpy(zero_copy_only=False))
    categories = frame = None
    if features.category_names:
        texts = [_texts(path, column[name], table.column(column[name]), features) for name in features.category_names]
        categories = _as_wire(path, texts, features)
        if not _is_csv(path):
            frame = table.select(list(wanted)).rename_columns(list(features.all_names))
    return Table(rows, labels, notes, categories, frame)


def _texts(path: Path, name: str, column: Any, features: FeatureContract) -> list[str]:
    """A column's categories as text: integers and truth values as the framework writes them."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind) and (whole := _whole(column)) is not None:
        raise UsageError(
            f"{path}: column {name!r} holds {kind}, but it is a category for the model, "
            f"and {whole}.0 isn't the category {whole}",
            f"{FLOATS}. Convert them back to integers, as df[{name!r}].astype('Int64') does"
            + (", and fill the missing ones as you did for training." if not features.category_nulls else "."),
        )
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    ):
        raise UsageError(
            f"{path}: column {name!r} holds {kind}; it is a category for the model, so expected text or integers"
        )
    if column.null_count and not features.category_nulls:
        raise UsageError(
            f"{path}: column {name!r} has missing values, but the model doesn't take a missing category",
            "Fill them as you did for training.",
        )
    missing = str(NO_INTEGER) if features.category_dtype == "int64" else NO_CATEGORY
    if pa.types.is_boolean(kind):
        return [missing if value is None else features.truths[value] for value in column.to_pylist()]
    return [missing if value is None else str(value) for value in column.to_pylist()]


FLOATS = "pandas turns integers into floats where some are missing"


def _whole(column: Any) -> int | None:
    """A value of a column of floats that are all whole numbers."""
    values = column.drop_null().to_numpy(zero_copy_only=False)
    values = values[~np.isnan(values)]
    whole = len(values) and np.isfinite(values).all() and (values % 1 == 0).all()
    return int(values[0]) if whole else None


def _unknown_floats(table: Table, features: FeatureContract) -> list[str]:
    """A note for each category feature with a 10.0 that the model doesn't know, where it knows 10."""
    if table.categories is None or features.category_dtype != "string":
        return []
    notes = []
    for name, column in zip(features.category_names, table.categories.T, strict=True):
        known = set(features.categories.get(name, ()))
        odd = sorted(word for word in set(column.tolist()) - known if whole_of(word) in known)
        if odd:
            notes.append(
                f"the category {name!r} has the value {odd[0]!r}, which the model doesn't know. It knows "
                f"{whole_of(odd[0])!r}. {FLOATS}"
            )
    return notes


def _as_wire(path: Path, texts: list[list[str]], features: FeatureContract) -> Categories:
    """[N, C] as ``input__1`` takes them."""
    if features.category_dtype == "string":
        return np.stack([packing.column(column) for column in texts], axis=1)
    columns = []
    for name, column in zip(features.category_names, texts, strict=True):
        try:
            columns.append(np.array([_integer(text) for text in column], np.int64))
        except (ValueError, OverflowError) as error:
            odd = next((text for text in column if whole_of(text)), "")
            row = next(i for i, text in enumerate(column) if not _is_integer(text))
            raise UsageError(
                f"{path}: the model's categories are integers, but those of {name!r} aren't: {error}, in row "
                f"{row + 1:,}",
                f"{FLOATS}, and {odd!r} isn't {whole_of(odd)}. Convert them to integers before you write them as text."
                if odd
                else "",
            ) from error
    return np.stack(columns, axis=1)


def _integer(text: str) -> int:
    """The integer that ``text`` writes. ValueError for 007 and +7, too: the framework takes them for other categories
    than 7."""
    value = int(text)
    if str(value) != text:
        raise ValueError(f"{text!r} isn't {value} as the model writes it")
    return value


def _is_integer(text: str) -> bool:
    try:
        return NO_INTEGER <= _integer(text) <= np.iinfo(np.int64).max
    except ValueError:
        return False


def _columns(
    path: Path, names: Sequence[str], features: FeatureContract, label: str | None
) -> tuple[Sequence[str], tuple[str, ...]]:
    """Which columns are the features, in the model's order."""
    candidates = [name for name in names if name != label]
    if features.named:
        lacking = [name for name in features.all_names if name not in candidates]
        if lacking:
            shown = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
            raise UsageError(
                f"{path}: the file lacks {len(lacking)} of the model's {len(features.all_names)} features: {shown}",
                suggestions.hint(lacking, candidates, features.all_names),
            )
        extra = len(candidates) - len(features.all_names)
        left = "ignored 1 column" if extra == 1 else f"ignored {extra} columns"
        return features.all_names, (f"{left} that the model doesn't take",) if extra else ()
    numbers = [str(place) for place in range(len(features.all_names))]
    if set(numbers) <= set(candidates) and candidates != numbers:
        return numbers, ("the model doesn't name its features, so columns were taken by their numbers",)
    if len(candidates) != len(features.all_names):
        raise UsageError(
            f"{path}: the file has {len(candidates)} columns besides the label; "
            f"the model takes {len(features.all_names)} features and doesn't name them",
            "Give a file with only those columns, in training order. Name the label's column with --label NAME.",
        )
    return candidates, ("the model doesn't name its features, so columns were taken in the file's order",)


def _numbers(path: Path, name: str, column: Any) -> npt.NDArray[np.float32]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan, np.float32)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        if not _is_csv(path):
            first = next((i for i, there in enumerate(column.is_valid().to_pylist()) if there), 0)
            raise csv_text.not_numbers(path, name, column, first)
        column = csv_text.numbers(path, name, column)
        kind = column.type
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise UsageError(
            f"{path}: column {name!r} holds {kind}; the model takes numbers", "Encode it as you did for training."
        )
    if pa.types.is_integer(kind) and column.null_count == 0:
        return _float32(column.to_numpy())  # rounded once; by way of float64 a large one may round twice
    return _float32(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _float32(values: npt.NDArray[Any]) -> Rows:
    """Rounded to float32, as the frameworks do; what is too large becomes infinite, which they see too."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
