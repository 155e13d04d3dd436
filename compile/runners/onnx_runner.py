"""ONNX Runtime. Standalone: numpy and onnxruntime only.

Parameters: ``providers``, comma-separated, the first the one that is meant (``CUDAExecutionProvider``,
``TensorrtExecutionProvider,CUDAExecutionProvider``); the CPU's without it. ONNX Runtime falls back to the CPU without
an error where a provider can't be had: here that is an error, since its figures would be another's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

# From 1.29 on onnxruntime reports its use to its makers, and keeps a file for that in the temporary folder, unless it
# is told not to before it is imported. What is set already stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

CPU = "CPUExecutionProvider"
_NONE: tuple[Any, Any] = ("", 0)
"""Some category of text, and of integers."""


class ProviderError(RuntimeError):
    """ONNX Runtime doesn't run by the provider that was asked for."""


def require_installed(wanted: list[str]) -> None:
    """ProviderError where this build of ONNX Runtime lacks one of ``wanted``."""
    there = onnxruntime.get_available_providers()
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise ProviderError(
            f"this onnxruntime {onnxruntime.__version__} has no {', '.join(lacking)}; it has {', '.join(there)}"
        )


def require_taken(wanted: list[str], taken: list[str]) -> None:
    """ProviderError unless the session took ``wanted``, in their order; the CPU's may follow, as it always does."""
    if taken[: len(wanted)] != wanted:
        raise ProviderError(f"onnxruntime must run by {', '.join(wanted)}, but it runs by {', '.join(taken)}")


def opened(model: str | bytes, parameters: dict[str, str], threads: int) -> Any:
    """A session of a file or of a model's bytes, by the providers that ``parameters`` name and no others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    wanted = [name for name in parameters.get("providers", CPU).split(",") if name]
    require_installed(wanted)
    session = onnxruntime.InferenceSession(model, options, providers=wanted)
    session.disable_fallback()  # nor later, in the middle of its work
    require_taken(wanted, session.get_providers())
    return session


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.session = opened(str(model_file), parameters, threads)
        self.version = onnxruntime.__version__

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F], and text or int64 [N, C] where the model takes categories -> float32 [N, K]."""
        if len(rows) == 0:  # a Reshape can't tell how no values are to be divided: one row is asked, and none given
            one = (
                None
                if categories is None
                else np.full((1, *categories.shape[1:]), _NONE[categories.dtype.kind in "iu"])
            )
            return self.predict(np.zeros((1, *rows.shape[1:]), np.float32), one)[:0]
        return self.session.run(["output__0"], feeds(self.session, rows, categories))[0]


def feeds(session: Any, rows: Any, categories: Any) -> dict[str, Any]:
    """What the session takes, by name: a graph that uses no number may have lost ``input__0``."""
    given = {"input__0": np.ascontiguousarray(rows, np.float32)}
    if categories is not None:
        given["input__1"] = _categories(categories)
    return {own.name: given[own.name] for own in session.get_inputs()}


def _categories(categories: Any) -> Any:
    """As onnxruntime takes them: int64, or an object array of str. Bytes of a client that aren't UTF-8 are no category
    that any model knows."""
    if categories.dtype.kind in "iu":
        return np.ascontiguousarray(categories, np.int64)
    words = [
        value.decode(errors="replace") if isinstance(value, bytes) else value for value in categories.ravel().tolist()
    ]
    out = np.empty(len(words), object)
    out[:] = words
    return out.reshape(categories.shape)
