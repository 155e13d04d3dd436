"""``onnx`` of a net: its graph, in a precision, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import TargetError
from ...passes.graph.operators import foreign
from ...values import LayerCost, PassNote
from .base import Built, NetBackend, NetOrder, Unsupported
from .net_graph import finished

if TYPE_CHECKING:
    from ..precision.lowering import Precision
    from .net_lowered import Lowered

MODEL_FILE = "model.onnx"
FEWEST = 40
"""Of the user's rows: of fewer none are held apart."""


@dataclass(frozen=True)
class NetOnnx:
    precision: str = "fp32"
    name: str = "onnx"
    rank: int = 0
    extra: str = "cpu"
    module: str = "onnxruntime"

    def build(self, order: NetOrder) -> Built | Unsupported:
        net = order.net
        notes: tuple[PassNote, ...] = ()
        layers: tuple[LayerCost, ...] = ()
        if self.precision != "fp32":
            found = self._lowered(order)
            if isinstance(found, str):
                return Unsupported(reason=f"onnx: {found}")
            net, notes, layers = found.net, (found.note,), found.layers
        model = finished(net, order.release)
        (order.folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return Built(
            backend=self.name, precision=self.precision, model_file=MODEL_FILE, runner="onnx_runner",
            triton_backend="onnxruntime", parameters={}, requirements=("onnxruntime",), foreign=foreign(model),
            passes=notes, layers=layers,
        )  # fmt: skip

    def _lowered(self, order: NetOrder) -> Lowered | str:
        """ONNX Runtime and ModelOpt's tools are asked here: an extra that isn't installed is said by its name."""
        if order.calibration is None:
            return f"{self.precision}: takes rows of yours (--data), {FEWEST} at least, that nothing is judged by"
        from .net_lowered import lowered

        precision: Precision = "int8" if self.precision == "int8" else "fp16"
        try:
            return lowered(order.net, precision, order.calibration, order.folder, symmetric=order.symmetric)
        except ModuleNotFoundError as error:
            raise TargetError(
                f"{error.name} isn't installed, and {self.precision} takes it", "pip install 'millwork[precision]'"
            ) from error


def backend(precision: str) -> NetBackend:
    return NetOnnx(precision)
