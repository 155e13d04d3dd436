"""``Net``: what a torch net computes, as a typed ONNX graph with its interface and what comes before and after it.

The graph is the net's own alone: ``input__0`` FP32 [N, F] and/or ``input__1`` INT64 [N, C] -> ``margin`` FP32 [N, K0].
Codes are known there: what guards against others, and what makes the answer of the raw outputs, is not part of it, so
that a pass of precision can't touch them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from ..errors import ModelError
from ..values import Value
from .program import PAIRS, Decision, Postprocess

NUMBERS, CODES, RAW = "input__0", "input__1", "margin"
CARD = "millwork.net"
"""The key of the model's metadata under which its :class:`Interface` lies."""


class Interface(Value):
    """F ``features``, C ``codes``, K0 ``outputs`` of the graph. ``code_counts`` [C]: a code below 0, or not below its
    count, is unknown, and a row that holds one is answered NaN. ``answer``: what is made of ``margin``.
    ``finite``: a row with a number that is NaN or infinite is answered NaN too: the framework fails on it."""

    features: int
    codes: int
    outputs: int
    answer: Postprocess
    code_counts: tuple[int, ...] = ()
    decision: Decision | None = None
    finite: bool = False

    @property
    def n_answers(self) -> int:
        """K of ``output__0``."""
        if self.decision is not None and self.decision.how != "each":
            return 1
        return 2 if self.answer in PAIRS else self.outputs


@dataclass(frozen=True, eq=False)
class Net:
    graph: onnx.ModelProto
    interface: Interface

    @property
    def parameters(self) -> int:
        """Numbers in the graph's constants."""
        return sum(int(np.prod(constant.dims)) for constant in self.graph.graph.initializer)


def save(net: Net, path: Path) -> None:
    """One ONNX file, the interface in its metadata."""
    model = onnx.ModelProto()
    model.CopyFrom(net.graph)
    del model.metadata_props[:]
    model.metadata_props.add(key=CARD, value=msgspec.json.encode(net.interface).decode())
    path.write_bytes(model.SerializeToString())


def load(path: Path) -> Net:
    """What :func:`save` wrote."""
    model = onnx.load_model_from_string(path.read_bytes())
    cards = [item.value for item in model.metadata_props if item.key == CARD]
    if len(cards) != 1:
        raise ModelError(f"{path}: this ONNX graph isn't a net that millwork wrote")
    return Net(model, msgspec.json.decode(cards[0], type=Interface))


def unknown_codes(codes: npt.NDArray[np.int64], counts: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which codes [N, C] the net doesn't know."""
    return np.asarray((codes < 0) | (codes >= np.array(counts, np.int64)))
