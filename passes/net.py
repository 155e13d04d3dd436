"""``Net``: what a torch net computes, as a typed ONNX graph with its interface and what comes before and after it.

The graph is the net's own alone: ``input__0`` FP32 [N, F] and/or ``input__1`` INT64 [N, C] -> ``margin`` FP32 [N, K0].
Every place that it looks up is in its table there: what guards against others, and what makes the answer of the raw
outputs, is not part of it, so that a pass of precision can't touch them.
"""

from __future__ import annotations

import base64
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
ANSWERED = "is_answered"
INT64 = np.iinfo(np.int64)
CARD, GUARD = "millwork.net", "millwork.guard"
"""The keys of the model's metadata under which its :class:`Interface` and its guard lie."""


class Interface(Value):
    """F ``features``, C ``codes``, K0 ``outputs`` of the graph. ``code_lows``, ``code_counts`` [C]: a code below its
    column's low, or not below that plus its count, is unknown, and a row that holds one is answered NaN (a count of 0:
    any is known); where a net has a guard, that says so instead. ``safe_numbers`` [F], ``safe_codes`` [C]: a row that
    the framework answers, which stands for one that it doesn't. ``answer``: what is made of ``margin``. ``finite``: a
    row with a number that is NaN or infinite is answered NaN too: the framework fails on it, or no graph answers as it
    does."""

    features: int
    codes: int
    outputs: int
    answer: Postprocess
    code_counts: tuple[int, ...] = ()
    code_lows: tuple[int, ...] = ()
    safe_numbers: tuple[float, ...] = ()
    safe_codes: tuple[int, ...] = ()
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
    """``guard``: a graph from the same inputs to ``is_answered`` BOOL [N, 1], where ranges of codes don't say which
    rows the framework answers."""

    graph: onnx.ModelProto
    interface: Interface
    guard: onnx.ModelProto | None = None

    @property
    def parameters(self) -> int:
        """Numbers in the graph's constants."""
        return sum(int(np.prod(constant.dims)) for constant in self.graph.graph.initializer)


def save(net: Net, path: Path) -> None:
    """One ONNX file, the interface and the guard in its metadata."""
    model = onnx.ModelProto()
    model.CopyFrom(net.graph)
    del model.metadata_props[:]
    model.metadata_props.add(key=CARD, value=msgspec.json.encode(net.interface).decode())
    if net.guard is not None:
        model.metadata_props.add(key=GUARD, value=base64.b64encode(net.guard.SerializeToString()).decode())
    path.write_bytes(model.SerializeToString())


def load(path: Path) -> Net:
    """What :func:`save` wrote."""
    model = onnx.load_model_from_string(path.read_bytes())
    held = {item.key: item.value for item in model.metadata_props}
    if CARD not in held:
        raise ModelError(f"{path}: this ONNX graph isn't a net that millwork wrote")
    guard = onnx.load_model_from_string(base64.b64decode(held[GUARD])) if GUARD in held else None
    return Net(model, msgspec.json.decode(held[CARD], type=Interface), guard)


def limits(counts: tuple[int, ...], lows: tuple[int, ...] = ()) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first and the last code of each column, [C] each; all there are where its count is 0."""
    ends = [
        (low, low + count - 1) if count else (INT64.min, INT64.max)
        for low, count in zip(lows or (0,) * len(counts), counts, strict=True)
    ]
    first, last = np.array(ends, np.int64).reshape(-1, 2).T
    return first, last


def unknown_codes(
    codes: npt.NDArray[np.int64], counts: tuple[int, ...], lows: tuple[int, ...] = ()
) -> npt.NDArray[np.bool_]:
    """Which codes [N, C] are outside the columns' ranges."""
    first, last = limits(counts, lows)
    return np.asarray((codes < first) | (codes > last))
