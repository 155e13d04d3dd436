"""``onnx`` of a net: its graph, in a precision, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

from .... import gpus
from ....errors import TargetError
from ....passes import base, pass_table
from ....passes.graph.operators import foreign
from ....passes.net import Net
from ....values import LayerCost, PassNote
from ..base import Artifact, NetBackend, NetOrder, Unsupported
from .net_graph import finished

MODEL_FILE = "model.onnx"
FEWEST = 40
"""Of the user's rows: of fewer none are held apart."""


@dataclass(frozen=True, eq=False)
class Typed:
    """The net's graph in a precision; what the pass did, and what each layer costs."""

    net: Net
    notes: tuple[PassNote, ...] = ()
    layers: tuple[LayerCost, ...] = ()


@dataclass(frozen=True)
class NetOnnx:
    """``provider``: ONNX Runtime's, of a GPU that must be here; empty for the CPU's."""

    precision: str = "fp32"
    name: str = "onnx"
    rank: int = 0
    requirement: str = "onnxruntime"
    provider: str = ""

    def build(self, order: NetOrder) -> Artifact | Unsupported:
        if self.provider and not gpus.visible():
            return Unsupported(reason=f"{self.name}: this machine has no NVIDIA GPU")
        found = typed(order, self.precision)
        if isinstance(found, str):
            return Unsupported(reason=f"{self.name}: {found}")
        model, notes = finished(found.net, order.release), found.notes
        if not order.for_gpu:
            result = base.run(pass_table.FOR_CPU, model)
            model, notes = result.program, (*notes, *(note for note in result.notes if note.modified))
        (order.folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="onnx_runner",
            triton_backend="onnxruntime",
            parameters={"providers": self.provider} if self.provider else {},
            requirements=(self.requirement,),
            foreign=foreign(model),
            passes=notes,
            layers=found.layers,
        )


def typed(order: NetOrder, precision: str) -> Typed | str:
    """The order's net in ``precision``, or why there is none. ONNX Runtime and ModelOpt's tools are asked here:
    TargetError for an extra that isn't installed."""
    if precision == "fp32":
        return Typed(order.net)
    if order.calibration is None:
        return (
            f"{precision}: calibration takes at least {FEWEST} of your rows (--data), "
            "apart from those that judge parity"
        )
    try:
        from .net_lowered import lowered

        found = lowered(
            order.net,
            "int8" if precision == "int8" else "fp16",
            order.calibration,
            order.folder,
            symmetric=order.for_gpu,
        )
    except ModuleNotFoundError as error:
        raise TargetError(
            f"{error.name} isn't installed, and {precision} needs it", "pip install 'millwork[precision]'"
        ) from error
    return found if isinstance(found, str) else Typed(found.net, (found.note,), found.layers)


def backend(precision: str) -> NetBackend:
    return NetOnnx(precision)
