"""The requests that are sent: tensors out of the rows to ask, for gRPC and for perf_analyzer.

A rows file is an ``.npz`` whose arrays are named as the model's inputs: ``input__0`` float32 [N, F], and where the
model takes categories ``input__1`` [N, C], int64 or text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ...storage import opening, texts
from ...validators.rows.given import Given

Tensors = Mapping[str, npt.NDArray[Any]]

VARIANTS = 32
"""Different requests of each batch size, so that one row's path isn't all that the branch predictor ever sees."""
MOST_VALUES = 1 << 22
"""Values of all requests of one size together, at most: large batches have fewer forms."""


def read(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a rows file."""
    with opening.opened(path) as file, np.load(file, allow_pickle=False) as arrays:
        return {name: texts.unpacked(arrays[name]) for name in arrays.files}


def save(path: Path, given: Given) -> None:
    """A rows file of ``given``. A model that takes no numbers has no ``input__0``."""
    held: dict[str, npt.NDArray[Any]] = {}
    if given.numbers.shape[1]:
        held["input__0"] = np.asarray(given.numbers, np.float32)
    if given.categories is not None:
        held["input__1"] = texts.packed(np.asarray(given.categories))
    np.savez(path, **held)  # type: ignore[arg-type]


def as_called(tensors: Tensors) -> list[npt.NDArray[Any]]:
    """The arguments of a runner's ``predict``: numbers first, though they be none."""
    rows = len(next(iter(tensors.values())))
    numbers = tensors.get("input__0", np.zeros((rows, 0), np.float32))
    return [numbers, tensors["input__1"]] if "input__1" in tensors else [numbers]


def slices(tensors: Tensors, batch: int) -> list[dict[str, npt.NDArray[Any]]]:
    """Up to ``VARIANTS`` batches of ``batch`` rows, the rows repeated where they are too few."""
    rows = len(next(iter(tensors.values())))
    width = sum(int(np.prod(array.shape[1:])) for array in tensors.values())
    count = max(1, min(VARIANTS, MOST_VALUES // max(batch * width, 1)))
    picked = [np.arange(i * batch, (i + 1) * batch) % rows for i in range(count)]
    return [{name: np.ascontiguousarray(array[at]) for name, array in tensors.items()} for at in picked]


def requests(model: str, tensors: Tensors, batch: int) -> list[bytes]:
    """Whole gRPC requests, serialized beforehand: the time it takes is no part of what is measured."""
    return [_message(model, one) for one in slices(tensors, batch)]


def perf_analyzer_json(tensors: Tensors, batch: int) -> bytes:
    """What ``perf_analyzer --input-data`` reads. It makes a batch of ``batch`` of these, so each has one row."""
    rows = len(next(iter(tensors.values())))
    entries = [
        {name: {"content": _content(array[i]), "shape": list(array.shape[1:])} for name, array in tensors.items()}
        for i in range(min(rows, max(VARIANTS, batch)))
    ]
    return msgspec.json.encode({"data": entries})


def _message(model: str, tensors: Tensors) -> bytes:
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    for name, array in tensors.items():
        kind, raw = _raw(array)
        request.inputs.append(
            service_pb2.ModelInferRequest.InferInputTensor(name=name, datatype=kind, shape=list(array.shape))
        )
        request.raw_input_contents.append(raw)
    return bytes(request.SerializeToString())


def _raw(array: npt.NDArray[Any]) -> tuple[str, bytes]:
    """Triton's type, and the tensor's bytes as it takes them."""
    if array.dtype.kind == "f":
        return "FP32", array.astype("<f4", copy=False).tobytes()
    if array.dtype.kind in "iu":
        return "INT64", array.astype("<i8", copy=False).tobytes()
    encoded = [str(value).encode() for value in array.ravel().tolist()]
    return "BYTES", b"".join(len(value).to_bytes(4, "little") + value for value in encoded)


def _content(row: npt.NDArray[Any]) -> list[Any]:
    """A row's values; perf_analyzer's JSON has no NaN, and takes 0 for one."""
    if row.dtype.kind == "f":
        return [float(value) for value in np.nan_to_num(row.astype(np.float64), nan=0.0, posinf=3e38, neginf=-3e38)]
    return [value if isinstance(value, int) else str(value) for value in row.ravel().tolist()]
