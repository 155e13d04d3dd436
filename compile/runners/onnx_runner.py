"""ONNX Runtime on the CPU. Standalone: numpy and onnxruntime only. No parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

# From 1.29 on onnxruntime reports its use to its makers, and keeps a file for that in the temporary folder, unless it
# is told not to before it is imported. What is set already stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        self.version = onnxruntime.__version__

    def predict(self, rows: Any) -> Any:
        """float32 [N, F] -> float32 [N, K]."""
        return self.session.run(["output__0"], {"input__0": np.ascontiguousarray(rows, np.float32)})[0]
