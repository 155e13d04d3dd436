"""Damaged files, made from whole ones: the same number always gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

SIZES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, (1 << 64) - 1)
TEXTS = (
    b"-1", b"0", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 30, b"true", b"1.5", b"-2147483649",
    b"4294967296", b"../../etc/passwd", b"/etc/passwd", b"\xff\xfe", b"\\u0000", b"[[[[", b"{{{{", b"(((((",
)  # fmt: skip
LONGEST = 1 << 20


def mutant(seeds: Sequence[bytes], number: int) -> bytes:
    """Mutant ``number`` of the seeds: one of them with 1 to 8 changes, most of them small."""
    chance = Random(number)
    content = bytearray(seeds[number % len(seeds)])
    for _ in range(chance.choice((1, 1, 1, 1, 1, 2, 3, 8))):
        chance.choice(_CHANGES)(content, chance, seeds)
    return bytes(content[:LONGEST])


def _at(content: bytearray, chance: Random) -> int:
    return chance.randrange(len(content) + 1) if content else 0


def _bit(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _byte(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    if content:
        content[chance.randrange(len(content))] = chance.randrange(256)


def _size(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """A length, or another number, that is at the edge of what it can be."""
    width, at = chance.choice((1, 2, 4, 8)), _at(content, chance)
    value = chance.choice(SIZES) & ((1 << 8 * width) - 1)
    content[at : at + width] = value.to_bytes(width, chance.choice(("little", "big")))


def _number(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    """A run of digits, in files that are text, becomes another word."""
    start = _at(content, chance)
    while start < len(content) and not 48 <= content[start] <= 57:
        start += 1
    end = start
    while end < len(content) and content[end] in b"0123456789.eE+-":
        end += 1
    content[start:end] = chance.choice(TEXTS)


def _text(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    at = _at(content, chance)
    content[at:at] = chance.choice(TEXTS)


def _cut(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    del content[_at(content, chance) :]


def _drop(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    at = _at(content, chance)
    del content[at : at + chance.choice((1, 2, 4, 16, 256))]


def _repeat(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    at = _at(content, chance)
    part = bytes(content[at : at + chance.choice((1, 4, 16, 64, 512))])
    content[at:at] = part * chance.choice((1, 2, 8, 100))


def _move(content: bytearray, chance: Random, _: Sequence[bytes]) -> None:
    at, to, size = _at(content, chance), _at(content, chance), chance.choice((1, 4, 16, 64))
    content[to : to + size] = content[at : at + size]


def _splice(content: bytearray, chance: Random, seeds: Sequence[bytes]) -> None:
    """The rest of another seed."""
    other = chance.choice(seeds)
    content[_at(content, chance) :] = other[chance.randrange(len(other) + 1) :]


_Change = Callable[[bytearray, Random, Sequence[bytes]], None]
_CHANGES: tuple[_Change, ...] = (
    _bit, _bit, _byte, _byte, _size, _size, _number, _number, _number, _text, _cut, _drop, _repeat, _move, _splice,
)  # fmt: skip
