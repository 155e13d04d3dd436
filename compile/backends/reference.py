"""``reference``: the framework's own file, run by the framework. The baseline, and the oracle's twin."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...passes.forest import Rows
from ...passes.program import Program
from ...triton_releases import Release
from ..runners.load import installed, requirement, runner
from .base import Artifact, Backend, Leaves, Source, Table, Unsupported


@dataclass(frozen=True)
class Reference:
    name: str = "reference"
    precision: str = "fp32"
    rank: int = 11

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        oracle = source.signature.oracle
        here = installed(oracle.framework)
        if oracle.version and here is not None and here != oracle.version:
            return Unsupported(
                reason=f"reference: {oracle.framework} {oracle.version} wrote the model and {here} is installed here: "
                "its own speed can't be had"
            )
        native = Path(source.native)
        frames = oracle.framework == "xgboost" and "columns" in oracle.parameters
        shutil.copyfile(native, folder / native.name)
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=native.name,
            runner=f"{oracle.framework}_runner",
            triton_backend="python",
            parameters=oracle.parameters,
            requirements=(requirement(oracle.framework, oracle.version), *(() if not frames else ("pandas",))),
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        engine = runner(artifact.runner)(folder / artifact.model_file, artifact.parameters, 1)
        return engine.leaves(rows, categories)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        return None

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return framework_leaf


def backend() -> Backend:
    return Reference()
