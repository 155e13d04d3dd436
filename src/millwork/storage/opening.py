"""The one way to a file by its name: it is a regular file, nothing waits for it, and as much is read as is allowed.

What lies at a path may have been put there by somebody else. A pipe that nobody writes to would be waited for without
an end, a link where we write leads to another's file, a file of holes takes hours to read. So what is cheap is asked
first: what kind of thing it is, then its size, and only then its content. To be read, links are followed: a user's file
may be one. What we write is never written through one.

The functions raise ``OSError`` with the reason in words (:func:`millwork.storage.files.refusal` tells them).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from io import BufferedRandom, BufferedReader
from pathlib import Path

LONGEST_NOTE = 256 << 20
"""Bytes that are read of a file of ours that somebody else may have changed: a record, a marker, a step's answer."""
ANY_SIZE = 1 << 62

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
)
_DESCRIPTORS = re.compile(r"/proc/(self|thread-self|\d+)(/task/\d+)?/fd")
_MOST_LINKS = 40
_BLOCK = 1 << 20


OF_A_PROCESS = "an open file of one process"
"""What ``/dev/stdin`` is: a step, which is another process, has another one there."""


def not_regular(what: str) -> str:
    """Why a file isn't read: ``what`` it is."""
    return f"this is not a regular file, but {what}"


def odd(path: Path) -> str:
    """What is at ``path``, in words, where that is neither a file nor a folder: a pipe, a device, a socket, an open
    file of this process. Empty for those, and where nothing is there."""
    if of_a_process(path):
        return OF_A_PROCESS
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return ""
    return "" if stat.S_ISDIR(mode) else kind(mode)


def kind(mode: int) -> str:
    """What isn't a regular file, in words: ``a pipe``; empty for one."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "")


def of_a_process(path: Path) -> bool:
    """Whether ``path`` is a file only for the process that asks, such as ``/dev/stdin``: a step of ours has another."""
    for _ in range(_MOST_LINKS):
        try:
            if _DESCRIPTORS.fullmatch(str(path.parent.resolve())):
                return True
            if not path.is_symlink():
                return False
            path = path.parent / path.readlink()
        except (OSError, ValueError, RuntimeError):
            return False
    return False


def opened(path: Path, limit: int = ANY_SIZE) -> BufferedReader:
    """The file, open to be read; ``OSError`` where it isn't a regular file, or has more than ``limit`` bytes."""
    if of_a_process(path):
        raise OSError(errno.EINVAL, not_regular(OF_A_PROCESS), str(path))
    _require_regular(path.stat().st_mode, path)  # a device may act on being opened
    descriptor = os.open(path, _READ)
    try:
        found = os.fstat(descriptor)
        _require_regular(found.st_mode, path)
        if found.st_size > limit:
            raise _too_large(path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_limited(path: Path, limit: int = LONGEST_NOTE) -> bytes:
    """The file's bytes; ``OSError`` where there are more than ``limit``, or it isn't a regular file."""
    with opened(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, limit) + 1)
        while size < len(content) <= limit and (more := file.read(_BLOCK)):  # it grows
            content += more
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def read_text(path: Path, limit: int = LONGEST_NOTE, errors: str = "strict") -> str:
    """The same as text in UTF-8; ``UnicodeDecodeError`` where it isn't that."""
    return read_limited(path, limit).decode(errors=errors)


def read_ends(path: Path, limit: int) -> bytes:
    """A regular file's bytes; of one that has more than ``limit``, so many of its beginning and its end."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            return file.read(limit)
        begin = file.read(limit // 2)
        file.seek(size - limit // 2)
        return begin + b"\n[...]\n" + file.read(limit // 2)


def sha256(path: Path, limit: int = ANY_SIZE) -> str:
    """The sha256 of a file's content, 64 hex digits; ``OSError`` where it has more than ``limit`` bytes, before any of
    them is read."""
    with opened(path, limit) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def held(path: Path, mode: int = 0o666) -> int:
    """A lock's file, or a note's, open to be read and written, and made where there is none; its content stays. No link
    is followed, nor a second name of another file taken."""
    with contextlib.suppress(FileNotFoundError):
        _require_own(os.lstat(path), path)
    return _own(path, os.O_CREAT, mode)


def found(path: Path) -> int:
    """The same of one that is there; ``FileNotFoundError`` where there is none."""
    _require_own(os.lstat(path), path)
    return _own(path)


def _own(path: Path, more: int = 0, mode: int = 0) -> int:
    descriptor = os.open(path, _WRITE | more, mode)
    try:
        _require_own(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def overwritten(path: Path) -> BufferedRandom:
    """A file of ours, empty and open to be written, whatever regular file was there."""
    descriptor = held(path)
    try:
        os.ftruncate(descriptor, 0)
        return os.fdopen(descriptor, "r+b")
    except BaseException:
        os.close(descriptor)
        raise


def write(path: Path, content: bytes) -> None:
    """A file of ours with that content. Where a reader must see the old one or the new:
    :func:`millwork.storage.files.atomic_write`."""
    with overwritten(path) as file:
        file.write(content)


def _require_regular(mode: int, path: Path) -> None:
    what = kind(mode)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if what:
        raise OSError(errno.EINVAL, not_regular(what), str(path))


def _require_own(found: os.stat_result, path: Path) -> None:
    """``OSError`` for what isn't a file of its own: another's content would be cut."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, f"this is a link to {path.readlink()}; millwork writes through none", str(path))
    _require_regular(found.st_mode, path)
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "this is a second name of another file; millwork writes to none", str(path))


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EINVAL, f"the file is larger than the limit of {limit:,} bytes", str(path))
