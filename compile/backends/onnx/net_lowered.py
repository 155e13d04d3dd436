"""A net's graph in a lower precision: rows for the passes of compile/precision, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ....passes.net import CODES, NUMBERS, Net, unknown_codes
from ....values import LayerCost, PassNote
from ...precision import gap, precision_steps, rows
from ...precision.lowering import Precision
from ...precision.run_graph import Feeds

GRAPH_FILE, CALIBRATION_FILE, JUDGING_FILE = "fp32.onnx", "calibration.npz", "judging.npz"


@dataclass(frozen=True)
class Lowered:
    net: Net
    note: PassNote
    layers: tuple[LayerCost, ...]


def lowered(net: Net, precision: Precision, given: Path, folder: Path, *, symmetric: bool) -> Lowered | str:
    """``net`` in ``precision``, with the fewest layers kept in fp32 that the passes' limit takes; or why there is none.
    ``given``: a folder of rows that no verdict is based on, as validators/rows/given.py writes them: half calibrate,
    half say what each layer costs. ``folder``: where the passes work; it is left as it was found."""
    feeds = _feeds(given, net)
    count = len(next(iter(feeds.values())))
    if count < rows.FEWEST:
        return f"{precision}: only {count} rows can be used for calibration (rows whose codes the net knows)"
    calibrating, judging = rows.apart(count)
    onnx.save_model(net.graph, folder / GRAPH_FILE)
    for file, which in ((CALIBRATION_FILE, calibrating), (JUDGING_FILE, judging)):
        np.savez(folder / file, **{name: values[which] for name, values in feeds.items()})  # type: ignore[arg-type]
    request = precision_steps.PrecisionRequest(
        graph=str(folder / GRAPH_FILE),
        precision=precision,
        calibration=str(folder / CALIBRATION_FILE),
        judging=str(folder / JUDGING_FILE),
        limit=gap.USUAL[precision],
        answer=net.interface.answer,
        symmetric=symmetric,
    )
    before = {path.name for path in folder.iterdir()} - {GRAPH_FILE, CALIBRATION_FILE, JUDGING_FILE}
    reply = precision_steps.lower(request)
    made = None if reply.refused or reply.note is None else onnx.load_model(folder / precision_steps.TYPED_FILE)
    for path in folder.iterdir():
        if path.is_file() and path.name not in before and not path.name.endswith(".log"):
            path.unlink()
    if made is None or reply.note is None:
        return reply.refused
    return Lowered(Net(made, net.interface, net.guard), reply.note, reply.layers)


def _feeds(given: Path, net: Net) -> Feeds:
    """The rows by the graph's inputs; without those that hold a code that the net doesn't know."""
    face = net.interface
    numbers = np.load(given / "rows.npy")
    feeds: Feeds = {NUMBERS: numbers} if face.features else {}
    if not face.codes:
        return feeds
    codes = np.load(given / "categories.npy")
    feeds = {**feeds, CODES: codes}
    if net.guard is not None:
        asked = {own.name: feeds[own.name] for own in net.guard.graph.input}
        known = np.asarray(next(iter(ReferenceEvaluator(net.guard).run(None, asked))))[:, 0]
    else:
        known = np.asarray(~unknown_codes(codes, face.code_counts, face.code_lows).any(axis=1))
    return {name: values[known] for name, values in feeds.items()}
