"""Rows that lie in memory, of any library whose columns have names, as a pyarrow table: pandas, polars, pyarrow, what
speaks Arrow's stream or the dataframe protocol, a mapping of names to columns, a structured array.

Columns are found by name, so an index isn't looked at. A column that can't be a table's is left out, and said if the
model takes it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..values import FeatureContract

LEFT_OUT, OTHER_NAMES = b"millwork.left_out", b"millwork.other_names"
"""What a table's metadata says in JSON: why a column isn't there, by name; and the names as CatBoost writes those of
several levels, where they aren't XGBoost's."""

INDEX = "it is the frame's index; give data.reset_index()"
LABEL = "__label__"


def has_names(data: object) -> bool:
    """Whether ``data`` has columns with names."""
    return _reader(data) is not None


def table(data: object, label: object = None) -> tuple[Any, str | None]:
    """``data`` as a table, and the label's column in it, where there is one: ``label`` is a name, or labels [rows].
    UsageError where it can't be."""
    reader = _reader(data)
    if reader is None:
        raise UsageError(f"data has no columns with names: it is a {type(data).__name__}")
    try:
        found: list[tuple[Any, Any]] = list(reader(data))
    except UsageError:
        raise
    except Exception as error:  # whatever another library's frame raises
        raise UsageError(f"data can't be taken as a table: {_words(error)}") from error
    columns, left_out = [], dict.fromkeys(_index_names(data), INDEX)
    for name, column in found:
        try:
            columns.append((name, _array(column)))
        except Exception as error:  # noqa: BLE001 -- a column of anything: the model may not take it
            left_out[_joined(name)] = _words(error)
    widths = {len(column) for _, column in columns}
    if len(widths) > 1:
        raise UsageError(f"data's columns aren't of one length: {', '.join(map(str, sorted(widths)))} rows")
    given = labels(label) if label is not None and not is_name(label) else None
    if given is not None:
        if widths and len(given) not in widths:
            raise UsageError(f"{len(given)} labels for {widths.pop()} rows")
        own = LABEL
        while own in {_joined(name) for name, _ in found}:
            own += "_"
        columns.append((own, _array(given)))
        label = own
    return _made(columns, left_out), None if label is None else _joined(label)


def is_name(label: object) -> bool:
    """Whether ``label`` is a column's name: text, a number, or of several levels a tuple of those."""
    if isinstance(label, tuple):
        return bool(label) and all(isinstance(part, str) for part in label)
    return isinstance(label, str | int | float | np.integer) and not isinstance(label, bool)


def labels(given: object) -> npt.NDArray[Any]:
    """Labels [rows], of any library, one column of a frame or of an array among them; UsageError for others."""
    reader = None if isinstance(given, np.ndarray) and given.dtype.names is None else _reader(given)
    try:
        if reader is not None:
            found = [column for _, column in reader(given)]
            if len(found) != 1:
                raise UsageError(f"labels must be one column; there are {len(found)}")
            given = found[0]
        array = np.asarray(given)
    except UsageError:
        raise
    except Exception as error:  # whatever another library's array raises
        raise UsageError(f"label can't be taken as labels: {_words(error)}") from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UsageError(f"labels must be one a row; their shape is {list(array.shape)}")
    if array.dtype.kind == "O":
        row = next((i for i, value in enumerate(array.tolist()) if _is_missing(value)), None)
        if row is not None:
            raise UsageError(f"the label of row {row + 1:,} is missing")
        plain = {type(value) for value in array.tolist()}
        array = np.array(array.tolist()) if plain <= {int} or plain <= {int, float} else array.astype(str)
    return array


def _is_missing(value: object) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def named_for(table: Any, features: FeatureContract, label: str | None) -> Any:
    """``table`` under the names that the model knows its columns by, where those have several levels."""
    others = json.loads((table.schema.metadata or {}).get(OTHER_NAMES, b"null"))
    if others is None or not features.named:
        return table
    names = table.column_names
    wanted = set(features.all_names)
    if wanted <= set(names) - {label} or not wanted <= set(others):
        return table
    return table.rename_columns([own if own == label else other for own, other in zip(names, others, strict=True)])


def require_taken(path: Path, table: Any, features: FeatureContract, label: str | None) -> None:
    """UsageError where a column that is needed couldn't be taken into the table; where the model has no names, and
    columns count by their place, any."""
    left_out = json.loads((table.schema.metadata or {}).get(LEFT_OUT, b"{}"))
    if features.named:
        wanted = [*features.all_names, label]
    else:
        wanted = [name for name, why in left_out.items() if why != INDEX or name == label]
    for name in wanted:
        if name in left_out and name not in table.column_names:
            raise UsageError(f"{path}: column {name!r} can't be taken: {left_out[name]}")


# ── one reader for each way that a library gives its columns ─────────────────────────────────────────────


