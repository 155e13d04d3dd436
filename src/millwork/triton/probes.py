"""A small model for each Triton backend: whether a server loads it is the only way to learn whether it has the backend.

Each is a good one where it can be, so that a server that has the backend is never made not ready by being asked. Of
``fil`` and ``tensorrt`` there is none that every release and GPU takes: such a server refuses the model for what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np

from ..compile.backends.native import cpu_file
from ..compile.kernel import TRITON_BACKEND
from ..passes.forest import Forest
from ..passes.program import Program
from ..storage import scratch
from ..storage.opening import read_limited

Probe = tuple[Callable[[str], str], Mapping[str, bytes]]
"""A model as the load API takes it: its configuration under a name, in JSON, and its files."""

MODEL_PY = b"""
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""
IDENTITY = (
    b'\x08\x07:W\n\x1b\n\x07nothing\x12\x06either"\x08Identity\x12\x01gZ\x1a\n\x07nothing\x12\x0f\n\r\x08\x01\x12\t\n'
    b"\x03\x12\x01n\n\x02\x08\x01b\x19\n\x06either\x12\x0f\n\r\x08\x01\x12\t\n\x03\x12\x01n\n\x02\x08\x01B\x04\n\x00"
    b"\x10\r"
)
"""An ONNX model of IR 7 and opset 13: ``either`` [n, 1] is ``nothing`` [n, 1]."""


def probe(backend: str) -> Probe:
    """The model that names ``backend``."""
    if backend == TRITON_BACKEND:
        return _config(backend, "input__0", "output__0"), {"file:1/forest.packed": _one_leaf()}
    files = {"file:1/model.onnx": IDENTITY} if backend == "onnxruntime" else {"file:1/model.py": MODEL_PY}
    return _config(backend, "nothing", "either"), files


def _config(backend: str, given: str, answered: str) -> Callable[[str], str]:
    tensor = {"data_type": "TYPE_FP32", "dims": [1]}
    said = {
        "backend": backend,
        "max_batch_size": 8,
        "input": [{"name": given, **tensor}],
        "output": [{"name": answered, **tensor}],
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
    }
    return lambda name: json.dumps({"name": name, **said})


def _one_leaf() -> bytes:
    """A packed forest of one tree that is one leaf."""
    none = np.full(1, -1, np.int32)
    forest = Forest(
        tree_start=np.array([0, 1], np.int32),
        feature=none,
        threshold=np.zeros(1, np.float32),
        left=none,
        right=none,
        default_left=np.zeros(1, np.bool_),
        leaf_value=np.zeros((1, 1), np.float32),
        leaf_number=np.zeros(1, np.int32),
        tree_output=np.zeros(1, np.int32),
        base_scores=np.zeros(1, np.float32),
        n_features=1,
        comparison="<",
    )
    with scratch.folder("probe") as folder:
        path = folder / "forest.packed"
        cpu_file.write(Program(forest, "identity", np.zeros(1, np.int32), 1), path)
        return read_limited(path)
