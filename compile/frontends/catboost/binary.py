"""What CatBoost's own export to JSON leaves out of a .cbm, read off the file itself: which columns are text and
embeddings, and which of several targets (or of several borders of one) each CTR's table counts.

    "CBM1", uint32 size, a FlatBuffers table TModelCore, then the parts that it names; of the CTRs: their number, then
    for each its size and a FlatBuffers table TCtrValueTable

Sources: catboost/libs/model/flatbuffers/{model,features,ctr_data}.fbs, and static_ctr_provider.cpp beside them. Numbers
of fields below are their places in those files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError

MAGIC = b"CBM1"
CTR_PART = "static_provider_v1"
_TREES, _PARTS = 1, 3
_CTR_FEATURES, _TEXT, _EMBEDDINGS = 7, 12, 18
_KINDS = ("Borders", "Buckets", "BinarizedTargetMeanValue", "FloatTargetMeanValue", "Counter", "FeatureFreq")
_BUCKET = np.dtype([("key", "<u8"), ("index", "<u4")])
_MEAN = np.dtype([("sum", "<f4"), ("count", "<i4")])


@dataclass(frozen=True)
class Base:
    """What a CTR's table counts. ``elements``: the combination, byte for byte comparable; ``classifier``: the number of
    the target's borders."""

    elements: tuple[tuple[Any, ...], ...]
    kind: str
    classifier: int


@dataclass(frozen=True)
class CtrFeature:
    """A CTR of the trees: its table, the border that it counts above, and how many borders it is compared with."""

    base: Base
    target_border: int
    prior: float
    borders: int


@dataclass(frozen=True)
class Binary:
    """``text``, ``embeddings``: names of such columns, or their numbers. ``start``: where the parts begin."""

    text: tuple[str, ...]
    embeddings: tuple[str, ...]
    ctrs: tuple[CtrFeature, ...]
    parts: tuple[str, ...]
    start: int


def read(content: bytes) -> Binary | None:
    """None where the file isn't whole, or isn't a .cbm: CatBoost itself then says what is wrong."""
    try:
        if content[:4] != MAGIC:
            return None
        size = struct.unpack_from("<I", content, 4)[0]
        core = _root(content[8 : 8 + size])
        trees = core.table(_TREES)
        if trees is None:
            return None
        return Binary(
            text=tuple(_named(own) for own in trees.tables(_TEXT)),
            embeddings=tuple(_named(own) for own in trees.tables(_EMBEDDINGS)),
            ctrs=tuple(_ctr_feature(own) for own in trees.tables(_CTR_FEATURES)),
            parts=tuple(part.rstrip("\0") for part in core.texts(_PARTS)),
            start=8 + size,
        )
    except (struct.error, ValueError, IndexError):
        return None


def tables(content: bytes, binary: Binary) -> dict[Base, dict[str, Any]]:
    """The CTRs' tables as CatBoost's JSON has them: ``hash_map``, ``hash_stride``, ``counter_denominator``.
    ModelError where they can't be read."""
    try:
        if binary.parts != (CTR_PART,):
            raise ValueError(f"parts {', '.join(binary.parts)[:200]}")
        count, at = _size(content, binary.start)
        found = {}
        for _ in range(count):
            size, at = _size(content, at)
            if size > len(content) - at:
                raise ValueError("a table that is cut short")
            base, table = _table(_root(content[at : at + size]))
            found[base] = table
            at += size
    except (struct.error, ValueError, IndexError) as error:
        raise ModelError(f"its tables of CTRs can't be read: {error}", "Save it again with save_model.") from error
    return found


def _table(given: _Table) -> tuple[Base, dict[str, Any]]:
    base = _base(given.table(0))
    buckets = np.frombuffer(given.bytes(1), _BUCKET)
    used = buckets[buckets["key"] != np.uint64(2**64 - 1)]
    counts: npt.NDArray[Any]
    blob, classes = given.bytes(2), given.number(4, "<i", 0)
    if base.kind in ("BinarizedTargetMeanValue", "FloatTargetMeanValue"):
        means = np.frombuffer(blob, _MEAN)
        counts = np.stack([means["sum"].astype(np.float64), means["count"].astype(np.float64)], axis=1)
    else:
        width = 1 if base.kind in ("Counter", "FeatureFreq") else classes
        if width < 1:
            raise ValueError(f"a table of {classes} classes")
        counts = np.frombuffer(blob, "<i4").reshape(-1, width)
    if len(used) and int(used["index"].max()) >= len(counts):
        raise ValueError("a key beyond the table's values")
    rows = counts[used["index"]]
    flat = [value for key, row in zip(used["key"].tolist(), rows.tolist(), strict=True) for value in (key, *row)]
    return base, {
        "hash_map": flat,
        "hash_stride": 1 + counts.shape[1],
        "counter_denominator": given.number(3, "<i", 0),
    }


