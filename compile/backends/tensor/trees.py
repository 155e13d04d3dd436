"""``tensor``: trees as plain tensor operators, which ONNX Runtime runs anywhere and TensorRT on a GPU.

Thresholds are rank-encoded in the graph, so comparisons are exact in whatever the ranks are held in: a precision of
this backend is that type. Leaf values and their sums are float32 in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .... import gpus
from ....errors import ModelError
from ....passes.forest import Rows
from ....passes.graph.operators import foreign
from ....passes.program import Program
from ....triton_releases import Release
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from ..onnx.probe import asked
from .artifact import leaf_probe, read_back
from .plan import Plan, plan
from .writer import KINDS, write

MODEL_FILE = "model.onnx"

FP16_INTEGERS = 2048
"""float16 holds every integer up to this."""

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class TensorTrees:
    """``precision``: what ranks are compared in, one of KINDS; another one is refused with the reason. ``providers``:
    ONNX Runtime's, of a GPU that must be here; empty for the CPU's."""

    precision: str = "fp32"
    name: str = "tensor"
    rank: int = 4
    requirement: str = "onnxruntime"
    providers: str = ""

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        if self.providers and not gpus.visible():
            return Unsupported(reason=f"{self.name}: this machine has no NVIDIA GPU")
        made = plan(program)
        reason = made if isinstance(made, str) else self._refusal(program, made, source)
        if isinstance(made, str) or reason:
            return Unsupported(reason=f"{self.name}: {reason}")
        model = write(program, made, self.precision, release, source.signature.provenance.sha256)
        (folder / MODEL_FILE).write_bytes(model.SerializeToString())
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="onnx_runner",
            triton_backend="onnxruntime",
            parameters={"providers": self.providers} if self.providers else {},
            requirements=(self.requirement,),
            foreign=foreign(model),
        )

    def _refusal(self, program: Program, made: Plan, source: Source) -> str:
        """Why this precision can't hold the program; empty where it can."""
        if self.precision not in KINDS:
            return (
                f"{self.precision} isn't a type that TensorRT can compare (it compares FLOAT, HALF, INT32 and INT64); "
                "the exact integer form is int32"
            )
        forest = program.forest
        if max(np.abs(forest.leaf_value).max(initial=0), np.abs(forest.base_scores).max()) > FLOAT32_MAX:
            return "a leaf value or a base score is larger than float32 holds"
        counts = made.sources.ranking.counts
        if self.precision == "fp16" and counts.max() > FP16_INTEGERS:
            column = int(made.sources.column[int(counts.argmax())])
            return (
                f"{_name(column, source)} has {counts.max():,} thresholds; "
                f"fp16 holds integers up to {FP16_INTEGERS:,}, so ranks would collide"
            )
        return ""

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        probe = leaf_probe(onnx.load_model(str(folder / artifact.model_file)))
        return np.concatenate(list(asked(probe, artifact.parameters, rows, categories)))

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        made = plan(program)
        if isinstance(made, str):  # what was built had a plan
            raise ModelError(f"tensor: {made}")
        return read_back(onnx.load_model(str(folder / artifact.model_file)), program, made)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        place = np.cumsum(program.forest.is_leaf) - 1
        return place[leaf].astype(np.int32)


def _name(column: int, source: Source) -> str:
    names = source.signature.features.names
    return f"feature {names[column]}" if column < len(names) else f"a column that encoders make ({column})"


def backend(precision: str) -> Backend:
    return TensorTrees(precision)
