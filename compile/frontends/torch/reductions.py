"""Largest and smallest along axes as torch finds them: NaN where there is one, and its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from .onnx_parts import number, op


def amax(x: Any, dim: Any = (), keepdim: Any = False) -> Any:
    return _extreme(op.ReduceMax, x, dim, keepdim)


def amin(x: Any, dim: Any = (), keepdim: Any = False) -> Any:
    return _extreme(op.ReduceMin, x, dim, keepdim)


def max_of(x: Any, dim: Any, keepdim: Any = False) -> Any:
    return amax(x, [dim], keepdim), argmax(x, dim, keepdim)


def min_of(x: Any, dim: Any, keepdim: Any = False) -> Any:
    return amin(x, [dim], keepdim), argmin(x, dim, keepdim)


def argmax(x: Any, dim: Any = None, keepdim: Any = False) -> Any:
    return _place(op.ArgMax, x, dim, keepdim)


def argmin(x: Any, dim: Any = None, keepdim: Any = False) -> Any:
    return _place(op.ArgMin, x, dim, keepdim)


def vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: Any = False) -> Any:  # noqa: A002 (torch's name)
    """(sum of |x|^ord)^(1/ord); the largest or smallest |x| of an infinite one, how many aren't 0 of none."""
    axes, keep = _axes([dim] if isinstance(dim, int) else dim), int(keepdim)
    if ord in (math.inf, -math.inf):
        return _extreme(op.ReduceMax if ord > 0 else op.ReduceMin, op.Abs(x), dim, keepdim, x.dtype)
    if ord == 0:
        return op.ReduceSum(op.CastLike(op.Not(op.Equal(x, number(0.0, x))), x), axes, keepdims=keep)
    if ord in (1, 2):
        return (op.ReduceL1 if ord == 1 else op.ReduceL2)(x, axes, keepdims=keep)
    total = op.ReduceSum(op.Pow(op.Abs(x), number(float(ord), x)), axes, keepdims=keep)
    return op.Pow(total, number(1 / ord, x))


def _extreme(find: Callable[..., Any], x: Any, dim: Any, keepdim: Any, kind: Any = None) -> Any:
    axes = _axes([dim] if isinstance(dim, int) else dim)
    found = find(x, axes, keepdims=int(keepdim))
    kind = kind or x.dtype
    if kind.is_integer() or kind == ir.DataType.BOOL:
        return found
    lacks = op.ReduceMax(op.CastLike(op.IsNaN(x), x), axes, keepdims=int(keepdim))
    return op.Where(op.Greater(lacks, number(0.0, x)), number(float("nan"), x), found)


def _place(find: Callable[..., Any], x: Any, dim: Any, keepdim: Any) -> Any:
    if dim is None:
        x, dim, keepdim = op.Reshape(x, _axes([-1])), 0, False
    found = find(x, axis=dim, keepdims=int(keepdim))
    if x.dtype.is_integer():
        return found
    lacks = op.CastLike(op.IsNaN(x), number(0.0, None))
    any_lacks = op.ReduceMax(lacks, _axes([dim]), keepdims=int(keepdim))
    first = op.ArgMax(lacks, axis=dim, keepdims=int(keepdim))
    return op.Where(op.Greater(any_lacks, number(0.0, None)), first, found)


def _axes(dims: Any) -> Any:
    return op.Constant(value=ir.serde.serialize_tensor(ir.tensor(np.array(list(dims), np.int64)))) if dims else None
