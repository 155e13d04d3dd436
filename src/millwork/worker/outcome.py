"""How a worker's process may end: done, or a failure told apart by its kind.

Nothing here raises for a crash: a step that took its process down is a value with a reason, which the caller
reports, or turns into an error with :meth:`Failure.raise_`.
"""

from __future__ import annotations

import signal
from typing import Generic, Literal, NoReturn, TypeVar

from ..errors import BY_NAME, InternalError, MachineError, MillworkError, UsageError
from ..storage import machine
from ..values import Value
from .process import LONGEST_REPLY, Ending

R = TypeVar("R")

Kind = Literal["segfault", "abort", "out-of-memory", "hang", "killed", "exit", "error", "machine"]

GIB = 1 << 30

_SIGNALS: dict[int, tuple[Kind, str]] = {
    signal.SIGSEGV: ("segfault", "crashed with a segmentation fault"),
    signal.SIGBUS: ("segfault", "crashed with a bus error"),
    signal.SIGABRT: ("abort", "aborted"),
    signal.SIGILL: ("abort", "crashed on an instruction that this CPU doesn't have"),
    signal.SIGFPE: ("abort", "crashed with an arithmetic error"),
}
"""What a signal that a process brings on itself means."""

_ENDED = {
    "killed": "Find out who killed it (an operator, a limit of the container), and run it again.",
    "out-of-memory": "Free memory, raise the container's limit, or run it on a machine with more.",
}

BY_THE_SYSTEM = "was killed by the system because memory ran out"

_NEAR = 0.9
"""A SIGKILL from outside, with this share of the memory limit in use when last seen, counts as out of memory."""


class Done(Value, Generic[R], frozen=True):
    """The step's reply. ``seconds``: wall time with start-up; ``peak_bytes``: resident memory, sampled."""

    value: R
    seconds: float
    peak_bytes: int


class Failure(Value, frozen=True):
    """A step that gave no reply, and why.

    ``message`` says it in words that follow a subject ("crashed with a segmentation fault"); for a
    MillworkError it is that error's own whole message. ``error_type`` and ``error_hint`` are set where the step
    raised: a name of :data:`millwork.errors.BY_NAME`, or Python's own. ``log`` is the path of what the process
    printed, ``log_tail`` its end.
    """

    kind: Kind
    message: str
    log_tail: str = ""
    log: str = ""
    error_type: str = ""
    error_hint: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def from_outside(self) -> bool:
        """Whether somebody else ended the process: that may not happen again."""
        return self.kind == "killed" or self.message == BY_THE_SYSTEM

    @property
    def refused(self) -> bool:
        """Whether the step itself raised one of millwork's errors, meant for the user as it stands."""
        return self.error_type in BY_NAME

    def raise_(self, otherwise: type[MillworkError] = InternalError, subject: str = "A step") -> NoReturn:
        """Raise the MillworkError that the step raised; for any other failure ``otherwise``, about ``subject``."""
        if self.refused:
            raise BY_NAME[self.error_type](self.message, self.error_hint)
        verb = "failed: " if self.kind == "error" else ""
        log = f"Its log: {self.log}" if self.log else ""
        if self.kind in ("killed", "out-of-memory"):  # no word of the model, whatever was to be found out
            raise MachineError(f"{subject} {verb}{self.message}.", f"{_ENDED[self.kind]} {log}".rstrip())
        raise otherwise(f"{subject} {verb}{self.message}.", log)


def failure(ending: Ending) -> Failure:
    """The failure of a process that did not end well."""
    kind, message = _diagnosis(ending)
    return _of(ending, kind, message)


def raised(ending: Ending, error_type: str, message: str, hint: str = "") -> Failure:
    """The failure of a process that raised, and said so."""
    if error_type == MemoryError.__name__:
        return _of(ending, "out-of-memory", "ran out of memory", error_type)
    text = message if error_type in BY_NAME else f"{error_type}: {message}".removesuffix(": ")
    return _of(ending, "error", text, error_type, hint)


def blamed(failed: Failure, ending: Ending) -> Failure:
    """The same failure, or the machine's where it is that: by what the step said and printed, or since a disk that it
    wrote to is full by now."""
    if failed.error_type in _ITS_OWN or ending.stopped:
        return failed
    found: MillworkError | None = None
    if failed.kind != "hang":
        found = machine.in_words(
            f"{failed.message if not failed.refused else ''}\n{ending.log_tail}", [ending.log.parent]
        )
    if ending.full is not None:
        found = machine.disk_full(ending.full)
    if found is None:
        return failed
    return _of(ending, "machine", found.message, type(found).__name__, found.hint)


_ITS_OWN = (UsageError.__name__, MachineError.__name__)


def excessive(ending: Ending, message: str) -> Failure:
    """The failure of a process that replied, and left what nobody can be made to read."""
    return _of(ending, "exit", message)


def _of(ending: Ending, kind: Kind, message: str, error_type: str = "", hint: str = "") -> Failure:
    return Failure(
        kind=kind,
        message=message,
        log_tail=ending.log_tail,
        log=str(ending.log),
        error_type=error_type,
        error_hint=hint,
        seconds=ending.seconds,
        peak_bytes=ending.peak_bytes,
    )


def _diagnosis(ending: Ending) -> tuple[Kind, str]:
    limits = ending.limits
    if ending.stopped == "time":
        return "hang", f"did not finish within {limits.seconds:g} s"
    if ending.stopped == "reply":
        return "exit", f"replied with more than {_size(LONGEST_REPLY)}"
    if ending.stopped == "memory":
        return "out-of-memory", f"used more than {_size(limits.memory_bytes or 0)} of memory"
    if ending.status == -signal.SIGKILL:
        near = limits.memory_bytes is not None and ending.last_bytes >= _NEAR * limits.memory_bytes
        if ending.oom_killed or near:
            return "out-of-memory", BY_THE_SYSTEM
        return "killed", "was killed from outside (SIGKILL)"
    if ending.status == -signal.SIGABRT and "std::bad_alloc" in ending.log_tail:
        return "out-of-memory", "ran out of memory"
    if ending.status < 0:
        return _SIGNALS.get(-ending.status, ("killed", f"was killed by {_name(-ending.status)}"))
    if ending.status == 0:
        return "exit", "ended without a reply"
    return "exit", f"ended with exit status {ending.status}"


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / (1 << 20):.0f} MiB"


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
