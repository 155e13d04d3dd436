"""torch's operators -> ONNX operators, where the exporter's own translation is another function than torch's: it
overflows, cancels, or answers otherwise for NaN, infinities or zeros of either sign.

Each function takes what torch's operator takes, and returns what it appended to the graph. ``table`` is what
torch.onnx.export asks for. Operators in ``WHERE_SMALL_COUNTS`` are written out only where something after them
magnifies small answers (a logarithm, a quotient): elsewhere the engine's own kernel is right and faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from . import reductions
from .onnx_parts import erfc_scaled, expm1, is_negative, log1p, number, op, sigmoid

if TYPE_CHECKING:
    from torch.export import ExportedProgram

aten = torch.ops.aten
Translations = Mapping[Any, Callable[..., Any]]
INFINITY = math.inf


def log_sigmoid(x: Any) -> Any:
    return op.Neg(op.Softplus(op.Neg(x)))


def log_sigmoid_forward(x: Any) -> Any:
    """With the buffer that only training takes."""
    return log_sigmoid(x), op.Identity(x)


def logaddexp(a: Any, b: Any) -> Any:
    """max + log(1 + exp(-|a - b|)); two equal ones (infinite ones, too) have no difference to take."""
    apart = op.Where(op.Equal(a, b), number(0.0, a), op.Abs(op.Sub(a, b)))
    return op.Add(op.Max(a, b), op.Softplus(op.Neg(apart)))


def logaddexp2(a: Any, b: Any) -> Any:
    apart = op.Where(op.Equal(a, b), number(0.0, a), op.Abs(op.Sub(a, b)))
    over = op.Softplus(op.Mul(apart, number(-math.log(2), a)))
    return op.Add(op.Max(a, b), op.Div(over, number(math.log(2), a)))


def logit(x: Any, eps: Any = None) -> Any:
    within = x if eps is None else op.Clip(x, number(eps, x), number(1 - eps, x))
    return op.Log(op.Div(within, op.Sub(number(1.0, x), within)))


def xlog1py(a: Any, b: Any) -> Any:
    product = op.Mul(a, log1p(b))
    return op.Where(op.IsNaN(b), b, op.Where(op.Equal(a, number(0.0, b)), number(0.0, b), product))


def xlogy(a: Any, b: Any) -> Any:
    a, b = _both(a, b)
    product = op.Mul(a, op.Log(b))
    return op.Where(op.IsNaN(b), b, op.Where(op.Equal(a, number(0.0, b)), number(0.0, b), product))


def erfc(x: Any) -> Any:
    """erfcx(|x|) exp(-x x), and 2 minus that below 0."""
    size = op.Abs(x)
    tail = op.Mul(erfc_scaled(size), op.Exp(op.Neg(op.Mul(x, x))))
    tail = op.Where(op.Equal(size, number(INFINITY, x)), number(0.0, x), tail)
    return op.Where(op.Less(x, number(0.0, x)), op.Sub(number(2.0, x), tail), tail)


def erfcx(x: Any) -> Any:
    size = op.Abs(x)
    right = op.Where(op.Equal(size, number(INFINITY, x)), number(0.0, x), erfc_scaled(size))
    left = op.Sub(op.Mul(number(2.0, x), op.Exp(op.Mul(x, x))), right)
    return op.Where(op.Less(x, number(0.0, x)), left, right)


def log_ndtr(x: Any) -> Any:
    scaled = op.Mul(x, number(math.sqrt(0.5), x))
    far = op.Sub(op.Log(op.Mul(number(0.5, x), erfcx(op.Neg(scaled)))), op.Mul(scaled, scaled))
    far = op.Where(op.Equal(x, number(-INFINITY, x)), x, far)
    near = log1p(op.Mul(number(-0.5, x), erfc(scaled)))
    return op.Where(op.Less(x, number(-1.0, x)), far, near)


def remainder(a: Any, b: Any) -> Any:
    """C's fmod, and ``b`` more where the signs differ."""
    a, b = _both(a, b)
    if a.dtype.is_integer():
        return op.Mod(a, b)
    rest = op.Mod(a, b, fmod=1)
    return op.Where(_of_another_sign(rest, b), op.Add(rest, b), rest)


