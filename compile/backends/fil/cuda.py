"""``fil-cuda``: the checkpoint of ``fil``, run by nvForest on this machine's GPU and tuned there for the traffic's
batches; Triton's fil backend has the same engine (25.09 and later) and is told what was found.

It needs the GPU and the engine: elsewhere it says so. What FIL doesn't answer itself (encoders, categories of its own,
labels) is refused: what would run on the GPU isn't what would be served.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from .... import gpus
from ....passes.forest import Rows
from ....passes.program import Program
from ....triton_releases import Release
from ...runners import runner_rows
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from .cpu import MODEL_FILE, Fil

ENGINE, RUNNER = "nvforest", "nvforest_runner"
LARGEST = float(np.finfo(np.float32).max)
Tune = Callable[[Path, Rows, tuple[int, ...]], dict[str, str]]


def no_gpu() -> str:
    """Why nothing can be run here; empty where it can."""
    if not gpus.visible():
        return "this machine has no NVIDIA GPU; for --target NAME of a GPU, build on a machine that has it"
    if importlib.util.find_spec(ENGINE) is None:
        return f"nvForest isn't installed ({runner_rows.find(RUNNER).hint})"
    return ""


def _on_gpu(model_file: Path, rows: Rows, batches: tuple[int, ...]) -> dict[str, str]:
    from ...runners.nvforest_runner import tuned

    return {"device": "gpu", **tuned(model_file, rows, batches, "gpu")}


@dataclass(frozen=True)
class FilCuda:
    """``batches``: sizes that it is tuned for. ``lacking`` and ``tune``: the machine, for which tests put the CPU."""

    name: str = "fil-cuda"
    precision: str = "fp32"
    rank: int = 6
    batches: tuple[int, ...] = (1,)
    lacking: Callable[[], str] = no_gpu
    tune: Tune = _on_gpu

    def tuned_for(self, batches: tuple[int, ...]) -> FilCuda:
        return replace(self, batches=batches)

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        reason = self.lacking()
        if reason:
            return Unsupported(reason=f"{self.name}: {reason}")
        made = Fil().build(program, source, folder, release)
        if isinstance(made, Unsupported):
            return Unsupported(reason=f"{self.name}: {made.reason.removeprefix('fil: ')}")
        if made.triton_backend != "fil":
            return Unsupported(reason=f"{self.name}: FIL can't compute this model's answer")
        rows = near_thresholds(program, max(self.batches))
        return msgspec.structs.replace(
            made,
            backend=self.name,
            runner=RUNNER,
            requirements=(f"treelite=={release.treelite}", "nvforest-cu13"),
            timed_by="nvForest, copies included, not Triton's FIL",
            parameters={**made.parameters, **self.tune(folder / MODEL_FILE, rows, self.batches)},
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        from ...runners.nvforest_runner import Runner

        return Runner(folder / artifact.model_file, artifact.parameters, threads=1).leaves(rows)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        return Fil().node_table(artifact, folder, program)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return Fil().expected(program, leaf, framework_leaf)


def near_thresholds(program: Program, count: int) -> npt.NDArray[np.float32]:
    """Rows float32 [count, F] that take many ways through the trees: each feature near some threshold of its own, 1 in
    16 missing. Rows of far-off numbers, as nvForest's optimize() makes, all go one way."""
    rng = np.random.default_rng(0)
    forest = program.forest
    rows = np.zeros((count, program.n_encoded), np.float32)
    test = ~(forest.is_leaf | forest.is_categorical)
    columns = program.columns[forest.feature[test]]
    for column in np.unique(columns):
        edges = forest.threshold[test][columns == column].astype(np.float64)
        low, high = np.quantile(edges[np.isfinite(edges)] if np.isfinite(edges).any() else [0.0, 1.0], [0.25, 0.75])
        drawn = rng.choice(edges, count) + (high - low or 1.0) * rng.normal(scale=0.1, size=count)
        rows[:, column] = np.clip(drawn, -LARGEST, LARGEST)
    rows[rng.random(rows.shape) < 1 / 16] = np.nan
    return rows


def backend() -> Backend:
    return FilCuda()
