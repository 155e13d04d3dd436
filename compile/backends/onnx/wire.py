"""A model whose node table is too large for Python's numbers, written as protobuf's bytes straight from arrays.

The protobuf library takes lists: a list of a million integers is 40 MB, and a tree operator has eight of them. Here the
small rest of the model goes through the library, and the table's columns through numpy, a chunk at a time; what is
written is what any protobuf reader takes (repeated numbers packed). Fields and their numbers: onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Column = npt.NDArray[Any]
"""Integers (not negative), float32, float64 (a tensor), or texts as their numbers in ``TEXTS``: uint8."""

TEXTS = (b"LEAF", b"BRANCH_LT", b"BRANCH_LEQ")

_CHUNK = 1 << 16
_MODEL_GRAPH, _GRAPH_NODE, _NODE_ATTRIBUTE = 7, 1, 5
_NAME, _TENSOR, _FLOATS, _INTS, _STRINGS, _TYPE = 1, 5, 7, 8, 9, 20
_VARINT, _LENGTH = 0, 2


def save(model: onnx.ModelProto, op_type: str, columns: Iterable[tuple[str, Column]], path: Path) -> None:
    """Write ``model``, whose only node of ``op_type`` gets the ``columns`` as further attributes."""
    nodes = [(node, [*_attributes(columns)] if node.op_type == op_type else []) for node in model.graph.node]
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    rest.graph.ClearField("node")
    graph = rest.graph.SerializePartialToString()
    rest.ClearField("graph")
    parts: list[bytes] = []
    for node, attributes in nodes:
        own = [node.SerializeToString(), *attributes]
        parts += [_head(_GRAPH_NODE, sum(map(len, own))), *own]
    parts.append(graph)
    with path.open("wb") as file:
        file.write(rest.SerializePartialToString())
        file.write(_head(_MODEL_GRAPH, sum(map(len, parts))))
        file.writelines(parts)


def _attributes(columns: Iterable[tuple[str, Column]]) -> Iterator[bytes]:
    for name, values in columns:
        if values.dtype == np.float64:
            yield _attribute(
                f"{name}_as_tensor",
                onnx.AttributeProto.TENSOR,
                _TENSOR,
                [numpy_helper.from_array(values, f"{name}_as_tensor").SerializeToString()],
            )
        elif values.dtype == np.float32:
            yield _attribute(name, onnx.AttributeProto.FLOATS, _FLOATS, [values.astype("<f4").tobytes()])
        elif values.dtype == np.uint8:
            yield _attribute(name, onnx.AttributeProto.STRINGS, None, [_texts(part) for part in _chunks(values)])
        else:
            yield _attribute(name, onnx.AttributeProto.INTS, _INTS, [_varints(part) for part in _chunks(values)])


def _attribute(name: str, kind: int, field: int | None, parts: list[bytes]) -> bytes:
    """``field``: that of one value made of all ``parts``; None where they are whole fields themselves."""
    own = [_head(_NAME, len(name)), name.encode(), _key(_TYPE, _VARINT), _varint(kind)]
    if field is not None:
        own.append(_head(field, sum(map(len, parts))))
    own += parts
    return b"".join([_head(_NODE_ATTRIBUTE, sum(map(len, own))), *own])


def _chunks(values: Column) -> Iterator[Column]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _varints(values: Column) -> bytes:
    """Integers, 7 bits a byte, the lowest first, the top bit on all but the last."""
    left = values.astype(np.uint64)
    size = np.ones(len(left), np.int64)
    for shift in range(7, 63, 7):
        more = left >> np.uint64(shift) > 0
        if not more.any():
            break
        size += more
    start = np.cumsum(size) - size
    out = np.zeros(int(size.sum()), np.uint8)
    for place in range(int(size.max(initial=0))):
        here = np.flatnonzero(size > place)
        out[start[here] + place] = (left[here] & np.uint64(127)) | np.where(size[here] > place + 1, 128, 0).astype(
            np.uint64
        )
        left >>= np.uint64(7)
    return out.tobytes()


def _texts(numbers: Column) -> bytes:
    """Each text as a field of its own."""
    fields = [_head(_STRINGS, len(text)) + text for text in TEXTS]
    table = np.zeros((len(fields), max(map(len, fields))), np.uint8)
    for row, field in zip(table, fields, strict=True):
        row[: len(field)] = np.frombuffer(field, np.uint8)
    used = np.arange(table.shape[1]) < np.array([[len(field)] for field in fields])
    return table[numbers][used[numbers]].tobytes()


def _head(field: int, length: int) -> bytes:
    return _key(field, _LENGTH) + _varint(length)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    return _varints(np.array([value], np.uint64))
