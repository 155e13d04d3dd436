"""Run a graph on ONNX Runtime's CPU provider, as it is written: no optimization changes what is judged.

Optimizations are off for another reason too: ONNX Runtime has crashed on AutoCast's attention with them on.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

Feeds = dict[str, npt.NDArray[np.generic]]
"""What a graph is fed: by the input's name, [N, …]."""
Answers = npt.NDArray[np.float32]

BLOCK = 512
"""Rows a call: the values between layers are large where tokens are many."""


def count(feeds: Feeds) -> int:
    """N."""
    return len(next(iter(feeds.values())))


def some(feeds: Feeds, rows: npt.NDArray[np.intp] | slice) -> Feeds:
    """The same inputs of some rows."""
    return {name: np.ascontiguousarray(values[rows]) for name, values in feeds.items()}


def answers(model: onnx.ModelProto, feeds: Feeds) -> Answers:
    """The graph's first output, float32 [N, K]."""
    session = _session(model)
    own = _own(model, feeds)
    blocks = (some(own, slice(i, i + BLOCK)) for i in range(0, count(own), BLOCK))
    return np.concatenate([np.asarray(session.run(None, block)[0], np.float32) for block in blocks])


def finite(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    """The rows whose numbers and whose answers are finite: others say nothing of a range."""
    kept = np.isfinite(answers(model, feeds)).all(axis=1)
    for values in feeds.values():
        if values.dtype.kind == "f":
            kept &= np.isfinite(values.astype(np.float64)).reshape(len(values), -1).all(axis=1)
    return some(feeds, np.flatnonzero(kept))


def largest(model: onnx.ModelProto, tensors: Collection[str], feeds: Feeds) -> dict[str, float]:
    """The largest absolute value that each of ``tensors`` takes on the rows; NaN where it takes NaN."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given = {value.name for value in (*model.graph.input, *model.graph.output)}
    inner = [name for name in tensors if name not in given]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = _session(watched)
    own = _own(model, feeds)
    found = {name: float(np.abs(own[name]).max()) for name in tensors if name in own}
    outputs = [value.name for value in watched.graph.output if value.name in set(tensors)]
    peaks = dict.fromkeys(outputs, 0.0)
    for i in range(0, count(own), BLOCK):
        values = session.run(outputs, some(own, slice(i, i + BLOCK))) if outputs else []
        for name, value in zip(outputs, values, strict=True):
            peaks[name] = float(np.maximum(peaks[name], np.abs(value).max(initial=0)))
    return found | peaks


def _own(model: onnx.ModelProto, feeds: Feeds) -> Feeds:
    return {value.name: feeds[value.name] for value in model.graph.input}


def _session(model: onnx.ModelProto) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
