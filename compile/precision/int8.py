"""int8: Q/DQ around the weighted products, by ONNX Runtime's quantizer.

Symmetric, with biases in fp32, is what TensorRT takes. ONNX Runtime's CPU kernels for int8 are those of unsigned
activations with int32 biases (elsewhere it computes in fp32 between Q and DQ): for a CPU those are written.

Weights are quantized a channel (output) at a time, activations a tensor at a time. An activation's scale covers a share
of the values on the calibration rows: all of them, or all but the few largest, which a skewed feature makes so large
that the rest would share a handful of steps. Each share is tried for each activation, with nothing else quantized, and
the one with the smallest mean error on those rows wins. What sums and what normalizes stays fp32. Calibration looks at
the fp32 graph alone: so one calibration serves every choice of layers, and a layer is kept by taking its Q/DQ out
again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from ...passes.graph import precision
from ...passes.graph.precision import NARROW, Product
from .gap import mean_error
from .lowering import Lowering, Refused
from .run_graph import BLOCK, Feeds, answers, count, some

MATRIX = 2
ALL = 100.0
SHARES = (ALL, 99.99, 99.9)
"""Percent of an activation's values that its scale covers; beyond it they are clipped."""


def prepare(model: onnx.ModelProto, calibration: Feeds, folder: Path, *, symmetric: bool = True) -> Lowering | Refused:
    """``calibration``: rows whose largest values become the scales. ``folder``: where the quantizer writes.
    ``symmetric``: for TensorRT; else for a CPU."""
    model = precision.named(model)
    dims = {name: len(constant.dims) for name, constant in precision.constants(model).items()}
    found = precision.products(model)
    excluded = {layer.name: reason for layer in found if (reason := _unmeant(layer, dims))}
    layers = tuple(layer for layer in found if layer.name not in excluded)
    if not layers:
        why = next(iter(excluded.values()), "it has no Gemm or MatMul")
        return Refused(reason=f"int8: no layer of the net can be lowered: {why}")
    names = [layer.name for layer in layers]
    path = folder / "fp32.onnx"
    onnx.save_model(model, path)
    own = {value.name: calibration[value.name] for value in model.graph.input}
    tried = [quantize(path, names, own, share, symmetric=symmetric) for share in SHARES]
    whole = best(model, names, tried, own)
    return Lowering("int8", model, layers, excluded, lambda kept: restored(whole, model, kept), symmetric)


def quantize(
    path: Path, names: Collection[str], calibration: Feeds, share: float, *, symmetric: bool = True
) -> onnx.ModelProto:
    """The graph in ``path`` with Q/DQ on the inputs of the nodes in ``names`` alone. ``share``: percent of an
    activation's values that its scale covers. Writes beside ``path``."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    made = path.with_name("int8.onnx")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a pre-processing that the graph has been through
    try:
        quantize_static(
            path,
            made,
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(precision.PRODUCTS),
            nodes_to_quantize=list(names),
            calibrate_method=CalibrationMethod.MinMax if share == ALL else CalibrationMethod.Percentile,
            extra_options={
                "CalibPercentile": share,
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not symmetric,  # TensorRT takes no int32
                "QDQDisableWeightAdjustForInt32Bias": True,  # so that graphs of other shares have the same weights
                "OpTypesToExcludeOutputQuantization": list(precision.PRODUCTS),
                "QDQKeepRemovableActivations": True,  # a Relu is no clip when the zero point is 0
            },
        )
    finally:
        logging.disable(before)
    # The quantizer gives what it quantized to all who take it, residual additions and gates too.
    model = onnx.load_model(path)
    return restored(onnx.load_model(made), model, {node.name for node in model.graph.node} - set(names))


def best(
    model: onnx.ModelProto, names: Collection[str], tried: Sequence[onnx.ModelProto], calibration: Feeds
) -> onnx.ModelProto:
    """One graph of those in ``tried``, which differ in scales alone: each activation's from the graph where the layers
    that take it, each alone in int8, are nearest to fp32."""
    reference = answers(model, calibration)
    parts = _activation_parts(tried[0], names)
    errors = {own[0]: np.zeros(len(tried)) for own in parts.values()}
    for name, own in parts.items():
        others = [other for other in names if other != name]
        errors[own[0]] += [mean_error(reference, answers(restored(made, model, others), calibration)) for made in tried]
    winners = {part: int(errors[own[0]].argmin()) for own in parts.values() for part in own}
    chosen = onnx.ModelProto()
    chosen.CopyFrom(tried[0])
    values = [{constant.name: constant for constant in made.graph.initializer} for made in tried]
    for constant in chosen.graph.initializer:
        if constant.name in winners:
            constant.CopyFrom(values[winners[constant.name]][constant.name])
    return chosen


def _activation_parts(quantized: onnx.ModelProto, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The constants that hang on the scale of each layer's activation, by the layer's name: the scale itself first, its
    zero point, and a bias in int32 with its own scale. None for a layer that the quantizer left alone."""
    makers = {name: node for node in quantized.graph.node for name in node.output}
    found = {}
    for node in quantized.graph.node:
        if node.name in names:
            activation, *biases = (makers.get(name) for name in (node.input[0], *node.input[2:]))
            if activation is not None and activation.op_type == "DequantizeLinear":
                bias = [name for maker in biases if maker is not None for name in maker.input]
                found[node.name] = (*activation.input[1:], *bias)
    return found


def restored(quantized: onnx.ModelProto, model: onnx.ModelProto, kept: Collection[str]) -> onnx.ModelProto:
    """``quantized`` with the nodes of ``kept`` as ``model`` has them; what only they used is gone."""
    typed = onnx.ModelProto()
    typed.CopyFrom(quantized)
    original = {node.name: node for node in model.graph.node}
    constants = {constant.name: constant for constant in model.graph.initializer}
    there = {constant.name for constant in typed.graph.initializer}
    for node in typed.graph.node:
        if node.name in kept:
            node.CopyFrom(original[node.name])
            back = [name for name in node.input if name in constants and name not in there]
            typed.graph.initializer.extend(constants[name] for name in back)
            there.update(back)
    # An int32 bias is made float under the name that it had.
    nodes = [node for node in typed.graph.node if not there.intersection(node.output)]
    left = precision.without_dead(nodes, [value.name for value in typed.graph.output])
    used = {name for node in left for name in node.input}
    values = [constant for constant in typed.graph.initializer if constant.name in used]
    del typed.graph.node[:], typed.graph.initializer[:], typed.graph.value_info[:]
    typed.graph.node.extend(left)
    typed.graph.initializer.extend(values)
    return typed


def _unmeant(layer: Product, dims: dict[str, int]) -> str:
    """Why int8 isn't for a product; empty where it is."""
    if not layer.weighted:
        return f"{layer.name} multiplies two activations"
    if dims[layer.weight] != MATRIX:
        return f"{layer.name} multiplies a stack of matrices, and int8 has scales for the channels of one matrix only"
    if layer.narrow:
        return f"{layer.name} is {layer.k} x {layer.n}, and below {NARROW} int8 gains nothing"
    return ""


class _Reader:
    """The calibration rows, in blocks of one size (its histograms take no other), as the quantizer asks for them."""

    def __init__(self, feeds: Feeds) -> None:
        size = count(feeds) // -(-count(feeds) // BLOCK)
        starts = range(0, count(feeds) - size + 1, size)
        self._blocks: Iterator[Feeds] = iter([some(feeds, slice(i, i + size)) for i in starts])

    def get_next(self) -> Feeds | None:
        return next(self._blocks, None)
