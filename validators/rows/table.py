"""The user's rows: .parquet, .csv, .npy, .npz to float32 [N, F] in the model's own order, and labels.

Numbers become float32 here, as the frameworks make them when they read a DataFrame; ``input__0`` is FP32 too.
"""

from __future__ import annotations

import difflib
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...passes.forest import Rows
from ...values import FeatureContract

FORMATS = (".parquet", ".csv", ".npy", ".npz")


@dataclass(frozen=True, eq=False)
class Table:
    """``rows``: float32 [N, F]. ``labels``: [N], as the file has them, or None. ``notes``: what was left out."""

    rows: Rows
    labels: npt.NDArray[Any] | None
    notes: tuple[str, ...] = ()


def read(path: Path, features: FeatureContract, label: str | None = None, *, limit: int | None = None) -> Table:
    """Read ``path``; columns are found by name where the model names its features, else by position.

    ``limit``: a seeded sample of that many rows. Raises UsageError: a file that can't be read, a column that lacks
    or isn't numeric, a wrong width, no rows.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: unknown kind of data file", f"Expected one of {', '.join(FORMATS)}.")
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path}: permission denied")
    if path.suffix.lower() in (".npy", ".npz"):
        table = _from_arrays(path, features, label)
    else:
        table = _from_columns(path, features, label)
    if len(table.rows) == 0:
        raise UsageError(f"{path}: no rows in it")
    return table if limit is None or len(table.rows) <= limit else _sample(table, limit)


def _sample(table: Table, limit: int) -> Table:
    keep = np.sort(np.random.default_rng(0).choice(len(table.rows), limit, replace=False))
    note = f"a seeded sample of {limit:,} of {len(table.rows):,} rows"
    labels = None if table.labels is None else table.labels[keep]
    return Table(table.rows[keep], labels, (*table.notes, note))


def _from_arrays(path: Path, features: FeatureContract, label: str | None) -> Table:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"X": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path}: not a readable numpy file: {error}") from error
    if "X" not in arrays:
        raise UsageError(f"{path}: no array called X in it", f"It has: {', '.join(arrays) or 'nothing'}.")
    rows = arrays["X"]
    if rows.ndim != 2 or rows.dtype.kind not in "fiub":
        raise UsageError(f"{path}: X must be numbers of shape [rows, features], it is {rows.dtype} {rows.shape}")
    labels = None
    if label is not None:
        if label not in arrays:
            raise UsageError(f"{path}: no array called {label!r} for --label", f"It has: {', '.join(arrays)}.")
        labels = arrays[label]
        if labels.shape != (len(rows),):
            raise UsageError(f"{path}: labels of shape {labels.shape} for {len(rows)} rows")
    if rows.shape[1] != len(features.names):
        raise UsageError(f"{path}: rows of {rows.shape[1]} values; the model takes {len(features.names)}")
    return Table(_float32(rows), labels)


def _from_columns(path: Path, features: FeatureContract, label: str | None) -> Table:
    import pyarrow as pa

    try:
        table = _arrow(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable {path.suffix[1:]} file: {str(error).splitlines()[0]}") from error
    names = [str(name) for name in table.column_names]
    if label is not None and label not in names:
        raise UsageError(f"{path}: no column {label!r} for --label", _closest([label], names))
    wanted, notes = _columns(path, names, features, label)
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1 and (name in wanted or name == label)})
        if twice:
            raise UsageError(f"{path}: two columns are called {twice[0]!r}")
    columns = [_numbers(path, name, table.column(name)) for name in wanted]
    rows = np.stack(columns, axis=1) if columns else np.zeros((table.num_rows, 0), np.float32)
    labels = None if label is None else np.asarray(table.column(label).to_numpy(zero_copy_only=False))
    return Table(rows, labels, notes)


def _columns(
    path: Path, names: Sequence[str], features: FeatureContract, label: str | None
) -> tuple[Sequence[str], tuple[str, ...]]:
    """Which columns are the features, in the model's order."""
    candidates = [name for name in names if name != label]
    if features.named:
        lacking = [name for name in features.names if name not in candidates]
        if lacking:
            shown = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
            raise UsageError(
                f"{path}: lacks {len(lacking)} of the model's {len(features.names)} features: {shown}",
                _closest(lacking, candidates),
            )
        extra = len(candidates) - len(features.names)
        left = (
            "1 column that the model doesn't take was"
            if extra == 1
            else f"{extra} columns that the model doesn't take were"
        )
        return features.names, (f"{left} left out",) if extra else ()
    if len(candidates) != len(features.names):
        raise UsageError(
            f"{path}: {len(candidates)} columns beside the label; the model takes {len(features.names)} features "
            "and doesn't name them",
            "Give a file with just those columns, in training order (and --label NAME for the label's).",
        )
    return candidates, ("the model doesn't name its features: columns were taken in the file's order",)


def _closest(lacking: Sequence[str], names: Sequence[str]) -> str:
    close = difflib.get_close_matches(lacking[0], names, n=1)
    near = f"Did you mean {close[0]!r}? " if close else ""
    if len(names) == 1 and ";" in names[0]:
        return "Its one column's name has semicolons in it: save it with commas."
    return f"{near}The file has: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}."


def _arrow(path: Path) -> Any:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path)
    import pyarrow.csv

    return pyarrow.csv.read_csv(path)


def _numbers(path: Path, name: str, column: Any) -> npt.NDArray[np.float32]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan, np.float32)
    if not (
        pa.types.is_floating(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        held = "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)
        raise UsageError(
            f"{path}: column {name!r} holds {held}, the model takes numbers", "Encode it as for the model's training."
        )
    if pa.types.is_integer(kind) and column.null_count == 0:
        return _float32(column.to_numpy())  # rounded once; by way of float64 a large one may round twice
    return _float32(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _float32(values: npt.NDArray[Any]) -> Rows:
    """Rounded to float32, as the frameworks do; what is too large becomes infinite, which they see too."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)
