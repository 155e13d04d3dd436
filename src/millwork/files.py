"""Files that are whole or not there: hashes, atomic writes, and what an operating system's refusal means.

The functions here raise ``OSError``; who calls them knows which of millwork's errors that is, and
:func:`refusal` says it in words.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from pathlib import Path

from .values import FileDigest

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, the quota is used up, or the file would be larger than this process may write."""

_REFUSALS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this process may write",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.EEXIST: "there is a file of that name already",
    errno.ENAMETOOLONG: "the name is too long",
}


def refusal(error: OSError, path: Path | None = None) -> str:
    """``PATH: what the operating system refused``, for a user; the path is the error's own where it has one."""
    where = error.filename if isinstance(error.filename, str) else path
    why = _REFUSALS.get(error.errno or 0) or error.strerror or str(error)
    return f"{where}: {why}" if where is not None else why


def exists(path: Path) -> bool:
    """Whether something is there; False, too, for what can't be a path, and where nobody may look."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a file is there; else as :func:`exists` has it."""
    return exists(path) and path.is_file()


def read_limited(path: Path, limit: int) -> bytes:
    """The file's bytes; ``OSError`` where there are more than ``limit``, or it isn't a regular file."""
    # a pipe that nobody writes to would block here for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "this is not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EINVAL, f"larger than the {limit:,} bytes that are read of such a file", str(path))
    return content


def sha256_file(path: Path) -> str:
    """The sha256 of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path, root: Path) -> FileDigest:
    """One file's digest, its path relative to ``root`` with forward slashes."""
    return FileDigest(path=path.relative_to(root).as_posix(), sha256=sha256_file(path), bytes=path.stat().st_size)


def digests(folder: Path) -> tuple[FileDigest, ...]:
    """The digest of every regular file under ``folder``, in the order of their paths."""
    return tuple(digest(path, folder) for path in sorted(folder.rglob("*")) if path.is_file())


def atomic_write(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``: a reader, or a machine that comes up again, sees the old file or the new.

    Written beside it, fsynced, renamed, and the folder fsynced. On failure (``OSError``) the old file stands
    and nothing half-written is left; but where it is the folder's fsync that failed, the new one is there, and may
    not outlive a power cut.
    """
    beside = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to be told
            beside.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably.

    One that is there is synced too, since who made it may have been killed. A folder above it that this user may not
    read can't be synced, and isn't.
    """
    if not path.parent.exists():
        make_folder(path.parent)
    path.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder (what a rename or a new file changed) outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Fsync every file and folder under ``folder``, and itself: to be done before the rename that publishes it."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            fsync_folder(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    fsync_folder(folder)
