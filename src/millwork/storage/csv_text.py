"""Categories of a .csv as the file has them: what infers types makes 2134 of 02134, and a date of 2024-01-05."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from . import row_files

_INTEGER = re.compile(r"[ \t]*-?0*[0-9]{1,19}[ \t]*")
_TRUTH = re.compile(r"true|True|TRUE|false|False|FALSE")
_FLOAT = re.compile(r"(-?[0-9]+)\.0+")


def with_texts(path: Path, table: Any, known: Mapping[str, Sequence[str]], truths: tuple[str, str]) -> Any:
    """A .csv's ``table`` with the file's own texts in those columns of categories that were read as numbers, truth
    values, dates, times: 02134 isn't 2134. ``known``: what the model knows of each column, nothing where it can't say;
    ``truths``: how the framework writes False and True.
    """
    import pyarrow as pa
    import pyarrow.csv

    odd = [name for name in known if not _is_text(table.column(name).type)]
    if not odd:
        return table
    as_text = pyarrow.csv.ConvertOptions(include_columns=odd, column_types=dict.fromkeys(odd, pa.string()))
    texts = row_files.text(path, as_text)
    for name in odd:
        column, words, values = table.column(name), texts.column(name).to_pylist(), set(known[name])
        if pa.types.is_floating(column.type) and not values.intersection(words):
            present = texts.column(name).filter(column.is_valid()).to_pylist()
            if values or all(map(whole_of, present)):
                continue  # they are refused as what they are
        gone, own = column.is_null().to_pylist(), truths
        if not all(missing or _TRUTH.fullmatch(word) for word, missing in zip(words, gone, strict=True)):
            own = ("", "")  # a "true" among other words is text
        chosen = [_own_word(word, missing, values, own) for word, missing in zip(words, gone, strict=True)]
        table = table.set_column(table.column_names.index(name), name, pa.array(chosen, pa.string()))
    return table


_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_MISSING = ("None", "<NA>")
"""What pandas takes for nothing in a .csv beside what pyarrow does."""


def numbers(path: Path, name: str, column: Any) -> Any:
    """The numbers of a column of a .csv that was read as text, since something in it isn't one; what pandas takes for
    nothing is missing. UsageError names the first that is neither."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv

    nothing = pa.array([*pyarrow.csv.ConvertOptions().null_values, *_MISSING], column.type)
    words = pc.utf8_trim_whitespace(column)
    words = pc.if_else(pc.is_in(words, value_set=nothing), pa.scalar(None, column.type), words)
    if _is_numbers(words):
        return words.cast(pa.float64())
    begin, end = 0, len(words)
    while end - begin > 1:
        middle = (begin + end) // 2
        begin, end = (middle, end) if _is_numbers(words.slice(begin, middle - begin)) else (begin, middle)
    raise not_numbers(path, name, column, begin)


def not_numbers(path: Path, name: str, column: Any, row: int) -> UsageError:
    """Of a column of text where the model takes numbers; ``row``: the first that isn't one, counted from 0."""
    word = str(column[row].as_py())
    hint = "Encode it as you did for training."
    if _DECIMAL_COMMA.fullmatch(word.strip()):
        hint = "Write numbers with a point: 1.5, not 1,5."
    elif not any(map(str.isalnum, word)):
        hint = "Leave a field empty where its value is missing, or encode it as you did for training."
    return UsageError(
        f"{path}: column {name!r} holds text; the model takes numbers. The first that isn't one is {word[:60]!r}, in "
        f"row {row + 1:,}",
        hint,
    )


def _is_numbers(words: Any) -> bool:
    import pyarrow as pa

    try:
        words.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _own_word(word: str, missing: bool, known: set[str], truths: tuple[str, str]) -> str | None:
    """What a .csv's text is as a category: itself, or what it was read as where the model knows that and not itself.
    ``missing``: it is empty, or a word for nothing that the model may know yet."""
    if word in known and not (missing and not word):
        return word
    if missing:
        return None
    return next((read for read in as_read(word, truths) if read in known), word)


def as_read(word: str, truths: tuple[str, str] = ("False", "True")) -> tuple[str, ...]:
    """What a .csv's text may be as a category where it is read as an integer or a truth value, beside itself: ``2134``
    of ``02134``; of ``true`` what the framework makes of True, then ``True``."""
    found: list[str] = []
    if _INTEGER.fullmatch(word):
        found = [str(int(word))]
    elif _TRUTH.fullmatch(word) and truths[0]:
        found = [truths[word.lower() == "true"], word.capitalize()]
    return tuple(dict.fromkeys(read for read in found if read != word))


def readings(words: set[str], truths: tuple[str, str]) -> set[str]:
    """What a .csv's column of these words may be read as, where all are integers, or all are truth values."""
    if not any(all(kind.fullmatch(word) for word in words) for kind in (_INTEGER, _TRUTH)):
        return set()
    return {read for word in words for read in as_read(word, truths)}


def whole_of(word: str) -> str:
    """``10`` of ``10.0``, else nothing."""
    found = _FLOAT.fullmatch(word)
    return found.group(1) if found else ""


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))
