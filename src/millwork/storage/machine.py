"""What is the machine's fault, and not the model's: a disk, a limit, or what a process was started in.

It is told by an exception's number, type or words, or those of what caused it: a library says "the file is damaged" of
a disk that is full, and "not installed" of a library that found no memory. :func:`blame` is asked wherever an exception
leaves a process: where a step answers, where the run directory writes, and where the command line ends.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import MachineError, MillworkError, PublicationError, SloError, UsageError
from .files import FULL, refusal

LEAST = 64 << 10
"""Bytes: a disk with less is full; whoever needed more was refused it."""
SPACE = "Free some space, or choose another folder (--run-dir)."
OTHER_TEMPORARY = "Free some space there, or set TMPDIR to another folder."
SET_TEMPORARY = "Set TMPDIR to a folder that this user can write."
RENAME = "Rename it, or give a link to it that has another name."
LONGEST = 1 << 16
"""Characters of a message that are looked at."""

_DAMAGE = frozenset({errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EROFS, errno.ENOTCONN, errno.EREMOTEIO})
_WORDS = {
    "disk": re.compile(
        r"No space left on device|Disk quota exceeded|File too large|disk is full|"
        r"\d+ requested and \d+ written|PytorchStreamWriter failed writing"
    ),
    "files": re.compile(r"Too many open files"),
    "processes": re.compile(
        r"can't start new thread|pthread_create failed|Thread creation failed|Resource temporarily unavailable|"
        r"failed to create thread"
    ),
    "memory": re.compile(
        r"[Cc]annot allocate memory|failed to map segment|std::bad_alloc|bad allocation|MemoryError|"
        r"Unable to allocate [0-9.]+ [KMGT]?i?B|failed to allocate memory"
    ),
    "temporary": re.compile(r"No usable temporary directory"),
}


def blame(error: BaseException, where: Iterable[Path] = ()) -> BaseException:
    """The machine's fault in ``error``, where there is one and the error doesn't say so itself; else ``error``.
    ``where``: folders that were being written, for a disk that is full and has no name."""
    if isinstance(error, UsageError | MachineError | PublicationError | SloError):
        return error
    return fault(error, where) or error


def fault(error: BaseException, where: Iterable[Path] = ()) -> MillworkError | None:
    """The same of what ``error`` or one of its causes says; None where none is the machine's."""
    folders = tuple(where)
    for cause in _causes(error):
        found = _of(cause, folders)
        if found is not None:
            return found
    return None


def in_words(text: str, where: Iterable[Path] = ()) -> MillworkError | None:
    """The same, of what a process printed or said."""
    kind = next((kind for kind, words in _WORDS.items() if words.search(text[:LONGEST])), "")
    if kind == "memory" and not memory_limited():  # then it is the model that asks for more than there is
        return None
    return _error(kind, None, tuple(where)) if kind else None


