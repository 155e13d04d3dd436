"""``onnx``: trees as ai.onnx.ml's TreeEnsembleRegressor; how the graph looks is in ``onnx_writer``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ...passes.program import Program
from ...triton_releases import Release
from .base import Backend, Built, Leaves, Source, Table, Unsupported
from .onnx_artifact import leaf_probe, must_be, read_back, tree_node
from .onnx_writer import BASE_TREE, write

MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class OnnxTrees:
    name: str = "onnx"
    precision: str = "fp32"
    rank: int = 0
    extra: str = "cpu"
    module: str = "onnxruntime"

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Built | Unsupported:
        if program.forest.reduction != "sum":
            return Unsupported(
                reason="onnx: trees that are averaged; base scores as a first tree would be averaged too"
            )
        model = write(program, release, source.signature.provenance.sha256)
        onnx.save_model(model, str(folder / MODEL_FILE))
        return Built(
            backend=self.name, precision=self.precision, model_file=MODEL_FILE, runner="onnx_runner",
            triton_backend="onnxruntime", parameters={}, requirements=("onnxruntime",),
        )  # fmt: skip

    def leaves(self, built: Built, folder: Path, rows: npt.NDArray[np.float32]) -> Leaves:
        probe = leaf_probe(onnx.load_model(str(folder / built.model_file)))
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
        parts = [session.run(None, {"input__0": rows[i : i + 4096]})[0] for i in range(0, len(rows), 4096)]
        return np.concatenate(parts).astype(np.int32)[:, BASE_TREE:]

    def node_table(self, built: Built, folder: Path, program: Program) -> tuple[Table, Table] | None:
        model = onnx.load_model(str(folder / built.model_file))
        return read_back(tree_node(model)), must_be(program.forest, program.columns)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf - program.forest.tree_start[:-1]


def backend() -> Backend:
    return OnnxTrees()
