"""Trees as tensors on a GPU: ``onnx-cuda`` and ``onnx-tensorrt``, ONNX Runtime's providers of those names, and
``tensorrt``, an engine of this machine's TensorRT.

All three run the graph of ``tensor``, and are judged as it is: constants read back from the graph, and the leaf of each
row asked of the provider, or of an engine of the same graph whose output is the leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from .... import gpus
from ....passes.forest import Rows
from ....passes.program import Program
from ....triton_releases import Release
from ....values.contracts import MAX_BATCH
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from ..tensorrt import candidate, profiles
from ..tensorrt.nets import CUDA, TENSORRT_AND_CUDA
from .artifact import leaf_probe
from .trees import MODEL_FILE, TensorTrees
from .writer import LEAF

LEAVES = "leaves"
"""The folder with the engine that says leaves; it isn't served."""


@dataclass(frozen=True)
class TensorRtTrees:
    """``batches``: the traffic's, which the engine is tuned for."""

    precision: str = "fp32"
    name: str = "tensorrt"
    rank: int = 10
    batches: tuple[int, ...] = (1,)

    def tuned_for(self, batches: tuple[int, ...]) -> TensorRtTrees:
        return replace(self, batches=batches)

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        if not gpus.visible():
            return candidate.no_gpu()
        trees = TensorTrees(self.precision, self.name)
        made = trees.build(program, source, folder, release)
        if isinstance(made, Unsupported):
            return made
        if made.foreign:
            return Unsupported(
                reason=f"{self.name}: TensorRT has no {', '.join(made.foreign)}, which encode categories"
            )
        graph, own = folder / MODEL_FILE, folder / LEAVES
        own.mkdir()
        probe = own / MODEL_FILE
        onnx.save_model(leaf_probe(onnx.load_model(str(graph))), probe)
        ranges = profiles.of(self.batches, largest=max(MAX_BATCH, *self.batches))
        for file, where in ((probe, own), (graph, folder)):
            artifact = candidate.build(file, self.precision, ranges, where)
            if isinstance(artifact, Unsupported):
                return artifact
        return artifact

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        engine = _runner()(folder / LEAVES / artifact.model_file, {"output": LEAF}, 1)
        return np.asarray(engine.predict(rows), np.int32)

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        """Of the graph that the engine was built of, which lies beside it: an engine has no constants to read."""
        graph = msgspec.structs.replace(artifact, model_file=MODEL_FILE)
        return TensorTrees(self.precision, self.name).node_table(graph, folder, program)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return TensorTrees(self.precision, self.name).expected(program, leaf, framework_leaf)


def onnx_cuda(precision: str) -> Backend:
    return TensorTrees(precision, "onnx-cuda", 8, requirement="onnxruntime-gpu", providers=CUDA)


def onnx_tensorrt(precision: str) -> Backend:
    return TensorTrees(precision, "onnx-tensorrt", 9, requirement="onnxruntime-gpu", providers=TENSORRT_AND_CUDA)


def tensorrt(precision: str) -> Backend:
    return TensorRtTrees(precision)


def _runner() -> type[Any]:
    from ...runners.tensorrt_runner import Runner

    return Runner
