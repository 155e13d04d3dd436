"""What each node of a typed graph is to a precision: a product that may be lowered, what follows one, what stays fp32.

Products (Gemm, MatMul) are where time and weights are, and what a lower precision is meant for. Three kinds of node
stay fp32 whatever is asked: what sums (reductions, residual additions), what normalizes (BatchNorm, LayerNorm, softmax)
and whatever comes before the first product, which scales inputs of any size. Activations, biases and data movement
between products follow them, so that nothing is cast back and forth. Sums and norms: as torch.autocast has them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

NARROW = 16
"""A product with a K or N below this gains nothing from int8: tensor cores work on tiles of 16."""

_FLOATS: dict[int, str] = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.DOUBLE: "fp64"}


_BYTES = (TensorProto.INT8, TensorProto.UINT8)


class LayerKind(Enum):
    """What a node is to a precision. PRODUCT: lowered by name. FOLLOWER: as its inputs are. KEPT: fp32. OTHER: without
    floating-point answers (shapes, codes, conditions)."""

    PRODUCT = "product"
    FOLLOWER = "follower"
    KEPT = "kept"
    OTHER = "other"


PRODUCTS = ("Gemm", "MatMul")
FOLLOWERS = frozenset((
    # activations, between products
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh",
    "Erf", "Clip", "Neg", "Abs", "Max", "Min",
    # gates and biases; a sum of two activations is none (see _is_sum)
    "Add", "Sub", "Mul",
    # data that only moves
    "Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Gather",
    "Expand", "Tile", "Where",
))  # fmt: skip
"""Safe in float16 between products: they make nothing much larger than what they are given."""


@dataclass(frozen=True)
class Product:
    """A Gemm or MatMul. ``k``, ``n``: of a constant right operand [… K, N]; None where both operands are activations
    (attention). ``weight``: that constant's name."""

    name: str
    operator: str
    weight: str = ""
    k: int | None = None
    n: int | None = None

    @property
    def weighted(self) -> bool:
        return bool(self.weight)

    @property
    def narrow(self) -> bool:
        """Whether int8 isn't meant for it, by its size."""
        return self.k is not None and self.n is not None and min(self.k, self.n) < NARROW


@dataclass(frozen=True)
class Census:
    """Precisions as the typed graph has them: ``products`` by name (fp32, fp16, int8, or other), ``quantizers``: how
    many QuantizeLinear there are, ``halves``: how many constants are float16."""

    products: dict[str, str]
    quantizers: int
    halves: int


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes all have names of their own: tools are told of nodes by name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    times = Counter(node.name for node in copy.graph.node)
    taken = set(times)
    for number, node in enumerate(copy.graph.node):
        if not node.name or times[node.name] > 1:
            stem = f"{node.name or node.op_type}_{number}"
            while stem in taken:
                stem += "_"
            taken.add(stem)
            node.name = stem
    return copy


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers and what Constant nodes hold, by name."""
    found = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = next((a.t for a in node.attribute if a.name == "value"), onnx.TensorProto())
    return found


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The TensorProto type of every tensor that shape inference knows."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    found = {constant.name: constant.data_type for constant in constants(model).values()}
    found |= {name: constant.data_type for name, constant in constants(model).items()}
    for value in (*graph.input, *graph.value_info, *graph.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


def products(model: onnx.ModelProto) -> tuple[Product, ...]:
    """Every product of the graph, in its order."""
    known = constants(model)
    return tuple(_product(node, known) for node in model.graph.node if node.op_type in PRODUCTS)


def kinds(model: onnx.ModelProto) -> dict[str, LayerKind]:
    """What each node is, by its name. Names are unique (:func:`named`)."""
    types, known = element_types(model), set(constants(model))
    return {node.name: _kind(node, types, known) for node in model.graph.node}


def lowered(model: onnx.ModelProto, kept: Collection[str]) -> frozenset[str]:
    """The nodes that are float16 when those in ``kept`` are not: the other products, and what follows them.

    A follower does where all its floating-point inputs do that aren't constants; so nothing before the first product
    does.
    """
    types, known, kind = element_types(model), set(constants(model)), kinds(model)
    low_values: set[str] = set()
    low: set[str] = set()
    for node in model.graph.node:
        moving = [name for name in node.input if name and name not in known and types.get(name) in _FLOATS]
        follows = kind[node.name] is LayerKind.FOLLOWER and bool(moving) and low_values.issuperset(moving)
        if node.name not in kept and (follows or kind[node.name] is LayerKind.PRODUCT):
            low.add(node.name)
            low_values.update(node.output)
    return frozenset(low)


def census(model: onnx.ModelProto) -> Census:
    """The precisions that a typed graph has."""
    types = element_types(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            quantized = all(_dequantized(name, makers, types) for name in node.input[:2])
            kind = {_FLOATS.get(types.get(name, 0), "other") for name in (*node.input[:2], node.output[0])}
            found[node.name] = "int8" if quantized else (kind.pop() if len(kind) == 1 else "other")
    return Census(
        products=found,
        quantizers=sum(node.op_type == "QuantizeLinear" for node in model.graph.node),
        halves=sum(constant.data_type == TensorProto.FLOAT16 for constant in constants(model).values()),
    )


def misscaled(model: onnx.ModelProto, *, symmetric: bool) -> tuple[str, ...]:
    """Q and DQ nodes whose scale isn't a constant, finite and above 0; ``symmetric``: and those whose zero point isn't
    int8's 0, which TensorRT refuses."""
    known = constants(model)
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not _scaled(node, known, symmetric=symmetric)
    )