def _ctr_feature(given: _Table) -> CtrFeature:
    ctr = given.table(0)
    if ctr is None:
        raise ValueError("a CTR without its table")
    return CtrFeature(
        base=_base(ctr.table(0)),
        target_border=int(ctr.number(1, "<i", 0)),
        prior=float(ctr.number(2, "<f", 0.0)),
        borders=given.length(1),
    )


def _base(given: _Table | None) -> Base:
    combination = None if given is None else given.table(0)
    if given is None or combination is None:
        raise ValueError("a CTR of nothing")
    kind = int(given.number(1, "<b", 0))
    if not 0 <= kind < len(_KINDS):
        raise ValueError(f"a CTR of kind {kind}")
    elements = tuple(tuple(combination.array(field, dtype).tolist()) for field, dtype in _ELEMENTS)
    return Base(elements, _KINDS[kind], int(given.number(2, "<i", 0)))


_ELEMENTS = ((0, "<i4"), (1, "<i4,<u4"), (2, "<i4,<i4"))
"""Categories, borders of numbers (compared as their bits), values of categories."""


def _named(given: _Table) -> str:
    """The column's name, or its number."""
    return given.text(2) or str(given.number(1, "<i", -1))


def _size(content: bytes, at: int) -> tuple[int, int]:
    """A length as CatBoost saves it, and what comes after it."""
    size = struct.unpack_from("<I", content, at)[0]
    if size != 2**32 - 1:
        return size, at + 4
    return struct.unpack_from("<Q", content, at + 4)[0], at + 12


@dataclass(frozen=True)
class _Table:
    """A FlatBuffers table in ``content``, at ``at``. struct.error or ValueError where the bytes don't hold together."""

    content: bytes
    at: int

    def _field(self, number: int) -> int | None:
        """Where the field lies; None where it has its default."""
        vtable = self.at - _unpack("<i", self.content, self.at)
        if 4 + 2 * number >= _unpack("<H", self.content, vtable):
            return None
        offset = _unpack("<H", self.content, vtable + 4 + 2 * number)
        return self.at + offset if offset else None

    def number(self, number: int, form: str, default: float) -> Any:
        at = self._field(number)
        return default if at is None else _unpack(form, self.content, at)

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self.content, at + _unpack("<I", self.content, at))

    def _vector(self, number: int, item: int) -> tuple[int, int]:
        """Where a vector's items of ``item`` bytes begin, and how many there are."""
        at = self._field(number)
        if at is None:
            return 0, 0
        at += _unpack("<I", self.content, at)
        count = _unpack("<I", self.content, at)
        if count * item > len(self.content) - at - 4:
            raise ValueError("a vector that is cut short")
        return at + 4, count

    def length(self, number: int) -> int:
        return self._vector(number, 1)[1]

    def bytes(self, number: int) -> bytes:
        at, count = self._vector(number, 1)
        return self.content[at : at + count]

    def array(self, number: int, dtype: str) -> npt.NDArray[Any]:
        at, count = self._vector(number, np.dtype(dtype).itemsize)
        return np.frombuffer(self.content, dtype, count, at)

    def tables(self, number: int) -> Iterator[_Table]:
        at, count = self._vector(number, 4)
        for place in range(at, at + 4 * count, 4):
            yield _Table(self.content, place + _unpack("<I", self.content, place))

    def texts(self, number: int) -> Sequence[str]:
        return [_text(own.content, own.at) for own in self.tables(number)]

    def text(self, number: int) -> str:
        at = self._field(number)
        return "" if at is None else _text(self.content, at + _unpack("<I", self.content, at))


def _root(content: bytes) -> _Table:
    return _Table(content, _unpack("<I", content, 0))


def _text(content: bytes, at: int) -> str:
    length = _unpack("<I", content, at)
    return content[at + 4 : at + 4 + length].decode(errors="replace")


def _unpack(form: str, content: bytes, at: int) -> Any:
    if at < 0:  # struct would count from the end
        raise ValueError("an offset before the beginning")
    return struct.unpack_from(form, content, at)[0]
