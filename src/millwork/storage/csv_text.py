"""Categories of a .csv as the file has them: what infers types makes 2134 of 02134, and a date of 2024-01-05."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_INTEGER = re.compile(r"[ \t]*-?0*[0-9]{1,19}[ \t]*")
_TRUTH = re.compile(r"true|True|TRUE|false|False|FALSE")
_FLOAT = re.compile(r"(-?[0-9]+)\.0+")


def with_texts(path: Path, table: Any, known: Mapping[str, Sequence[str]]) -> Any:
    """A .csv's ``table`` with the file's own texts in those columns of categories that were read as numbers, truth
    values, dates, times: 02134 isn't 2134. ``known``: what the model knows of each column, nothing where it can't say.
    """
    import pyarrow as pa
    import pyarrow.csv

    odd = [name for name in known if not _is_text(table.column(name).type)]
    if not odd:
        return table
    as_text = pyarrow.csv.ConvertOptions(include_columns=odd, column_types=dict.fromkeys(odd, pa.string()))
    texts = pyarrow.csv.read_csv(path, convert_options=as_text)
    for name in odd:
        column, words, values = table.column(name), texts.column(name).to_pylist(), set(known[name])
        if pa.types.is_floating(column.type) and not values.intersection(words):
            present = texts.column(name).filter(column.is_valid()).to_pylist()
            if values or all(map(whole_of, present)):
                continue  # they are refused as what they are
        gone = column.is_null().to_pylist()
        chosen = [_own_word(word, missing, values) for word, missing in zip(words, gone, strict=True)]
        table = table.set_column(table.column_names.index(name), name, pa.array(chosen, pa.string()))
    return table


def _own_word(word: str, missing: bool, known: set[str]) -> str | None:
    """What a .csv's text is as a category: itself, or what it was read as where the model knows that and not itself.
    ``missing``: it is empty, or a word for nothing that the model may know yet."""
    if word in known and not (missing and not word):
        return word
    if missing:
        return None
    read = as_read(word)
    return read if read and read in known else word


def as_read(word: str) -> str:
    """What a .csv's text is as a category where it is read as an integer or a truth value: ``2134`` of ``02134``, and
    ``True`` of ``true``. Else nothing."""
    if _INTEGER.fullmatch(word):
        return str(int(word))
    return word.capitalize() if _TRUTH.fullmatch(word) else ""


def whole_of(word: str) -> str:
    """``10`` of ``10.0``, else nothing."""
    found = _FLOAT.fullmatch(word)
    return found.group(1) if found else ""


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))
