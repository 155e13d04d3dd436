"""The pass vocabulary: a pass is a frozen value that turns a program into an equal one, and says what it changed.

In the manner of onnx-ir's passes: ``requires`` and ``ensures`` check the author's claims before and after, a
sequence that fails names the pass that failed and those that ran, and its spec prints and parses back::

    slice-iterations,fold-missing,until-stable(drop-unreachable,merge-equal-leaves),drop-unused-features

Two families speak it. :class:`.trees.tree_pass.TreePass` rewrites a ``Program``, and its rewrite also has a map of the
leaves. :class:`.graph.graph_pass.GraphPass` rewrites an ONNX graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, ClassVar, Generic, Self, TypeVar

from ..errors import InternalError, UsageError
from ..values import PassNote

P = TypeVar("P")
"""What a pass rewrites: a ``Program``, or an ONNX graph."""

R = TypeVar("R", bound="Rewrite[Any]")
"""What a pass returns: a :class:`Rewrite` of P, or one that says more."""


@dataclass(frozen=True, eq=False)
class Rewrite(Generic[P]):
    """What a pass returns. ``summary``: one sentence, with numbers."""

    program: P
    modified: bool
    summary: str

    def then(self, later: Self) -> Self:
        """This rewrite and ``later``, which began with this one's program, as one."""
        said = [one.summary for one in (self, later) if one.modified]
        return replace(later, modified=bool(said), summary="; ".join(said) or "nothing to change")


class Pass(ABC, Generic[P, R]):
    """A rewrite of programs. A subclass is a frozen dataclass, and its fields are the pass's options."""

    name: ClassVar[str]

    @property
    def spec(self) -> str:
        """The pass with its options, as the spec and the report have it."""
        return self.name

    def requires(self, program: P) -> str | None:
        """Why the pass can't run on this program, or None."""
        return None

    @abstractmethod
    def apply(self, program: P) -> R:
        """The rewrite. ``program`` itself stays as it is; where nothing is to be changed, it is the rewrite's too."""

    def ensures(self, program: P) -> str | None:
        """What the pass promised of its result and didn't keep, or None."""
        return None

    def invalid(self, program: P) -> str | None:
        """Why the result is no valid program at all, or None: the same for all passes of a family."""
        return None


@dataclass(frozen=True, eq=False)
class Rewritten(Generic[P, R]):
    """The result of a sequence: the last program, and of each pass a note and its rewrite."""

    program: P
    notes: tuple[PassNote, ...]
    rewrites: tuple[R, ...]


def run(passes: Sequence[Pass[P, R]], program: P) -> Rewritten[P, R]:
    """Run ``passes`` in order. A pass that breaks its word is a bug of ours: InternalError names it.

    An error that a pass raises goes through; a note on it names the pass.
    """
    notes: list[PassNote] = []
    rewrites: list[R] = []
    for step in passes:
        _require(step.requires(program), f"pass {step.spec} requires", notes)
        try:
            rewrite = step.apply(program)
        except Exception as error:
            error.add_note(f"in pass {step.spec}{_after(notes)}")
            raise
        if rewrite.program is not program:
            _require(step.invalid(rewrite.program), f"pass {step.spec} made something invalid", notes)
        _require(step.ensures(rewrite.program), f"pass {step.spec} ensures", notes)
        program = rewrite.program
        rewrites.append(rewrite)
        notes.append(PassNote(name=step.spec, modified=rewrite.modified, summary=rewrite.summary))
    return Rewritten(program, tuple(notes), tuple(rewrites))


@dataclass(frozen=True)
class UntilStable(Pass[P, R]):
    """Run ``passes``, at least one, over and over until none of them changes anything."""

    name: ClassVar[str] = "until-stable"
    passes: tuple[Pass[P, R], ...]
    limit: int = 100

    def __post_init__(self) -> None:
        if not self.passes:
            raise UsageError(f"{self.name}() must name at least one pass")

    @property
    def spec(self) -> str:
        return f"{self.name}({','.join(step.spec for step in self.passes)})"

    def requires(self, program: P) -> str | None:
        return next(filter(None, (step.requires(program) for step in self.passes)), None)

    def ensures(self, program: P) -> str | None:
        return next(filter(None, (step.ensures(program) for step in self.passes)), None)

    def apply(self, program: P) -> R:
        done: list[R] = []
        for _ in range(self.limit):
            result = run(self.passes, program)
            program = result.program
            done += result.rewrites
            if not any(note.modified for note in result.notes):
                return reduce(lambda first, later: first.then(later), done)
        raise InternalError(f"the passes of {self.spec} still change the program after many rounds")


def _require(reason: str | None, what: str, ran: Sequence[PassNote]) -> None:
    if reason is not None:
        raise InternalError(f"{what}: {reason}{_after(ran)}")


def _after(ran: Sequence[PassNote]) -> str:
    return f"; passes that ran before it: {', '.join(note.name for note in ran) or 'none'}"
