"""``onnx`` of a net: its graph, in a precision, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

from ...passes.graph.operators import foreign
from .base import Built, NetBackend, NetOrder, Unsupported
from .net_graph import finished

MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class NetOnnx:
    precision: str = "fp32"
    name: str = "onnx"
    rank: int = 0
    extra: str = "cpu"
    module: str = "onnxruntime"

    def build(self, order: NetOrder) -> Built | Unsupported:
        model = finished(order.net, order.release)
        (order.folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return Built(
            backend=self.name, precision=self.precision, model_file=MODEL_FILE, runner="onnx_runner",
            triton_backend="onnxruntime", parameters={}, requirements=("onnxruntime",), foreign=foreign(model),
        )  # fmt: skip


def backend(precision: str) -> NetBackend:
    return NetOnnx(precision)
