"""What :mod:`.text` is made of: numbers exact to the bit, and lines that begin with a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .forest import Ints

T = TypeVar("T")

FloatType = type[np.float32] | type[np.float64]


def float_text(value: np.floating[Any]) -> str:
    """The shortest text that :func:`read_float` reads as the same bits; every NaN is ``nan``."""
    text = str(value)
    kind: FloatType = np.float32 if value.dtype == np.float32 else np.float64
    if np.isnan(value) or read_float(text, kind).tobytes() == value.tobytes():
        return text
    return float(value).hex()


def read_float(text: str, kind: FloatType) -> np.float32 | np.float64:
    """ValueError for what is no number, or too large for one of that type."""
    number = float.fromhex(text) if "0x" in text else float(text)
    with np.errstate(over="ignore"):
        value = kind(number)
    if np.isinf(value) and not np.isinf(number):
        raise ValueError(f"{text} is too large for {kind.__name__}")
    return value


def read_floats(text: str, kind: FloatType, between: str | None = None) -> npt.NDArray[Any]:
    """Of numbers with ``between``, or spaces, between them."""
    return np.array([read_float(word, kind) for word in text.split(between)], kind)


def read_int(text: str, more: int = 0) -> int:
    """The number and ``more``. ValueError for what is no integer, or too large for int32."""
    number = int(text) + more
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{text} is too large for int32")
    return number


def read_ints(text: str) -> Ints:
    """Of integers with spaces between them."""
    return np.array([read_int(word) for word in text.split()], np.int32)


def joined(values: npt.NDArray[Any], between: str = " ") -> str:
    return between.join(float_text(value) if value.dtype.kind == "f" else str(value) for value in values)


class Lines:
    """The lines of a text that say something, taken one after the other. ``number``: of the line that was looked at."""

    def __init__(self, text: str) -> None:
        self.number, self._end = 0, len(text.splitlines()) + 1
        self._lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.strip().startswith("#")
        ]
        self._at = 0

    def next(self) -> str | None:
        """The next line, which stays to be taken; None behind the last."""
        self.number, line = self._lines[self._at] if self._at < len(self._lines) else (self._end, None)
        return line

    def whole(self) -> str:
        """Take the next line."""
        line = self.next()
        if line is None:
            raise ValueError("the text ends here")
        self._at += 1
        return line

    def begins(self, word: str) -> bool:
        """Whether the next line begins with ``word``."""
        line = self.next()
        return line is not None and line.split()[0] == word

    def rest(self, word: str) -> str:
        """What follows ``word`` in the next line, which must begin so, and is taken."""
        if not self.begins(word):
            raise ValueError(f"expected {word!r}, found {self.next() or 'the end'!r}")
        return self.whole().removeprefix(word).strip()

    def optional(self, word: str, read: Callable[[str], T]) -> T | None:
        """The same as ``read`` reads it; None where the next line begins otherwise."""
        return read(self.rest(word)) if self.begins(word) else None

    def each(self, word: str) -> Iterator[str]:
        """The same of the next lines, as long as they begin so."""
        while self.begins(word):
            yield self.rest(word)
