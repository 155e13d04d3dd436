"""What a built ONNX artifact computes on the way to its answer: cut off there, and asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt
import onnx
from onnx import helper

from ....errors import ModelError
from ....passes.forest import Rows

BLOCK = 1024
"""Rows a call."""


def cut_off(model: onnx.ModelProto, tensor: str, kind: int, shape: list[str] | None) -> onnx.ModelProto:
    """The built model, all by its own constants, with ``tensor`` of that type and shape as its one output. ModelError
    where it isn't made in one place."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    made = [i for i, node in enumerate(probe.graph.node) if tensor in node.output]
    if len(made) != 1:
        raise ModelError(f"expected one tensor called {tensor} in the artifact, found {len(made)}")
    del probe.graph.node[made[0] + 1 :]
    del probe.graph.output[:], probe.graph.value_info[:]
    probe.graph.output.append(helper.make_tensor_value_info(tensor, kind, shape))
    used = {name for node in probe.graph.node for name in node.input}
    kept = [constant for constant in probe.graph.initializer if constant.name in used]
    del probe.graph.initializer[:]
    probe.graph.initializer.extend(kept)
    return probe


def asked(
    probe: onnx.ModelProto, parameters: Mapping[str, str], rows: Rows, categories: Any, block: int = BLOCK
) -> Iterator[npt.NDArray[Any]]:
    """The probe's output for each ``block`` of the rows, by the provider that ``parameters`` name."""
    from ...runners.onnx_runner import feeds, opened

    session = opened(probe.SerializeToString(), dict(parameters), 1)
    for i in range(0, len(rows), block):
        own = None if categories is None else categories[i : i + block]
        yield session.run(None, feeds(session, rows[i : i + block], own))[0]
