"""XGBoost's binary model files: UBJSON Draft 12 with optimised containers, read with bounds.

Source: https://ubjson.org, and XGBoost's ``src/common/json.cc`` for what it writes. Numbers are big-endian::

    value   :=  Z | T | F | i int8 | U uint8 | I int16 | l int32 | L int64 | d float32 | D float64
             |  C byte | S length utf-8 | [ … ] | { … }
    [ … ]   :=  value* ]   |  # length value*   |  $ type # length payload*
    { … }   :=  (length utf-8 value)* }         |  # length (…)*   |  $ type # length (length utf-8 payload)*
    length  :=  a value of an integer type, never negative

A typed array of numbers becomes a numpy array in this machine's byte order; any other array a list, an object a
dict, ``Z`` None. The bytes are someone else's: every length is compared with the bytes that remain before
anything is allocated, and depth and the number of values are limited.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import ModelError

MAX_DEPTH = 64
"""XGBoost's own models nest about ten deep."""

MAX_VALUES = 20_000_000
"""About ten times what a model of 100,000 trees holds: a tree is some twenty values, its nodes are in arrays."""

_NUMBERS: dict[int, tuple[struct.Struct, np.dtype[np.generic]]] = {
    ord(marker): (struct.Struct(f">{code}"), np.dtype(f">{kind}"))
    for marker, code, kind in (
        ("i", "b", "i1"),
        ("U", "B", "u1"),
        ("I", "h", "i2"),
        ("l", "i", "i4"),
        ("L", "q", "i8"),
        ("d", "f", "f4"),
        ("D", "d", "f8"),
    )
}
_LENGTHS = frozenset(b"iUIlL")
_CONSTANTS: dict[int, bool | None] = {ord("T"): True, ord("F"): False, ord("Z"): None}
_NOOP, _TYPE, _COUNT = ord("N"), ord("$"), ord("#")
_END_ARRAY, _END_OBJECT = ord("]"), ord("}")


def parse(payload: bytes, name: str = "the model") -> object:
    """The value that ``payload`` holds; ``name`` (the file's) begins the error message.

    Raises ModelError, with the offset and what was expected there, for anything but one complete value.
    """
    reader = _Reader(payload, name)
    value = reader.value(reader.marker(), 0)
    reader.end()
    return value


def member(payload: bytes, key: str, name: str = "the model") -> bytes:
    """The bytes of one member's value in the outermost object: ``Model`` of a pickled Booster's handle.

    They are themselves UBJSON, and what ``Booster.save_raw("ubj")`` gives. Raises ModelError as :func:`parse`
    does, and where there is no such member.
    """
    reader = _Reader(payload, name)
    reader.expect(ord("{"), "'{', an object")
    found: bytes | None = None
    while (marker := reader.marker()) != _END_OBJECT:
        here = reader.text(reader.length(marker))
        start = reader.at
        reader.value(reader.marker(), 1)
        if here == key:
            found = payload[start : reader.at]
    reader.end()
    if found is None:
        raise ModelError(f"{name}: not a readable UBJSON model: no member {key!r} in its outermost object")
    return found


