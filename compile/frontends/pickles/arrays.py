"""NumPy's dtypes, scalars and arrays, read out of inert records: only plain ones, built here from their bytes."""

from __future__ import annotations

import math
import re

import numpy as np

from .allowed import ARRAY, DTYPE, FROMBUFFER, RECONSTRUCT, SCALAR, WRAPPER
from .stubs import Record, as_bytes, class_of, fields_of, is_one_of

Scalar = bool | int | float | str

_CODE = re.compile(r"[biufcSUVmMO]\d{1,9}|[?bBhHiIlLqQefdgFDGO]")


def dtype_of(value: object) -> np.dtype[np.generic] | None:
    """``numpy.dtype("f8", False, True)`` with its state ``(3, "<", …)``; None for anything else."""
    if not isinstance(value, Record) or value.maker != DTYPE or not value.args or len(value.states) > 1:
        return None
    code, order = value.args[0], "="
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    if value.states:
        match value.states[0]:
            case (int(), str() as written, *_) if written in {"<", ">", "|", "="}:
                order = written
            case _:
                return None
    try:
        return np.dtype(order + code)
    except (TypeError, ValueError):
        return None


def wrapped_layout(wrapper: Record) -> tuple[np.dtype[np.generic], int, bool] | None:
    """(dtype, number of elements, whether padding precedes them) of the array that follows joblib's wrapper."""
    fields = fields_of(wrapper) or {}
    dtype, count = dtype_of(fields.get("dtype")), _count(fields.get("shape"))
    aligned = fields.get("numpy_array_alignment_bytes")
    if dtype is None or count is None or not isinstance(aligned, int | None):
        return None
    return dtype, count, aligned is not None


def elements_of(value: object) -> tuple[Scalar, ...] | None:
    """The elements of a one-dimensional array (or list, or tuple) of numbers or text; None for anything else."""
    if isinstance(value, list | tuple):
        return _scalars(value)
    if not isinstance(value, Record):
        return None
    parts = _array_parts(value)
    if parts is None:
        return None
    dtype, shape, content = parts
    count = _count(shape)
    if dtype is None or count is None or not isinstance(shape, tuple) or len(shape) != 1:
        return None
    if dtype.hasobject:
        return _scalars(content) if isinstance(content, list) and len(content) == count else None
    raw = as_bytes(content)
    if raw is None or dtype.kind not in "biufU" or len(raw) != count * dtype.itemsize or dtype.itemsize == 0:
        return None
    return _scalars(_decoded(raw, dtype))


def scalar_of(value: object) -> Scalar | None:
    """A number or text, Python's or numpy's; None for anything else."""
    if isinstance(value, bool | int | float | str):
        return value
    if not isinstance(value, Record) or not is_one_of(value.maker, SCALAR) or len(value.args) != 2:
        return None
    dtype, raw = dtype_of(value.args[0]), as_bytes(value.args[1])
    if dtype is None or raw is None or dtype.kind not in "biufU" or not 0 < dtype.itemsize == len(raw):
        return None
    decoded = _decoded(raw, dtype)
    return scalar_of(decoded[0]) if decoded else None


def _array_parts(value: Record) -> tuple[np.dtype[np.generic] | None, object, object] | None:
    """(dtype, shape, content) of the three ways an array is written."""
    if is_one_of(value.maker, RECONSTRUCT) and len(value.states) == 1:
        match value.args, value.states[0]:
            case (kind, *_), (int(), tuple() as shape, Record() as dtype, _, content) if kind == ARRAY:
                return dtype_of(dtype), shape, content
    if is_one_of(value.maker, FROMBUFFER):
        match value.args:
            case (content, Record() as dtype, tuple() as shape, *_):
                return dtype_of(dtype), shape, content
    if class_of(value) == WRAPPER and len(value.items) == 1:
        fields = fields_of(Record(value.maker, value.args, states=value.states)) or {}
        inner = value.items[0]
        # an array of objects is a pickle of its own, which holds the whole array again
        if isinstance(inner, Record):
            return None if class_of(inner) == WRAPPER else _array_parts(inner)
        return dtype_of(fields.get("dtype")), fields.get("shape"), inner
    return None


def _count(shape: object) -> int | None:
    if not isinstance(shape, tuple) or len(shape) > 32:
        return None
    lengths = [scalar_of(length) for length in shape]
    if not all(type(length) is int and 0 <= length < 1 << 62 for length in lengths):
        return None
    return math.prod(length for length in lengths if isinstance(length, int))


def _decoded(raw: bytes, dtype: np.dtype[np.generic]) -> list[object]:
    try:
        return list(np.frombuffer(raw, dtype).tolist())
    except (ValueError, UnicodeDecodeError):
        return []


def _scalars(values: list[object] | tuple[object, ...]) -> tuple[Scalar, ...] | None:
    read = [scalar_of(value) for value in values]
    return tuple(value for value in read if value is not None) if None not in read else None
