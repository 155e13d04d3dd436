"""A lowering: which layers of a graph are meant for a precision, and how the graph is built with some of them kept."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import onnx

from ...passes.graph.precision import Census, Product, census, misscaled
from ...values import Value

Precision = Literal["fp16", "int8"]
Build = Callable[[Collection[str]], onnx.ModelProto]


@dataclass(frozen=True)
class Lowering:
    """``model``: the fp32 graph, its nodes named. ``layers``: the products that are meant, in the graph's order.
    ``excluded``: those that aren't, by name, with the reason. ``build(kept)``: the typed graph where ``kept`` of the
    layers stay fp32. ``symmetric``: zero points are to be int8's 0."""

    precision: Precision
    model: onnx.ModelProto
    layers: tuple[Product, ...]
    excluded: dict[str, str]
    build: Build
    symmetric: bool = True

    def typed(self, kept: Collection[str]) -> onnx.ModelProto:
        """What ``build`` makes, looked through. Raises :class:`NotLoweredError` where it isn't what was meant."""
        made = self.build(kept)
        problem = faults(self, kept, made)
        if problem:
            raise NotLoweredError(problem)
        return made


class Refused(Value):
    """Why there is no typed graph of this precision."""

    reason: str


class NotLoweredError(Exception):
    """A tool came back with a graph that isn't what was asked of it."""


def faults(lowering: Lowering, kept: Collection[str], typed: onnx.ModelProto) -> str:
    """What is wrong with a typed graph, in words; empty where nothing is.

    Tools have come back with nothing lowered and no error: so what was meant is counted, layer by layer.
    """
    try:
        onnx.checker.check_model(typed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return f"the {lowering.precision} graph isn't valid ONNX: {str(error).splitlines()[0]}"
    if _face(typed) != _face(lowering.model):
        return f"the inputs or outputs of the {lowering.precision} graph have changed: {_face(typed)}"
    found = census(typed)
    return _missed(lowering, kept, found) or _unfit(lowering, found, typed)


def _missed(lowering: Lowering, kept: Collection[str], found: Census) -> str:
    """Layers that should be lowered and aren't, or are and shouldn't be."""
    meant = [layer.name for layer in lowering.layers if layer.name not in kept]
    missing = [name for name in meant if found.products.get(name) != lowering.precision]
    if missing:
        return f"{len(missing)} of {len(meant)} layers didn't become {lowering.precision}: {_few(missing)}"
    left = [name for name in (*kept, *lowering.excluded) if found.products.get(name) != "fp32"]
    return f"{len(left)} layers should have stayed fp32 and didn't: {_few(left)}" if left else ""


def _unfit(lowering: Lowering, found: Census, typed: onnx.ModelProto) -> str:
    weights = [layer for layer in lowering.layers if layer.weighted and found.products[layer.name] != "fp32"]
    if lowering.precision == "fp16":
        return "no constant became float16" if weights and not found.halves else ""
    if weights and not found.quantizers:
        return "the int8 graph has no QuantizeLinear"
    odd = misscaled(typed, symmetric=lowering.symmetric)
    return f"{_few(odd)}: quantized with a zero point or a scale that isn't allowed" if odd else ""


def _face(model: onnx.ModelProto) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """Names, types and fixed sizes of inputs and outputs."""
    values = (*model.graph.input, *model.graph.output)
    return tuple(
        (value.name, value.type.tensor_type.elem_type, tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim))
        for value in values
    )


def _few(names: Collection[str], most: int = 5) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
