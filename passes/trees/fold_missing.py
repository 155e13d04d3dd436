"""Turn the wrapper's ``missing=`` into an encoder ahead of the forest, so that no backend can forget it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..base import Rewrite, unchanged
from ..program import MissingSentinel, Program


@dataclass(frozen=True)
class FoldMissing:
    name: str = "fold-missing"

    def requires(self, program: Program) -> str | None:
        return None

    def ensures(self, program: Program) -> str | None:
        return None if program.missing is None else "the sentinel is still outside the encoders"

    def apply(self, program: Program) -> Rewrite:
        if program.missing is None or np.isnan(program.missing):
            return unchanged(replace(program, missing=None), "missing values are NaN already")
        encoders = (*program.encoders, MissingSentinel(value=program.missing))
        same = np.arange(program.forest.n_nodes, dtype=np.int32)
        return Rewrite(
            replace(program, encoders=encoders, missing=None), True,
            f"{program.missing:g} is read as missing by an encoder ahead of the trees", same,
        )  # fmt: skip
