"""Values that JSON carries, and what isn't one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from millwork.storage import wire
from millwork.values import Value


class Made(Value):
    path: Path
    names: tuple[str, ...] = ()


def test_there_and_back() -> None:
    made = Made(path=Path("a/b"), names=("c", "\x1b\u202e\U0001f600"))
    assert wire.decode(wire.encode(made), Made) == made


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"path":"a","names":1}',
        b'{"path":"a","names":[1]}',
        b'{"path":"\xe1b"}',
        b'{"path":"a","names":["\xff"]}',
        b'{"path":"a","more":' + b"[" * 99_999,
    ],
)
def test_whatever_is_wrong_is_one_error(content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.decode(content, Made)