def _reader(data: object) -> Callable[[Any], Iterator[tuple[Any, Any]]] | None:
    """What gives the names and columns of ``data``; None where it has none."""
    library = _library(data)
    if library == "pandas" and hasattr(data, "columns"):
        return _of_pandas
    if library == "polars" and hasattr(data, "collect"):
        return _of_lazy
    if library == "polars" and hasattr(data, "get_column"):
        return _of_polars
    if isinstance(data, Mapping):
        return _of_mapping
    if isinstance(data, np.ndarray):
        return None if data.dtype.names is None else _of_structured
    if hasattr(data, "__arrow_c_stream__") and _is_table(data):
        return _of_arrow
    if hasattr(data, "__arrow_c_array__") and hasattr(data, "schema"):  # a record batch
        return _of_batch
    if hasattr(data, "__dataframe__"):
        return _of_protocol
    return _of_columns if hasattr(data, "columns") and hasattr(data, "__getitem__") else None


def _library(data: object) -> str:
    return type(data).__module__.partition(".")[0]


def _of_pandas(frame: Any) -> Iterator[tuple[Any, Any]]:
    for i, name in enumerate(frame.columns):
        yield name, frame.iloc[:, i]


def _index_names(data: object) -> list[str]:
    """The names of a pandas frame's index, which is no column."""
    if _library(data) != "pandas":
        return []
    return [str(name) for name in getattr(data, "index").names if name is not None]  # noqa: B009 -- any library's


def _of_polars(frame: Any) -> Iterator[tuple[Any, Any]]:
    for name in frame.columns:
        yield name, frame.get_column(name)


def _of_lazy(_: Any) -> Iterator[tuple[Any, Any]]:
    raise UsageError("data is a polars LazyFrame, which has no rows yet", "Give data=frame.collect().")


def _of_mapping(columns: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for name, column in columns.items():
        single = isinstance(column, np.ndarray) and column.ndim == 2 and column.shape[1] == 1
        yield name, column[:, 0] if single else column  # type: ignore[call-overload]


def _of_structured(array: npt.NDArray[Any]) -> Iterator[tuple[Any, Any]]:
    for name in array.dtype.names or ():
        yield name, np.ascontiguousarray(array[name])


def _is_table(data: object) -> bool:
    """Whether a stream of Arrow is one of columns: a polars Series and a pyarrow ChunkedArray give one of values."""
    return any(hasattr(data, name) for name in ("columns", "column_names", "schema"))


def _of_arrow(data: Any) -> Iterator[tuple[Any, Any]]:
    import pyarrow as pa

    whole = pa.table(data) if not hasattr(data, "read_all") else data.read_all()
    yield from zip(whole.column_names, whole.columns, strict=True)


def _of_batch(data: Any) -> Iterator[tuple[Any, Any]]:
    import pyarrow as pa

    batch = pa.record_batch(data)
    yield from zip(batch.schema.names, batch.columns, strict=True)


def _of_protocol(data: Any) -> Iterator[tuple[Any, Any]]:
    from pyarrow import interchange

    with warnings.catch_warnings(action="ignore"):  # pandas means to drop the protocol; others have nothing else
        return _of_arrow(interchange.from_dataframe(data))


def _of_columns(data: Any) -> Iterator[tuple[Any, Any]]:
    for name in data.columns:
        yield name, np.asarray(data[name])


# ── columns and their names ──────────────────────────────────────────────────────────────────────────────


def _array(column: Any) -> Any:
    """A column as Arrow has it, of a type that a file keeps."""
    import pyarrow as pa

    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    if _library(column) == "pandas":
        if hasattr(column, "sparse") and str(column.dtype).startswith("Sparse"):
            column = column.sparse.to_dense()
        return _stored(pa.Array.from_pandas(column))
    if hasattr(column, "__arrow_c_stream__") and not isinstance(column, np.ndarray):
        return _stored(pa.chunked_array(column))
    if isinstance(column, list | tuple | range):
        return _stored(pa.array(list(column)))
    values = np.asarray(column)
    if values.ndim != 1:
        raise ValueError(f"its shape is {list(values.shape)}, and a column has one value a row")
    return _stored(pa.array(values, from_pandas=True))


def _stored(array: Any) -> Any:
    import pyarrow as pa

    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_nested(kind):
        raise ValueError(f"it holds {kind}")
    return array


def _made(columns: Sequence[tuple[Any, Any]], left_out: Mapping[str, str]) -> Any:
    import pyarrow as pa

    names = [_joined(name) for name, _ in columns]
    others = [str(name) for name, _ in columns]
    metadata = {LEFT_OUT: json.dumps(dict(left_out)).encode()} if left_out else {}
    if others != names:
        metadata[OTHER_NAMES] = json.dumps(others).encode()
    found = pa.table([column for _, column in columns], names=names)
    return found.replace_schema_metadata(metadata or None)


def _joined(name: object) -> str:
    """A column's name as text; of several levels as XGBoost has it."""
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _words(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