@dataclass(slots=True)
class _Reader:
    """A position in a payload; each method reads one thing and moves past it."""

    payload: bytes
    name: str
    at: int = 0
    values_left: int = MAX_VALUES

    def refuse(self, expected: str, at: int | None = None) -> ModelError:
        offset = self.at if at is None else at
        return ModelError(
            f"{self.name}: not a readable UBJSON model: expected {expected} at byte {offset} of {len(self.payload)}",
            "Save the model again with save_model(), and compare the sizes of the two files.",
        )

    def end(self) -> None:
        if self.at != len(self.payload):
            raise self.refuse("the end of the file")

    def expect(self, marker: int, what: str) -> None:
        if self.byte(what) != marker:
            raise self.refuse(what, self.at - 1)

    def byte(self, what: str) -> int:
        if self.at >= len(self.payload):
            raise self.refuse(what)
        self.at += 1
        return self.payload[self.at - 1]

    def marker(self) -> int:
        """The next marker that isn't a no-op."""
        while (marker := self.byte("a value")) == _NOOP:
            pass
        return marker

    def number(self, layout: struct.Struct) -> int | float:
        if self.at + layout.size > len(self.payload):
            raise self.refuse(f"a number of {layout.size} bytes")
        (number,) = layout.unpack_from(self.payload, self.at)
        self.at += layout.size
        return number  # type: ignore[no-any-return]

    def length(self, marker: int, unit: int = 1) -> int:
        """A length that the rest of the file can hold: each thing it counts takes ``unit`` bytes or more."""
        start = self.at - 1
        if marker not in _LENGTHS:
            raise self.refuse("a length (an integer)", start)
        length = int(self.number(_NUMBERS[marker][0]))
        if not 0 <= length <= (len(self.payload) - self.at) // unit:
            raise self.refuse(f"a length from 0 to {(len(self.payload) - self.at) // unit}, not {length},", start)
        return length

    def text(self, length: int) -> str:
        start = self.at
        self.at += length
        try:
            return self.payload[start : self.at].decode()
        except UnicodeDecodeError:
            raise self.refuse("UTF-8 text", start) from None

    def value(self, marker: int, depth: int) -> object:
        self.values_left -= 1
        if self.values_left < 0:
            raise self.refuse(f"no more than {MAX_VALUES} values")
        if marker in _NUMBERS:
            return self.number(_NUMBERS[marker][0])
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        read = _STRUCTURED.get(marker)
        if read is None:
            raise self.refuse(f"the marker of a value, not {bytes([marker])!r},", self.at - 1)
        if depth >= MAX_DEPTH:
            raise self.refuse(f"no more than {MAX_DEPTH} levels of nesting")
        return read(self, depth + 1)


def _string(reader: _Reader, _depth: int) -> str:
    return reader.text(reader.length(reader.byte("a length")))


def _character(reader: _Reader, _depth: int) -> str:
    code = reader.byte("a character")
    if code > 127:
        raise reader.refuse("an ASCII character", reader.at - 1)
    return chr(code)


def _array(reader: _Reader, depth: int) -> object:
    element, count = _header(reader)
    if element in _NUMBERS and count is not None:
        return _typed(reader, _NUMBERS[element][1], count)
    if count is not None:
        return [reader.value(element or reader.marker(), depth) for _ in range(count)]
    values: list[object] = []
    while (marker := reader.marker()) != _END_ARRAY:
        values.append(reader.value(marker, depth))
    return values


def _object(reader: _Reader, depth: int) -> dict[str, object]:
    element, count = _header(reader)
    members: dict[str, object] = {}
    while count is None or len(members) < count:
        marker = reader.marker()
        if marker == _END_OBJECT and count is None:
            break
        start = reader.at - 1
        key = reader.text(reader.length(marker))
        if key in members:
            raise reader.refuse(f"another key than {key[:60]!r} again", start)
        members[key] = reader.value(element or reader.marker(), depth)
    return members


def _header(reader: _Reader) -> tuple[int | None, int | None]:
    """(type of every element or None, their number or None): what follows ``[`` or ``{``."""
    element = None
    at = reader.at
    if reader.payload[at : at + 1] == b"$":
        reader.at += 1
        element = reader.byte("the type of the elements")
        # a type whose values take no bytes would make a few bytes stand for any number of them
        if element in _CONSTANTS or (element not in _NUMBERS and element not in _STRUCTURED):
            raise reader.refuse("a type that has values", reader.at - 1)
    if reader.payload[reader.at : reader.at + 1] != b"#":
        if element is not None:
            raise reader.refuse("'#', the number of elements")
        return None, None
    reader.at += 1
    unit = _NUMBERS[element][1].itemsize if element in _NUMBERS else 1
    return element, reader.length(reader.byte("the number of elements"), unit)


def _typed(reader: _Reader, dtype: np.dtype[np.generic], count: int) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
    array = np.frombuffer(reader.payload, dtype, count, reader.at)
    reader.at += count * dtype.itemsize
    return array.astype(dtype.newbyteorder("="))


_STRUCTURED: dict[int, Callable[[_Reader, int], object]] = {
    ord("S"): _string,
    ord("C"): _character,
    ord("["): _array,
    ord("{"): _object,
}
