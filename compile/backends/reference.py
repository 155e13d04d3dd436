"""``reference``: the framework's own file, run by the framework. The baseline, and the oracle's twin."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...passes.program import Program
from ...triton_releases import Release
from ..runners.load import installed, requirement, runner
from .base import Backend, Built, Leaves, Source, Table, Unsupported


@dataclass(frozen=True)
class Reference:
    name: str = "reference"
    precision: str = "fp32"
    rank: int = 9
    extra: str = ""
    module: str = ""

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Built | Unsupported:
        oracle = source.signature.oracle
        here = installed(oracle.framework)
        if oracle.version and here is not None and here != oracle.version:
            return Unsupported(
                reason=f"reference: {oracle.framework} {oracle.version} wrote the model and {here} is installed here: "
                "its own speed can't be had"
            )
        native = Path(source.native)
        shutil.copyfile(native, folder / native.name)
        return Built(
            backend=self.name, precision=self.precision, model_file=native.name,
            runner=f"{oracle.framework}_runner", triton_backend="python", parameters=oracle.parameters,
            requirements=(requirement(oracle.framework, oracle.version),),
        )  # fmt: skip

    def leaves(self, built: Built, folder: Path, rows: npt.NDArray[np.float32]) -> Leaves:
        return runner(built.runner)(folder / built.model_file, built.parameters, 1).leaves(rows)  # type: ignore[no-any-return]

    def node_table(self, built: Built, folder: Path, program: Program) -> tuple[Table, Table] | None:
        return None

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return framework_leaf


def backend() -> Backend:
    return Reference()
