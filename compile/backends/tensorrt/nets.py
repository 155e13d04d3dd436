"""Nets on a GPU: ``onnx-cuda`` and ``onnx-tensorrt``, ONNX Runtime's providers of those names, and ``tensorrt``, an
engine of this machine's TensorRT.

All need the GPU that they are for. Elsewhere they say so, and :mod:`millwork.pipeline.absent_target` says whether the
graph builds.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from .... import gpus
from ....values.contracts import MAX_BATCH
from ..base import Artifact, NetBackend, NetOrder, Unsupported
from ..onnx.net_graph import finished
from ..onnx.nets import MODEL_FILE, NetOnnx, typed
from . import candidate, profiles

CUDA = "CUDAExecutionProvider"
TENSORRT_AND_CUDA = f"TensorrtExecutionProvider,{CUDA}"
"""What TensorRT doesn't take, the CUDA provider runs."""


@dataclass(frozen=True)
class TensorRt:
    precision: str = "fp32"
    name: str = "tensorrt"
    rank: int = 10

    def build(self, order: NetOrder) -> Artifact | Unsupported:
        if not gpus.visible():
            return candidate.no_gpu()
        found = typed(order, self.precision)
        if isinstance(found, str):
            return Unsupported(reason=f"tensorrt: {found}")
        graph = order.folder / MODEL_FILE
        graph.write_bytes(finished(found.net, order.release).SerializeToString())
        ranges = profiles.of(order.batches, largest=max(MAX_BATCH, *order.batches))
        built = candidate.build(graph, self.precision, ranges, order.folder)
        graph.unlink()
        if isinstance(built, Unsupported):
            return built
        return msgspec.structs.replace(built, passes=found.notes, layers=found.layers)


def onnx_cuda(precision: str) -> NetBackend:
    return NetOnnx(precision, "onnx-cuda", rank=8, requirement="onnxruntime-gpu", provider=CUDA)


def onnx_tensorrt(precision: str) -> NetBackend:
    return NetOnnx(precision, "onnx-tensorrt", rank=9, requirement="onnxruntime-gpu", provider=TENSORRT_AND_CUDA)


def tensorrt(precision: str) -> NetBackend:
    return TensorRt(precision)