def memory_limited() -> bool:
    """Whether somebody set a limit to what this process may use (``ulimit -v``)."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def no_memory() -> MachineError:
    """The error for a process that found no memory."""
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    said = f": this process may use {allowed / 2**30:.2g} GiB (ulimit -v)" if memory_limited() else ""
    return MachineError(f"not enough memory{said}", "Raise the limit, or run it on a machine with more memory.")


def full(folders: Iterable[Path]) -> Path | None:
    """The first of ``folders`` whose disk is full; None where none is."""
    return next((folder for folder in folders if _space(folder) < LEAST), None)


def disk_full(folder: Path) -> UsageError:
    """The error for a disk that is full."""
    return UsageError(f"{folder}: the disk is full", _room(folder))


def no_temporary_folder() -> UsageError:
    """The error for a process that has nowhere to write what goes again."""
    return UsageError(
        "no temporary folder can be written: neither TMPDIR, nor /tmp, /var/tmp or the working folder", SET_TEMPORARY
    )


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: one in another encoding reaches us as halves of characters."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def not_text(what: str, name: str) -> UsageError:
    """The error for a name that isn't text."""
    import sys

    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8":
        return UsageError(
            f"{what}: {name!a} isn't {encoding}, which this process takes names to be in", "Set LC_ALL=C.UTF-8."
        )
    return UsageError(f"{what}: the name {name!a} isn't text in UTF-8", RENAME)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _of(error: BaseException, where: tuple[Path, ...]) -> MillworkError | None:
    if isinstance(error, OSError):
        number = error.errno or 0
        if number in FULL:
            return _error("disk", error, where)
        if number in (errno.EMFILE, errno.ENFILE):
            return _error("files", error, where)
        if number == errno.ENOMEM:
            return _error("memory", error, where)
        if number == errno.EAGAIN:
            return _error("processes", error, where)
        if isinstance(error.filename, str) and _is_temporary(Path(error.filename)):
            return UsageError(refusal(error), SET_TEMPORARY)
        if number in _DAMAGE:
            return UsageError(refusal(error, where[0] if where else None), "Look at that disk or mount.")
    if isinstance(error, MemoryError) and memory_limited():
        return no_memory()
    if isinstance(error, UnicodeEncodeError) and not is_text(error.object):
        return not_text("a file's name", error.object[:200])
    if isinstance(error, MillworkError):  # its words may be the model's
        return None
    return in_words(str(error), where)


def _error(kind: str, error: BaseException | None, where: tuple[Path, ...]) -> MillworkError:
    if kind == "disk":
        return _disk(error, where)
    if kind == "temporary":
        return no_temporary_folder()
    if kind == "files":
        return MachineError(
            f"too many open files: this process may have {_limit(resource.RLIMIT_NOFILE)}", "Raise ulimit -n."
        )
    if kind == "processes":
        return MachineError(
            f"no more threads or processes can be started: this user may have {_limit(resource.RLIMIT_NPROC)}",
            "Raise ulimit -u, or the container's limit of processes.",
        )
    return no_memory()


def _disk(error: BaseException | None, where: tuple[Path, ...]) -> UsageError:
    """The error for a disk: that which is full, whichever file the system named (of a copy, it names the source)."""
    number, names = (error.errno, (error.filename2, error.filename)) if isinstance(error, OSError) else (None, ())
    named = tuple(Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes))
    folders = (*named, *where, *_usual())
    there = full(folders)
    path = there or folders[0]
    if number == errno.EFBIG or (number is None and there is None and _file_limited()):
        limit = f" ({_limit(resource.RLIMIT_FSIZE)} bytes)" if _file_limited() else ""
        return UsageError(
            f"{folders[0]}: the file would be larger than this process may write{limit}", "Raise ulimit -f."
        )
    if number == errno.EDQUOT:
        return UsageError(f"{path}: the disk quota is used up", _room(path))
    return disk_full(path)


def _usual() -> tuple[Path, ...]:
    try:
        return (Path(tempfile.gettempdir()),)
    except OSError:
        return (Path("/tmp"),)  # noqa: S108 -- looked at, not written


def _is_temporary(path: Path) -> bool:
    """Whether it is a folder or file of ours that should have been made in the temporary folder."""
    return path.parent in _usual() and path.name.startswith(("millwork-", tempfile.gettempprefix()))


def _room(path: Path) -> str:
    temporary = any(path.is_relative_to(folder) for folder in _usual())
    return OTHER_TEMPORARY if temporary else SPACE


def _space(path: Path) -> int:
    """The bytes that are free on the disk of ``path``, or of the nearest folder above it that is there."""
    for folder in (path, *path.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize if found.f_blocks else LEAST
    return LEAST


def _file_limited() -> bool:
    return 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[0] < 1 << 30


def _limit(which: int) -> str:
    limit = resource.getrlimit(which)[0]
    return "as many as it likes" if limit == resource.RLIM_INFINITY else f"{limit:,}"
