"""The step of precision that runs in a worker: an fp32 graph and rows -> a typed graph, and what it costs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx

from ...passes.program import Postprocess
from ...values import LayerCost, PassNote, Value
from ...values.base import FilePath
from . import fp16, gap, int8, layers, mixed
from .gap import Gap, Limit
from .lowering import Lowering, NotLoweredError, Precision, Refused
from .mixed import Mixture
from .run_graph import Feeds, count, finite

TYPED_FILE = "typed.onnx"


class PrecisionRequest(Value):
    """``graph``: an ONNX file, fp32, one output. ``calibration`` and ``judging``: .npz files with the graph's inputs by
    name, [N, …], of different rows (:func:`.rows.apart`). ``limit``: how far the typed graph may be from fp32 on the
    judging rows, where ``answer`` is what is made of its output. ``symmetric``: int8 as TensorRT takes it; else as ONNX
    Runtime's CPU kernels are fast."""

    graph: FilePath
    precision: Precision
    calibration: FilePath
    judging: FilePath
    limit: Limit
    answer: Postprocess = "identity"
    symmetric: bool = True
    most_tries: int = mixed.MOST_TRIES


class PrecisionReply(Value):
    """``refused``: why there is no typed graph; else it is ``typed.onnx`` in the working folder, ``gap`` is how far it
    is from fp32, ``unmixed`` how far it would be with every layer low, and ``note`` the same in words.

    ``layers``: what each costs, dearest first, and which were kept. ``excluded``: products that the precision isn't
    meant for, by name, with the reason.
    """

    refused: str = ""
    gap: Gap | None = None
    unmixed: Gap | None = None
    layers: tuple[LayerCost, ...] = ()
    excluded: dict[str, str] = msgspec.field(default_factory=dict)
    note: PassNote | None = None


def lower(request: PrecisionRequest) -> PrecisionReply:
    """A graph -> the same in fp16 or int8, with the fewest layers in fp32 that keep it within the limit.

    It may read the three files and writes to the working folder alone. A crash of a tool is the worker's failure.
    """
    folder = Path.cwd()
    model = onnx.load_model(request.graph)
    calibration, judging = finite(model, _read(request.calibration)), _read(request.judging)
    if not count(calibration):
        return PrecisionReply(
            refused=f"{request.precision}: no row can be used for calibration: "
            "all have values or answers that aren't finite"
        )
    made = (
        fp16.prepare(model, calibration, folder)
        if request.precision == "fp16"
        else int8.prepare(model, calibration, folder, symmetric=request.symmetric)
    )
    if isinstance(made, Refused):
        return PrecisionReply(refused=made.reason)
    try:
        return _lowered(made, judging, request, folder)
    except NotLoweredError as fault:
        return PrecisionReply(refused=f"{request.precision}: {fault}", excluded=made.excluded)


def _lowered(lowering: Lowering, judging: Feeds, request: PrecisionRequest, folder: Path) -> PrecisionReply:
    judge = gap.judge(lowering.model, judging, request.limit, request.answer)
    costs = layers.sensitivity(lowering, judge)
    mixture = mixed.search(
        lambda: costs, lambda kept: layers.measured(lowering, kept, judge), request.limit.holds, request.most_tries
    )
    if mixture is None:
        return PrecisionReply(
            refused=_hopeless(lowering, costs, request.limit), layers=costs, excluded=lowering.excluded
        )
    onnx.save_model(lowering.typed(mixture.kept), folder / TYPED_FILE)
    return PrecisionReply(
        gap=mixture.gap,
        unmixed=mixture.unmixed,
        layers=layers.marked(costs, mixture.kept),
        excluded=lowering.excluded,
        note=PassNote(name=lowering.precision, modified=True, summary=_words(lowering, mixture)),
    )


def _words(lowering: Lowering, mixture: Mixture) -> str:
    """What was lowered, what was kept and what that cost, in a sentence."""
    low = len(lowering.layers) - len(mixture.kept)
    whole = f"{low} of {len(lowering.layers) + len(lowering.excluded)} products in {lowering.precision}"
    if not mixture.kept:
        return f"{whole}; error {mixture.gap.error:.1e} of a standard deviation, {mixture.gap.worst:.1e} at worst"
    kept = ", ".join(sorted(mixture.kept))
    return (
        f"{whole}; kept fp32: {kept}, which brings the worst error from {mixture.unmixed.worst:.1e} to "
        f"{mixture.gap.worst:.1e} of a standard deviation"
    )


def _hopeless(lowering: Lowering, costs: tuple[LayerCost, ...], limit: Limit) -> str:
    dearest = ", ".join(f"{cost.name} ({cost.error:.1e})" for cost in costs[:3])
    return (
        f"{lowering.precision}: no choice of layers keeps {limit.words}; the layers that cost most are {dearest} "
        "(error over standard deviation)"
    )


def _read(path: str) -> Feeds:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
