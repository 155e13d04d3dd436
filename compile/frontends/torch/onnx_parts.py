"""Functions that ONNX has no operator for, in operators that neither overflow nor cancel; and constants of a type."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxscript

op: Any = onnxscript.opset20
"""The operators, which append themselves to the graph that is being made."""
ERFC = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)
"""Of log(erfcx(x) / t) in t = 2 / (2 + x), highest power first: right to 1.2e-7 of the value (Press et al., Numerical
Recipes, 6.2, erfcc)."""


def number(value: float, like: Any) -> Any:
    """A constant of the type of ``like``; float32 where that is None."""
    kind = ir.DataType.FLOAT if like is None else like.dtype
    made = np.array(value) if kind is None else np.array(value).astype(kind.numpy())
    constant = op.Constant(value=ir.serde.serialize_tensor(ir.tensor(made)))
    return op.CastLike(constant, like) if kind is None else constant  # folded once the types are known


def log1p(x: Any) -> Any:
    """log(1 + x): with w = 1 + x as it is rounded, log(w) x / (w - 1) has the error of w divided out (Kahan)."""
    rounded = op.Add(x, number(1.0, x))
    kept = op.Sub(rounded, number(1.0, x))
    plain = op.Log(rounded)
    near = op.Mul(plain, op.Div(x, kept))
    small = op.Equal(kept, number(0.0, x))
    return op.Where(small, x, op.Where(op.Equal(kept, x), plain, near))


def expm1(x: Any) -> Any:
    """exp(x) - 1 is 2 t / (1 - t) with t = tanh(x / 2), which keeps a small x."""
    half = op.Tanh(op.Mul(x, number(0.5, x)))
    near = op.Div(op.Add(half, half), op.Sub(number(1.0, x), half))
    far = op.Sub(op.Exp(x), number(1.0, x))
    return op.Where(op.Less(op.Abs(x), number(1.0, x)), near, far)


def sigmoid(x: Any) -> Any:
    """1 / (1 + e), or e / (1 + e) below 0, e = exp(-|x|): right to the last digits however small."""
    e = op.Exp(op.Neg(op.Abs(x)))
    above = op.Where(op.Less(x, number(0.0, x)), e, number(1.0, x))
    return op.Div(above, op.Add(number(1.0, x), e))


def erfc_scaled(size: Any) -> Any:
    """exp(x x) erfc(x) of x >= 0."""
    t = op.Div(number(2.0, size), op.Add(number(2.0, size), size))
    total = number(ERFC[0], size)
    for coefficient in ERFC[1:]:
        total = op.Add(op.Mul(total, t), number(coefficient, size))
    return op.Mul(t, op.Exp(total))


def is_negative(x: Any) -> Any:
    """Whether its sign is -, of zeros, too."""
    zero = number(0.0, x)
    below = op.Less(op.Div(number(1.0, x), x), zero)
    return op.Or(op.Less(x, zero), op.And(op.Equal(x, zero), below))
