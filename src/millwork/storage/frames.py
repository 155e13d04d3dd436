"""The user's rows with the types that they came in, in a file for the framework: it is asked what it makes of them
itself, beside what millwork makes of them. The file is described in compile/runners/catboost_frame.py, which reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import opening, texts

FRAME_FILE = "frame.npz"


def save(path: Path, frame: Any, categories: tuple[str, ...]) -> None:
    """``frame``: a table of pyarrow's, its columns the features in training order; those of ``categories`` have no
    missing values."""
    held: dict[str, npt.NDArray[Any]] = {}
    kinds: list[tuple[str, str]] = []
    for i, name in enumerate(frame.column_names):
        column = frame.column(name)
        kind = str(column.type)
        if name not in categories:
            held[f"c{i}"] = _numbers(column)
        else:
            if kind.startswith("dictionary"):
                kind, held[f"k{i}"], column = "category", *_category(column)
            held[f"{'c' if _is_whole(column) else 't'}{i}"] = _values(column)
        kinds.append((name, kind))
    held["columns"] = np.frombuffer(json.dumps(kinds).encode(), np.uint8)
    with opening.overwritten(path) as file:
        np.savez(file, **held)  # type: ignore[arg-type]


def _category(column: Any) -> tuple[npt.NDArray[Any], Any]:
    """The rows' places among the categories, and those."""
    whole = column.unify_dictionaries().combine_chunks()
    whole = whole.chunk(0) if hasattr(whole, "chunk") else whole
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int32), whole.dictionary


def _is_whole(column: Any) -> bool:
    """Whether it holds truth values or integers."""
    import pyarrow as pa

    return bool(pa.types.is_boolean(column.type) or pa.types.is_integer(column.type))


def _values(column: Any) -> npt.NDArray[Any]:
    if _is_whole(column):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return texts.packed(texts.column([str(value) for value in column.to_pylist()])[:, None])


def _numbers(column: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    plain = pa.types.is_boolean(column.type) or pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if plain and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
