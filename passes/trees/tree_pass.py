"""``TreePass``: a pass on programs, whose rewrite also says where each leaf is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import numpy as np

from ...errors import ModelError
from ..base import Pass, Rewrite
from ..forest import Ints, check
from ..program import Program


@dataclass(frozen=True, eq=False)
class TreeRewrite(Rewrite[Program]):
    """``leaf_map``: int32 [M of the program before]: the node of the new forest that stands for each old leaf, -1 for
    a leaf that no row reaches (or whose tree doesn't count). This is what parity checks leaf by leaf.
    """

    leaf_map: Ints

    def then(self, later: Self) -> Self:
        return replace(super().then(later), leaf_map=compose(self.leaf_map, later.leaf_map))


class TreePass(Pass[Program, TreeRewrite]):
    """No row's answer moves by a bit through one."""

    def invalid(self, program: Program) -> str | None:
        try:
            check(program.forest)
        except ModelError as error:
            return str(error)
        return None


def unchanged(program: Program, summary: str) -> TreeRewrite:
    """The rewrite of a pass that found nothing to do."""
    return TreeRewrite(program, False, summary, same_leaves(program))


def same_leaves(program: Program) -> Ints:
    """The leaf map of a pass that leaves every node where it is."""
    return np.arange(program.forest.n_nodes, dtype=np.int32)


def compose(first: Ints, then: Ints) -> Ints:
    """The leaf map of two passes in a row; -1 stays -1."""
    padded = np.append(then, np.int32(-1))  # so that -1 finds -1, even after a pass that left no node
    return padded[first].astype(np.int32)


def leaf_map(before: Program, rewrites: Iterable[TreeRewrite]) -> Ints:
    """Where the rewrites, in a row, left each leaf of the program before the first."""
    return reduce(compose, (rewrite.leaf_map for rewrite in rewrites), same_leaves(before))