def large_constants(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> float:
    """The largest absolute value among the node's floating-point constants; 0 where it has none."""
    own = (numpy_helper.to_array(known[name]) for name in node.input if name in known)
    return max((float(np.abs(array).max(initial=0)) for array in own if array.dtype.kind == "f"), default=0.0)


def without_dead(nodes: Iterable[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes, in their order, on which ``outputs`` depend."""
    wanted, left = set(outputs), []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            left.append(node)
    return left[::-1]


def _kind(node: onnx.NodeProto, types: dict[str, int], known: set[str]) -> LayerKind:
    if not any(types.get(name) in _FLOATS for name in node.output) or node.op_type == "Constant":
        return LayerKind.OTHER
    if node.op_type in PRODUCTS:
        return LayerKind.PRODUCT
    return LayerKind.FOLLOWER if node.op_type in FOLLOWERS and not _is_sum(node, known) else LayerKind.KEPT


def _is_sum(node: onnx.NodeProto, known: set[str]) -> bool:
    """A residual addition: of two activations. With a constant it is a bias."""
    return node.op_type in ("Add", "Sub") and not known.intersection(node.input)


def _product(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> Product:
    weight = node.input[1]
    if weight not in known:
        return Product(node.name, node.op_type)
    k, n = list(known[weight].dims)[-2:] if len(known[weight].dims) > 1 else (known[weight].dims[0], 1)
    if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
        k, n = n, k
    return Product(node.name, node.op_type, weight, int(k), int(n))


def _dequantized(name: str, makers: dict[str, onnx.NodeProto], types: dict[str, int]) -> bool:
    """Whether a value is 8 bits made float: DequantizeLinear of a QuantizeLinear's answer, or of a constant."""
    maker = makers.get(name)
    return maker is not None and maker.op_type == "DequantizeLinear" and types.get(maker.input[0]) in _BYTES


def _scaled(node: onnx.NodeProto, known: dict[str, onnx.TensorProto], *, symmetric: bool) -> bool:
    if len(node.input) < 3 or node.input[1] not in known or node.input[2] not in known:
        return False
    scale, zero = numpy_helper.to_array(known[node.input[1]]), numpy_helper.to_array(known[node.input[2]])
    usable = bool(np.isfinite(scale).all() and (scale > 0).all())
    return usable and not (symmetric and (zero.dtype != np.int8 or zero.any()))
