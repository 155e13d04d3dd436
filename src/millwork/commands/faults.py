"""What an exception that isn't ours is to a user: the operating system's refusal, with its path and exit code."""

from __future__ import annotations

import errno

from ..errors import MachineError, MillworkError, ModelError, PublicationError, UsageError
from ..storage import machine
from ..storage.files import refusal

_KINDS: dict[str, type[MillworkError]] = {
    "publish": PublicationError,
    "rollback": PublicationError,
    "verify": ModelError,
    "inspect": ModelError,
    "predict": ModelError,
}
"""Command -> what a file of the repository that can't be read or written is to it; of all others a wrong option."""

_NEXT = {
    errno.EACCES: "Let this user read and write it (chmod, chown), or run it as a user who may.",
    errno.EPERM: "Let this user read and write it (chmod, chown), or run it as a user who may.",
    errno.ENOENT: "Look whether another process removes it.",
    errno.EISDIR: "Move it away: a file is expected there.",
    errno.ENOTDIR: "Move the file away: a folder is expected there.",
    errno.EEXIST: "Move it away.",
    errno.ELOOP: "Let the link point at something that is there, or remove it.",
    errno.ENAMETOOLONG: "Give a shorter path.",
}


def known(error: Exception, command: str) -> MillworkError | None:
    """The error for the user; None where it is a bug of ours."""
    if isinstance(error, MillworkError):
        found = machine.blame(error)
        return found if isinstance(found, MillworkError) else error
    if (fault := machine.fault(error)) is not None:
        return fault
    if isinstance(error, MemoryError):
        return machine.no_memory()
    if isinstance(error, ChildProcessError):
        return MachineError(
            "the end of a step can't be waited for: this process ignores SIGCHLD, or something else waited",
            "Start it with SIGCHLD as usual.",
        )
    if isinstance(error, OSError) and error.filename is not None:
        kind = _KINDS.get(command, UsageError)
        return kind(refusal(error), _NEXT.get(error.errno or 0, "Look at that file."))
    return None


def reason(error: OSError) -> str:
    """What the operating system refused, in words."""
    return refusal(error)