def floor_divide(a: Any, b: Any) -> Any:
    """As torch rounds it (c10::div_floor_floating): the quotient of what fmod leaves over."""
    a, b = _both(a, b)
    if a.dtype.is_integer():
        return op.Div(op.Sub(a, op.Mod(a, b)), b)
    rest = op.Mod(a, b, fmod=1)
    whole = op.Div(op.Sub(a, rest), b)
    whole = op.Where(_of_another_sign(rest, b), op.Sub(whole, number(1.0, a)), whole)
    down = op.Floor(whole)
    down = op.Where(op.Greater(op.Sub(whole, down), number(0.5, a)), op.Add(down, number(1.0, a)), down)
    plain = op.Div(a, b)
    down = op.Where(op.Equal(whole, number(0.0, a)), op.Mul(plain, number(0.0, a)), down)
    return op.Where(op.Equal(b, number(0.0, a)), plain, down)


def divide(a: Any, b: Any, rounding_mode: Any = None) -> Any:
    if rounding_mode == "floor":
        return floor_divide(a, b)
    a, b = _both(a, b)
    if rounding_mode is None:
        return op.Div(a, b)
    quotient = op.Div(a, b)
    if a.dtype.is_integer():
        return quotient
    return op.Where(op.Less(quotient, number(0.0, a)), op.Ceil(quotient), op.Floor(quotient))


def _of_another_sign(rest: Any, b: Any) -> Any:
    zero = number(0.0, b)
    return op.And(op.Not(op.Equal(rest, zero)), op.Xor(op.Less(rest, zero), op.Less(b, zero)))


def _both(a: Any, b: Any) -> tuple[Any, Any]:
    """Two tensors of one type: numbers beside one are Python's."""
    if not hasattr(a, "dtype"):
        return number(a, b), b
    return (a, b) if hasattr(b, "dtype") else (a, number(b, a))


def sign(x: Any) -> Any:
    """torch calls NaN's 0."""
    return op.Sign(x) if x.dtype.is_integer() else op.Where(op.IsNaN(x), number(0.0, x), op.Sign(x))


def signbit(x: Any) -> Any:
    return op.Less(x, number(0, x)) if x.dtype.is_integer() else is_negative(x)


def copysign(a: Any, b: Any) -> Any:
    a, b = _both(a, b)
    size = op.Abs(a)
    return op.Where(is_negative(b), op.Neg(size), size)


def heaviside(x: Any, values: Any) -> Any:
    zero = number(0.0, x)
    return op.Where(op.Equal(x, zero), values, op.CastLike(op.Greater(x, zero), x))


