"""Turn the wrapper's ``missing=`` into an encoder ahead of the forest, so that no backend can forget it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..program import MissingSentinel, Program
from .tree_pass import TreePass, TreeRewrite, same_leaves, unchanged


@dataclass(frozen=True)
class FoldMissing(TreePass):
    name: ClassVar[str] = "fold-missing"

    def ensures(self, program: Program) -> str | None:
        return None if program.missing is None else "the sentinel is still outside the encoders"

    def apply(self, program: Program) -> TreeRewrite:
        if program.missing is None or np.isnan(program.missing):
            return unchanged(replace(program, missing=None), "missing values are NaN already")
        encoders = (*program.encoders, MissingSentinel(value=program.missing))
        return TreeRewrite(
            replace(program, encoders=encoders, missing=None),
            True,
            f"an encoder before the trees reads {program.missing:g} as missing",
            same_leaves(program),
        )
