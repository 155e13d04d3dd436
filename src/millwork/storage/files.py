"""Files that are whole or not there: hashes, atomic writes, and what an operating system's refusal means; folders that
a hostile step may have filled: what is too much of one, and its removal.

The functions here raise ``OSError``; who calls them knows which of millwork's errors that is, and
:func:`refusal` says it in words.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from ..values import FileDigest
from . import opening, permissions
from .permissions import Access

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk is full, the quota is used up, or the file would be larger than this process may write."""

MOST_FILES, DEEPEST, LONGEST_NAME = 10_000, 32, 1000
"""What is taken of a step's folder: files and folders, how deep, and the bytes of a path within it."""

_ASTRAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ELOOP})
"""What an operating system says of a link that leads nowhere, whatever it was to be."""

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
    full = error.errno in FULL and isinstance(error.filename2, str)  # of a copy, the disk is the second's
    where = error.filename2 if full else error.filename if isinstance(error.filename, str) else path
    why = _REFUSALS.get(error.errno or 0) or error.strerror or str(error)
    for named in (error.filename, error.filename2, path):
        astray = broken_link(Path(named)) if isinstance(named, str | Path) else ""
        if astray and error.errno in _ASTRAY:
            return astray
    if where is not None and isinstance(error.filename2, str) and not full:
        return f"{where} to {error.filename2}: {why}"
    return f"{where}: {why}" if where is not None else why


def broken_link(path: Path) -> str:
    """``LINK: this is a link to TARGET, which isn't there``: ``path``, or the first folder above it that is one; empty
    where none is."""
    for part in (*reversed(path.parents), path):
        try:
            if part.is_symlink() and not part.exists():
                return f"{part}: this is a link to {part.readlink()}, which isn't there"
        except (OSError, ValueError):
            return ""
    return ""


def exists(path: Path) -> bool:
    """Whether something is there; False, too, for what can't be a path, and where nobody may look."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether a file is there; else as :func:`exists` has it."""
    return exists(path) and path.is_file()