def clamp(x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002 (torch's names)
    """An engine takes its largest number for a bound that is left out, and would make that of an infinity."""
    if x.dtype.is_integer():
        bounds = [None if bound is None else number(bound, x) for bound in (min, max)]
        return op.Clip(x, *bounds)
    return op.Clip(x, number(-INFINITY if min is None else min, x), number(INFINITY if max is None else max, x))


def clamp_min(x: Any, bound: Any) -> Any:
    return clamp(x, min=bound)


def clamp_max(x: Any, bound: Any) -> Any:
    return clamp(x, max=bound)


def fmax(a: Any, b: Any) -> Any:
    return op.Where(op.IsNaN(a), b, op.Where(op.IsNaN(b), a, op.Max(a, b)))


def fmin(a: Any, b: Any) -> Any:
    return op.Where(op.IsNaN(a), b, op.Where(op.IsNaN(b), a, op.Min(a, b)))


def hypot(a: Any, b: Any) -> Any:
    """The larger times sqrt(1 + (the smaller over it)^2)."""
    large, small = op.Max(op.Abs(a), op.Abs(b)), op.Min(op.Abs(a), op.Abs(b))
    none = op.Or(op.Equal(large, number(0.0, a)), op.Equal(small, number(INFINITY, a)))
    ratio = op.Where(none, number(0.0, a), op.Div(small, large))
    size = op.Mul(large, op.Sqrt(op.Add(number(1.0, a), op.Mul(ratio, ratio))))
    infinite = op.Or(op.IsInf(a), op.IsInf(b))
    return op.Where(infinite, number(INFINITY, a), size)


def atan2(y: Any, x: Any) -> Any:
    """The angle within an eighth of the circle, then turned to its place."""
    far, near = op.Abs(x), op.Abs(y)
    steep = op.Greater(near, far)
    low, high = op.Min(far, near), op.Max(far, near)
    ratio = op.Where(op.Equal(low, high), number(1.0, x), op.Div(low, high))
    ratio = op.Where(op.Equal(high, number(0.0, x)), number(0.0, x), ratio)
    ratio = op.Where(op.Or(op.IsNaN(x), op.IsNaN(y)), op.Add(x, y), ratio)
    angle = op.Atan(ratio)
    angle = op.Where(steep, op.Sub(number(math.pi / 2, x), angle), angle)
    angle = op.Where(is_negative(x), op.Sub(number(math.pi, x), angle), angle)
    return op.Where(is_negative(y), op.Neg(angle), angle)


def power(x: Any, exponent: Any) -> Any:
    """What torch makes of exponents that it has a kernel for: a root of -inf is NaN, its power isn't."""
    if x.dtype.is_integer():
        whole = isinstance(exponent, int)
        return op.Pow(x if whole else op.Cast(x, to=1), number(exponent, x if whole else None))
    kernels = {0.5: op.Sqrt, 2: lambda v: op.Mul(v, v), 3: lambda v: op.Mul(op.Mul(v, v), v), -1: op.Reciprocal}
    if exponent in kernels:
        return kernels[exponent](x)
    if exponent in (-0.5, -2):
        return op.Reciprocal(op.Sqrt(x) if exponent == -0.5 else op.Mul(x, x))
    return op.Pow(x, number(exponent, x))


def one_hot(codes: Any, num_classes: Any = -1) -> Any:
    """A lookup, since torch fails on a code that is none of the classes. (The exporter compares with each.)"""
    rows = np.eye(num_classes, dtype=np.int64)
    return op.Gather(op.Constant(value=ir.serde.serialize_tensor(ir.tensor(rows))), codes)


def silu(x: Any) -> Any:
    return op.Mul(x, sigmoid(x))


def mish(x: Any) -> Any:
    return op.Mul(x, op.Tanh(op.Softplus(x)))


def elu(x: Any, alpha: Any = 1.0, scale: Any = 1.0, input_scale: Any = 1.0) -> Any:
    """scale * (x, or alpha * (exp(input_scale * x) - 1) below 0)."""
    below = op.Mul(number(alpha, x), expm1(op.Mul(x, number(input_scale, x))))
    return op.Mul(op.Where(op.Greater(x, number(0.0, x)), x, below), number(scale, x))


def celu(x: Any, alpha: Any = 1.0) -> Any:
    below = op.Mul(number(alpha, x), expm1(op.Div(x, number(alpha, x))))
    return op.Where(op.Greater(x, number(0.0, x)), x, below)


def selu(x: Any) -> Any:
    return elu(x, 1.6732632423543772, 1.0507009873554805)


def glu(x: Any, dim: Any = -1) -> Any:
    value, gate = op.Split(x, axis=dim, num_outputs=2)
    return op.Mul(value, sigmoid(gate))


ALWAYS: Translations = {
    aten.log_sigmoid.default: log_sigmoid,
    aten.log_sigmoid_forward.default: log_sigmoid_forward,
    aten.logaddexp.default: logaddexp,
    aten.logaddexp2.default: logaddexp2,
    aten.logit.default: logit,
    aten.log1p.default: log1p,
    aten.expm1.default: expm1,
    aten.special_expm1.default: expm1,
    aten.special_log1p.default: log1p,
    aten.special_xlog1py.default: xlog1py,
    aten.xlogy.Tensor: xlogy,
    aten.special_xlogy.default: xlogy,
    aten.xlogy.Scalar_Other: xlogy,
    aten.xlogy.Scalar_Self: xlogy,
    aten.erfc.default: erfc,
    aten.special_erfc.default: erfc,
    aten.special_erfcx.default: erfcx,
    aten.special_log_ndtr.default: log_ndtr,
    aten.remainder.Tensor: remainder,
    aten.remainder.Scalar: remainder,
    aten.remainder.Scalar_Tensor: remainder,
    aten.floor_divide.default: floor_divide,
    aten.floor_divide.Scalar: floor_divide,
    aten.div.Tensor_mode: divide,
    aten.div.Scalar_mode: divide,
    aten.sign.default: sign,
    aten.sgn.default: sign,
    aten.signbit.default: signbit,
    aten.copysign.Tensor: copysign,
    aten.copysign.Scalar: copysign,
    aten.heaviside.default: heaviside,
    aten.clamp.default: clamp,
    aten.clamp_min.default: clamp_min,
    aten.clamp_max.default: clamp_max,
    aten.one_hot.default: one_hot,
    aten.fmax.default: fmax,
    aten.fmin.default: fmin,
    aten.hypot.default: hypot,
    aten.atan2.default: atan2,
    aten.pow.Tensor_Scalar: power,
    aten.linalg_vector_norm.default: reductions.vector_norm,
    aten.amax.default: reductions.amax,
    aten.amin.default: reductions.amin,
    aten.max.dim: reductions.max_of,
    aten.min.dim: reductions.min_of,
    aten.argmax.default: reductions.argmax,
    aten.argmin.default: reductions.argmin,
}
WHERE_SMALL_COUNTS: Translations = {
    aten.sigmoid.default: sigmoid,
    aten.special_expit.default: sigmoid,
    aten.silu.default: silu,
    aten.mish.default: mish,
    aten.elu.default: elu,
    aten.celu.default: celu,
    aten.selu.default: selu,
    aten.glu.default: glu,
}
_MAGNIFYING = (
    "aten.log aten.special_log aten.logit aten.special_logit aten.xlogy aten.special_xlogy aten.rsqrt "
    "aten.sqrt aten.reciprocal aten.sign aten.sgn aten.pow aten.linalg_vector_norm aten.norm aten.atan2 "
    "aten.eq aten.ne aten.gt aten.ge aten.lt aten.le aten.div aten.mul aten.std aten.cosine_similarity "
    "aten.special_entr aten.float_power"
)
MAGNIFYING = tuple(_MAGNIFYING.split())
"""Operators after which a small number counts: it is compared, a root, a logarithm or a divisor."""
_MIXING = (
    "aten.linear aten.matmul aten.mm aten.bmm aten.addmm aten.baddbmm aten.einsum aten.conv1d aten.batch_norm "
    "aten.layer_norm aten.native_layer_norm aten.group_norm aten.softmax aten.scaled_dot_product_attention"
)
MIXING = frozenset(_MIXING.split())
"""Operators that add a small number to others of usual size, where it no longer counts."""
LARGE, TINY = 100.0, 1e-3


def table(program: ExportedProgram) -> dict[Any, Callable[..., Any]]:
    """The translations for ``program``."""
    return {**ALWAYS, **(WHERE_SMALL_COUNTS if _magnifies(program) else {})}


def _magnifies(program: ExportedProgram) -> bool:
    """Whether an operator of ``MAGNIFYING`` takes what comes from one of ``WHERE_SMALL_COUNTS``."""
    after: set[Any] = set()
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in WHERE_SMALL_COUNTS:
            after.add(node)
        elif any(given in after for given in node.all_input_nodes):
            if _magnifying(node, after):
                return True
            if not _mixes(node, after):
                after.add(node)
    return False


def _mixes(node: Any, after: set[Any]) -> bool:
    name = str(node.target).rpartition(".")[0]
    if name in ("aten.add", "aten.sub", "aten.add_", "aten.sub_"):
        return any(
            part not in after if not isinstance(part, float | int) else name == "aten.add" and abs(part) > TINY
            for part in node.args[:2]
        )
    return name in MIXING


def _magnifying(node: Any, after: set[Any]) -> bool:
    name = str(node.target).rpartition(".")[0]
    if name not in MAGNIFYING and not name.startswith(("aten.log", "aten.special_log")):
        return False
    other = node.args[1] if len(node.args) > 1 else None
    if name == "aten.mul":
        return isinstance(other, float | int) and abs(other) > LARGE
    if name == "aten.div":
        return other in after if not isinstance(other, float | int) else 0 < abs(other) < 1 / LARGE
    if name == "aten.pow":
        return not isinstance(other, float | int) or other < 1
    return True
