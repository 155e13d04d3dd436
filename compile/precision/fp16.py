"""fp16: ModelOpt's AutoCast rewrites the graph; which nodes it may touch is decided here.

AutoCast inserts casts and converts constants; the plain passes of other packages overflow on what it is told to leave
alone (BatchNorm's variances above 65504, a feature x1000). Layers whose values come near float16's range on the user's
rows stay fp32 too.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from ...passes.graph import precision
from .lowering import Lowering, Refused
from .run_graph import Feeds, largest

HALF_MAX = 65504.0
"""The largest float16."""
LARGEST = HALF_MAX / 128
"""Of a value between layers on the rows that are given: ModelOpt's own 512. Rows that nobody has seen may be larger."""


def prepare(model: onnx.ModelProto, rows: Feeds, folder: Path) -> Lowering | Refused:
    """``rows``: what the range of every value is taken from. ``folder``: where AutoCast reads the graph from."""
    model = precision.named(model)
    known = precision.constants(model)
    lowerable = precision.lowered(model, ())
    nodes = [node for node in model.graph.node if node.name in lowerable]
    peaks = largest(model, _watched(nodes, set(known), model), rows)
    large = {node.name: reason for node in nodes if (reason := _too_large(node, known, peaks))}
    layers = tuple(layer for layer in precision.products(model) if layer.name not in large)
    if not layers:
        why = next(iter(large.values()), "it has no Gemm or MatMul")
        return Refused(reason=f"fp16: no layer of the net can be lowered: {why}")
    names = {layer.name for layer in precision.products(model)}
    path = folder / "fp32.onnx"
    onnx.save_model(model, path)
    return Lowering(
        "fp16",
        model,
        layers,
        {name: reason for name, reason in large.items() if name in names},
        lambda kept: autocast(model, path, precision.lowered(model, {*kept, *large})),
    )


def autocast(model: onnx.ModelProto, path: Path, low: Collection[str]) -> onnx.ModelProto:
    """The graph in ``path``, which is ``model``, with the nodes of ``low`` in float16; inputs and outputs as they were.
    Whatever AutoCast raises goes through."""
    others = [f"{re.escape(node.name)}$" for node in model.graph.node if node.name not in low]
    if not low:
        return model
    with _quiet():
        from modelopt.onnx.autocast import convert_to_mixed_precision

        typed: onnx.ModelProto = convert_to_mixed_precision(
            str(path),
            low_precision_type="fp16",
            keep_io_types=True,
            nodes_to_exclude=others,
            data_max=float("inf"),
            init_max=float("inf"),
        )
    return typed


def _watched(nodes: list[onnx.NodeProto], known: set[str], model: onnx.ModelProto) -> set[str]:
    """The floating-point values that the nodes take and give."""
    types = precision.element_types(model)
    names = {name for node in nodes for name in (*node.input, *node.output) if name and name not in known}
    return {name for name in names if types.get(name) == onnx.TensorProto.FLOAT}


def _too_large(node: onnx.NodeProto, known: dict[str, onnx.TensorProto], peaks: dict[str, float]) -> str:
    """Why float16 can't hold what the node works on; empty where it can."""
    constant = precision.large_constants(node, known)
    if not constant <= HALF_MAX:
        return f"{node.name} has a constant of {constant:.3g}, larger than float16 holds"
    peak = max((peaks[name] for name in (*node.input, *node.output) if name in peaks), default=0.0)
    return "" if peak <= LARGEST else f"{node.name} works on values up to {peak:.3g} (kept in fp32 above {LARGEST:.0f})"


@contextmanager
def _quiet() -> Iterator[None]:
    """ModelOpt logs a line for every node."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
