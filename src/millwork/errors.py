"""The errors a user can meet, each with its exit code.

    MillworkError
    ├── UsageError         2   an option, a column or a name that can't be right
    ├── ModelError         3   the model is unreadable, or refused by name
    ├── ParityError        4   no candidate answers as the framework does
    ├── TargetError        5   the target (its hardware, or an extra it needs) isn't here
    │   └── MachineError       the machine has too little of something, or ended a step of ours
    ├── SloError           6   the latency limit isn't met
    ├── PublicationError   7   publishing failed; the version that served before still serves
    └── InternalError     70   a bug of ours

A candidate that a backend can't express, or that fails parity, is a value with a reason, not an error:
see :class:`millwork.values.CandidateRecord`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .values import Record


class MillworkError(Exception):
    """One clear message: what is wrong, and the next step.

    ``message`` names the file and the field and what was expected; ``hint`` is the next step, or empty. ``record``
    is what the run found out before it stopped, where there was a run.
    """

    exit_code = 70
    record: Record | None = None

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[MillworkError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UsageError(MillworkError):
    """An option, a column or a name can't be right (exit code 2)."""

    exit_code = 2


class ModelError(MillworkError):
    """The model is unreadable, or is refused by name (exit code 3)."""

    exit_code = 3


class ParityError(MillworkError):
    """No candidate passed parity, so nothing was published (exit code 4)."""

    exit_code = 4


class TargetError(MillworkError):
    """The target, or an extra that it needs, isn't here (exit code 5)."""

    exit_code = 5


class MachineError(TargetError):
    """The machine has too little memory, too few processes or open files, or ended a step of ours (exit code 5)."""


class SloError(MillworkError):
    """The latency limit isn't met (exit code 6)."""

    exit_code = 6


class PublicationError(MillworkError):
    """Publishing failed and was undone; the version that served before still serves (exit code 7)."""

    exit_code = 7


class InternalError(MillworkError):
    """A bug of ours, with a report file (exit code 70)."""

    exit_code = 70


BY_NAME: dict[str, type[MillworkError]] = {
    kind.__name__: kind
    for kind in (
        UsageError,
        ModelError,
        ParityError,
        MachineError,
        TargetError,
        SloError,
        PublicationError,
        InternalError,
    )
}
"""A worker sends an error home by its name."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'h100'?`` for the end of a message about a word that isn't known; empty where none is near."""
    from difflib import get_close_matches

    near = [repr(name) for name in get_close_matches(word.lower(), list(known), n=3)]
    return f"; did you mean {', '.join(near[:-1])}{' or ' if near[:-1] else ''}{near[-1]}?" if near else ""
