"""``reference`` of a net: torch's own exported program, run by torch. The baseline, and the oracle's twin."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..runners.load import installed, requirement
from .base import Artifact, NetBackend, NetOrder, Unsupported


@dataclass(frozen=True)
class NetReference:
    precision: str = "fp32"
    name: str = "reference"
    rank: int = 11

    def build(self, order: NetOrder) -> Artifact | Unsupported:
        native = Path(order.source.native)
        shutil.copyfile(native, order.folder / native.name)
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=native.name,
            runner="torch_runner",
            triton_backend="python",
            parameters=order.source.signature.oracle.parameters,
            requirements=(requirement("torch", installed("torch") or ""),),
        )


def backend(precision: str) -> NetBackend:
    return NetReference(precision)
