"""The pass vocabulary: a pass is a frozen value that turns a program into an equal one, and says what it changed.

In the manner of onnx-ir's passes: ``requires`` and ``ensures`` check the author's claims before and after, a
sequence that fails names the pass that failed and those that ran, and its spec prints and parses back::

    slice-iterations,fold-missing,until-stable(drop-unreachable,merge-equal-leaves),drop-unused-features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import InternalError
from ..values import PassNote
from .forest import Ints, check
from .program import Program


@dataclass(frozen=True, eq=False)
class Rewrite:
    """What a pass returns.

    ``leaf_map``: int32 [M of the program before]: the node of the new forest that stands for each old leaf, -1 for
    a leaf that no row reaches (or whose tree doesn't count). This is what parity checks leaf by leaf.
    ``summary``: one sentence, with numbers.
    """

    program: Program
    modified: bool
    summary: str
    leaf_map: Ints


class Pass(Protocol):
    """A rewrite of programs. ``name`` is what the spec and the report call it."""

    @property
    def name(self) -> str: ...

    def requires(self, program: Program) -> str | None:
        """Why the pass can't run on this program, or None."""
        ...

    def apply(self, program: Program) -> Rewrite: ...

    def ensures(self, program: Program) -> str | None:
        """What the pass promised of its result and didn't keep, or None."""
        ...


@dataclass(frozen=True, eq=False)
class Rewritten:
    """The result of a sequence: the last program, a note a pass, and the leaf map from first to last."""

    program: Program
    notes: tuple[PassNote, ...]
    leaf_map: Ints


def unchanged(program: Program, summary: str) -> Rewrite:
    """The rewrite of a pass that found nothing to do."""
    return Rewrite(program, False, summary, np.arange(program.forest.n_nodes, dtype=np.int32))


def run(passes: Sequence[Pass], program: Program) -> Rewritten:
    """Run ``passes`` in order. A pass that breaks its word is a bug of ours: InternalError names it."""
    notes: list[PassNote] = []
    leaf_map = np.arange(program.forest.n_nodes, dtype=np.int32)
    for step in passes:
        _demand(step.requires(program), step, "requires", notes)
        rewrite = step.apply(program)
        check(rewrite.program.forest)
        _demand(step.ensures(rewrite.program), step, "ensures", notes)
        program = rewrite.program
        leaf_map = compose(leaf_map, rewrite.leaf_map)
        notes.append(PassNote(name=step.name, modified=rewrite.modified, summary=rewrite.summary))
    return Rewritten(program, tuple(notes), leaf_map)


def compose(first: Ints, then: Ints) -> Ints:
    """The leaf map of two passes in a row; -1 stays -1."""
    padded = np.append(then, np.int32(-1))  # so that -1 finds -1, even after a pass that left no node
    return padded[first].astype(np.int32)


@dataclass(frozen=True)
class UntilStable:
    """Run ``passes`` over and over until none of them changes anything."""

    passes: tuple[Pass, ...]
    limit: int = 100

    @property
    def name(self) -> str:
        return f"until-stable({','.join(step.name for step in self.passes)})"

    def requires(self, program: Program) -> str | None:
        return next(filter(None, (step.requires(program) for step in self.passes)), None)

    def ensures(self, program: Program) -> str | None:
        return next(filter(None, (step.ensures(program) for step in self.passes)), None)

    def apply(self, program: Program) -> Rewrite:
        leaf_map = np.arange(program.forest.n_nodes, dtype=np.int32)
        changes: list[str] = []
        for _ in range(self.limit):
            result = run(self.passes, program)
            program, leaf_map = result.program, compose(leaf_map, result.leaf_map)
            changes += [note.summary for note in result.notes if note.modified]
            if not any(note.modified for note in result.notes):
                return Rewrite(program, bool(changes), "; ".join(changes) or "nothing to change", leaf_map)
        raise InternalError(f"the passes of {self.name} never settle")


def _demand(reason: str | None, step: Pass, what: str, ran: Sequence[PassNote]) -> None:
    if reason is not None:
        before = ", ".join(note.name for note in ran) or "none"
        raise InternalError(f"pass {step.name} {what}: {reason}; passes that ran before it: {before}")
