"""CityHash64 in its first version (1.0), whose low 32 bits are CatBoost's hash of a category's text.

Source: Google's CityHash, published with its algorithm in 2011; checked against CatBoost's own hashes by
tests/compile/test_city_hash.py.
"""

from __future__ import annotations

import struct

MASK = (1 << 64) - 1
K0, K1, K2, K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
MUL = 0x9DDFEA08EB382D69


def category_hash(text: str) -> int:
    """CatBoost's hash of a category, as the signed 32-bit number that its models hold."""
    low = city_hash64(text.encode()) & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low


def city_hash64(s: bytes) -> int:
    n = len(s)
    if n <= 16:
        return _up_to_16(s, n)
    if n <= 32:
        a, b, c, d = _word(s, 0) * K1, _word(s, 8), _word(s, n - 8) * K2, _word(s, n - 16) * K0
        return _pair(_turn(a - b, 43) + _turn(c, 30) + d, a + _turn(b ^ K3, 20) - c + n)
    return _up_to_64(s, n) if n <= 64 else _long(s, n)


def _up_to_16(s: bytes, n: int) -> int:
    if n > 8:
        a, b = _word(s, 0), _word(s, n - 8)
        return _pair(a, _turn(b + n, n)) ^ b
    if n >= 4:
        return _pair(n + (_half(s, 0) << 3), _half(s, n - 4))
    if n == 0:
        return K2
    y, z = s[0] + (s[n >> 1] << 8), n + (s[n - 1] << 2)
    return _fold((y * K2 ^ z * K3) & MASK) * K2 & MASK


def _up_to_64(s: bytes, n: int) -> int:
    z = _word(s, 24)
    a = _word(s, 0) + (n + _word(s, n - 16)) * K0
    first, second = _quarter(a, z, _word(s, 8), _word(s, 16))
    third, fourth = _quarter(_word(s, 16) + _word(s, n - 32), _word(s, n - 8), _word(s, n - 24), _word(s, n - 16))
    r = _fold(((first + fourth) * K2 + (third + second) * K0) & MASK)
    return _fold((r * K0 + second) & MASK) * K2 & MASK


def _quarter(a: int, z: int, more: int, last: int) -> tuple[int, int]:
    b, c = _turn(a + z, 52), _turn(a, 37)
    a += more
    c += _turn(a, 7)
    a += last
    return (a + z) & MASK, (b + _turn(a, 31) + c) & MASK


def _long(s: bytes, n: int) -> int:
    x, y, z = _word(s, 0), _word(s, n - 16) ^ K1, _word(s, n - 56) ^ K0
    v, w = _weak(s, n - 64, n, y), _weak(s, n - 32, n * K1, K0)
    z += _fold(v[1]) * K1
    x, y = _turn(z + x, 39) * K1, _turn(y, 33) * K1
    for at in range(0, (n - 1) & ~63, 64):
        x = _turn(x + y + v[0] + _word(s, at + 16), 37) * K1
        y = _turn(y + v[1] + _word(s, at + 48), 42) * K1
        x, y = (x ^ w[1]) & MASK, (y ^ v[0]) & MASK
        z = _turn(z ^ w[0], 33)
        v, w = _weak(s, at, v[1] * K1, x + w[0]), _weak(s, at + 32, z + w[1], y)
        x, z = z, x
    return _pair(_pair(v[0], w[0]) + _fold(y) * K1 + z, _pair(v[1], w[1]) + x)


def _weak(s: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    w, x, y, z = struct.unpack_from("<4Q", s, at)
    a += w
    b = _turn(b + a + z, 21)
    c = a
    a += x + y
    return (a + z) & MASK, (b + _turn(a, 44) + c) & MASK


def _pair(u: int, v: int) -> int:
    u, v = u & MASK, v & MASK
    a = (u ^ v) * MUL & MASK
    a ^= a >> 47
    b = (v ^ a) * MUL & MASK
    return (b ^ b >> 47) * MUL & MASK


def _fold(value: int) -> int:
    value &= MASK
    return value ^ value >> 47


def _turn(value: int, by: int) -> int:
    """Rotate right."""
    value &= MASK
    return (value >> by | value << (64 - by)) & MASK


def _word(s: bytes, at: int) -> int:
    return int.from_bytes(s[at : at + 8], "little")


def _half(s: bytes, at: int) -> int:
    return int.from_bytes(s[at : at + 4], "little")