def excess(folder: Path, most_bytes: int) -> str:
    """What is too much, or can't be read, of what a step left in ``folder``, in words that follow "it"; else nothing.

    A file counts by its length, however little of it is on the disk: its reader reads all of that.
    """
    count = size = 0
    waiting = [(folder, 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > DEEPEST:
            return f"left folders more than {DEEPEST} deep"
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    problem = _problem(entry, folder)
                    if problem:
                        return problem
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((Path(entry.path), depth + 1))
                    elif entry.is_file(follow_symlinks=False):
                        size += entry.stat(follow_symlinks=False).st_size
                    if count > MOST_FILES:
                        return f"left more than {MOST_FILES:,} files"
                    if size > most_bytes:
                        return f"left files of more than {most_bytes / 2**30:.1f} GiB"
        except OSError as error:
            return f"left a folder that can't be read: {refusal(error, path)}"
    return ""


def _problem(entry: os.DirEntry[str], folder: Path) -> str:
    """Why a reader of ``folder`` could do nothing with an entry of it."""
    name = os.path.relpath(entry.path, folder)
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return f"left a file whose name isn't text: {os.fsencode(name)[:LONGEST_NAME]!r}"
    if length > LONGEST_NAME:
        return f"left a file whose path is longer than {LONGEST_NAME:,} bytes"
    there = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return f"left {name}, which can't be read" if there and not os.access(entry.path, os.R_OK) else ""


def remove(path: Path) -> None:
    """Remove what is there, of whatever kind: a link itself, not what it points at. ``OSError`` as
    :func:`remove_tree` has it; nothing where there is nothing."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            remove_tree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        pass


def remove_tree(folder: Path, last: str = "") -> None:
    """Remove ``folder`` and all that is in it, however deep. ``OSError`` where something can't be removed; what can be
    is gone. ``last``: what in it goes when all else is gone, so that who finds it after a kill knows the folder.

    A step may nest folders deeper than a path, a stack or the table of open files goes. So a folder that isn't empty is
    moved up into ``folder`` itself, and two are open at most. Links aren't followed.
    """
    top = _own(str(folder))
    try:
        for kept in dict.fromkeys((last, "")):
            removal = _Removal(top, kept)
            while removal.taken:
                removal.taken, removal.problem = 0, None
                removal.clear(top)
            if removal.problem is not None:
                raise removal.problem
    finally:
        os.close(top)
    folder.rmdir()


class _Removal:
    """What a removal has done in its last round: how much it took away or moved up, and what it couldn't."""

    def __init__(self, top: int, kept: str) -> None:
        self.top = top
        self.kept = kept
        self.taken = 1
        self.problem: OSError | None = None
        self._mark = secrets.token_hex(8)  # a name that no step can have taken
        self._moved = 0

    def clear(self, descriptor: int) -> None:
        """Take away what is in an open folder: the top, or one of its own."""
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if descriptor == self.top and entry.name == self.kept:
                    continue
                try:
                    self._take(entry, descriptor)
                    self.taken += 1
                except FileNotFoundError:  # the folder's listing is older than it is
                    pass
                except OSError as error:
                    self.problem = self.problem or error

    def _take(self, entry: os.DirEntry[str], within: int) -> None:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=within)
            return
        try:
            os.rmdir(entry.name, dir_fd=within)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if within != self.top:
            self._move_up(entry.name, within)
            return
        below = _own(entry.name, within)
        try:
            self.clear(below)
        finally:
            os.close(below)
        os.rmdir(entry.name, dir_fd=within)

    def _move_up(self, name: str, within: int) -> None:
        self._moved += 1
        to = f"{self._mark}-{self._moved}"
        try:
            os.rename(name, to, src_dir_fd=within, dst_dir_fd=self.top)
        except PermissionError:  # to be moved, a folder must be writable
            os.chmod(name, stat.S_IRWXU, dir_fd=within)
            os.rename(name, to, src_dir_fd=within, dst_dir_fd=self.top)


def _own(name: str, within: int | None = None) -> int:
    """A folder of this user's, open; made readable and writable where it isn't."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=within)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=within)
        descriptor = os.open(name, flags, dir_fd=within)
    with contextlib.suppress(OSError):
        if os.fstat(descriptor).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(descriptor, stat.S_IRWXU)
    return descriptor


def sha256_file(path: Path) -> str:
    """The sha256 of a regular file's content, 64 hex digits."""
    return opening.sha256(path)


def digest(path: Path, root: Path) -> FileDigest:
    """One file's digest, its path relative to ``root`` with forward slashes."""
    return FileDigest(path=path.relative_to(root).as_posix(), sha256=sha256_file(path), bytes=path.stat().st_size)


def digests(folder: Path) -> tuple[FileDigest, ...]:
    """The digest of every regular file under ``folder``, in the order of their paths."""
    return tuple(digest(path, folder) for path in sorted(folder.rglob("*")) if path.is_file())


def atomic_write(path: Path, content: bytes, like: Access | None = None, *, aside: Path | None = None) -> None:
    """Replace ``path`` by ``content``: a reader, or a machine that comes up again, sees the old file or the new.
    ``like``: whose group and mode it gets; None for those of any new file.

    Written beside it (or in the folder ``aside``, of the same mount), fsynced, renamed, and the folder fsynced. On
    failure (``OSError``) the old file stands and nothing half-written is left; but where it is the folder's fsync that
    failed, the new one is there, and may
    not outlive a power cut.
    """
    beside = (aside or path.parent) / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with beside.open("xb") as file:
            if like is not None:
                permissions.give(file.fileno(), like)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to be told
            beside.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def make_folder(path: Path, like: Access) -> None:
    """Make a folder and those above it, durably, each with the group and the mode of ``like``.

    One that is there is synced too, since who made it may have been killed. A folder above it that this user may not
    read can't be synced, and isn't.
    """
    if not path.parent.exists():
        make_folder(path.parent, like)
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        permissions.correct(path, like)
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
            with opening.opened(path) as file:
                os.fsync(file.fileno())
    fsync_folder(folder)
