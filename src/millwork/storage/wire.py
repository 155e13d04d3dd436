"""Values as JSON: ``msgspec``, plus paths as strings.

JSON has no NaN and no infinities: msgspec writes both as ``null``, and a ``float`` field then refuses to be read.
Numbers that may be one of those are ``float | None`` fields, or lie in an array file.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, TypeVar

import msgspec

R = TypeVar("R")


def encode(value: object) -> bytes:
    """``value`` (a Struct, or what JSON knows) as JSON; ``TypeError`` for what has no JSON form."""
    return msgspec.json.encode(value, enc_hook=_plain)


def decode(content: bytes, kind: type[R]) -> R:
    """JSON read as ``kind``; ``msgspec.DecodeError`` (a ``ValueError``) where it isn't one.

    So too where a string in it isn't UTF-8, or it is nested too deeply: msgspec has other errors for those, and a
    damaged file can be either.
    """
    try:
        return msgspec.json.decode(content, type=kind, dec_hook=_rich)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def builtins(value: object) -> Any:
    """``value`` as dicts, lists, strings and numbers, sets and keys sorted: the same value always gives the same."""
    return msgspec.to_builtins(value, order="sorted", str_keys=True, enc_hook=_plain)


def _plain(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _rich(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError(f"{kind.__name__} has no form in JSON")
