"""What is made in a folder is readable as the folder itself says: its group, and its mode, whatever the umask.

A folder's mode stands for what its owner wants: who may go in and read, and who may write. A new folder gets that mode,
and a new file the same but for the bits that go into folders. Both get its group, and its owner where this user may
give files away (root). Access control lists aren't looked at.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from ..values import Value

FOLDER_BITS, FILE_BITS, NOTE_BITS = 0o2777, 0o664, 0o666
"""Of the folder's mode: what a folder gets, a file, and a file that every publisher writes."""
_IN_VAIN = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What says that this user, or this file system, can't give a file that owner or mode: it stays as it is."""


class Access(Value):
    """Who may do what with a folder. ``mode``: its permission bits."""

    uid: int
    gid: int
    mode: int

    def bits(self, gid: int, wanted: int) -> int:
        """The mode of what is made in it, out of ``wanted``. Of a file that isn't its group's, the group is as much a
        stranger as all others."""
        mode = self.mode & wanted
        if gid != self.gid:
            mode = (mode & ~0o2070) | (mode & 0o007) << 3
        return mode


def of(folder: Path) -> Access:
    """Who may do what with ``folder``; ``OSError`` where it can't be looked at."""
    return _access(folder.stat())


def nearest(folder: Path) -> Access:
    """The same, for a folder that is to be made: of the nearest above it that is there, and readable as the umask has
    it, too. Where only their owners may take folders away (``/tmp``), others don't write into ours."""
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    found = above.stat()
    mode = found.st_mode & (0o2755 if found.st_mode & stat.S_ISVTX else 0o2775)
    return Access(uid=found.st_uid, gid=found.st_gid, mode=mode | 0o755 & ~_umask())


def give(descriptor: int, like: Access, wanted: int | None = None) -> None:
    """Give an open file or folder the group and the mode of ``like``, as far as this user may. ``wanted``: of a file,
    which bits; by default those of any file."""
    now = os.fstat(descriptor)
    is_folder = stat.S_ISDIR(now.st_mode)
    uid = like.uid if os.geteuid() == 0 else now.st_uid
    if (now.st_uid, now.st_gid) != (uid, like.gid):
        with _allowed():
            os.fchown(descriptor, uid if uid != now.st_uid else -1, like.gid)
            now = os.fstat(descriptor)
    own = stat.S_IRWXU if is_folder else stat.S_IRUSR | stat.S_IWUSR
    mode = own | like.bits(now.st_gid, FOLDER_BITS if is_folder else wanted or FILE_BITS)
    if stat.S_IMODE(now.st_mode) != mode:
        with _allowed():
            os.fchmod(descriptor, mode)


def give_tree(folder: Path, like: Access) -> None:
    """The same for ``folder`` and all that is in it. Links stay as they are."""
    for path in (folder, *sorted(folder.rglob("*"))):
        if not path.is_symlink():
            with _opened(path) as descriptor:
                give(descriptor, like)


def correct(folder: Path, like: Access) -> None:
    """The same for a folder of ours that is there; one that is somebody else's stays as it is."""
    with contextlib.suppress(PermissionError), _opened(folder) as descriptor:
        give(descriptor, like)


def touch(path: Path, like: Access) -> None:
    """Make an empty file that whoever may write into the folder may write."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            give(descriptor, like, NOTE_BITS)
        finally:
            os.close(descriptor)


def unreadable(folder: Path, like: Access) -> str:
    """What in ``folder`` isn't readable for everyone who may read where ``like`` was taken, in words; empty where all
    is."""
    return next(filter(None, (unreadable_part(path, like) for path in (folder, *sorted(folder.rglob("*"))))), "")


def unreadable_part(path: Path, like: Access) -> str:
    """The same of a file, or of a folder without what is in it."""
    found = path.stat()
    who = lacks(like, _access(found), folder=stat.S_ISDIR(found.st_mode))
    mode = f"mode {stat.S_IMODE(found.st_mode):o}, group {_group(found.st_gid)}"
    return f"{path} ({mode}) can't be read by {who}" if who else ""


def lacks(like: Access, found: Access, *, folder: bool) -> str:
    """Who may read ``like`` and can't read ``found``; empty where there is nobody."""
    need = 0o5 if folder else 0o4

    def reads(shift: int, access: Access = found) -> bool:
        return access.mode >> shift & need == need

    def passes(shift: int) -> bool:
        return like.mode >> shift & 0o5 == 0o5

    if passes(0) and not (reads(0) and reads(3)):
        return "everyone"
    if passes(3) and not reads(3 if found.gid == like.gid else 0):
        return f"the group {_group(like.gid)}"
    if like.uid not in (0, found.uid) and not reads(3 if _member(like.uid, found.gid) else 0):
        return f"the user {_user(like.uid)}"
    return ""


def foreign_owner(path: Path) -> str:
    """The name of the user to whom ``path`` belongs, where that isn't this one; else nothing."""
    try:
        uid = path.lstat().st_uid
    except OSError:
        return ""
    return "" if uid == os.geteuid() else _user(uid)


def of_others(folder: Path) -> str:
    """Who else may write to a folder that this user runs things from, in words; empty where nobody may, or it isn't
    there. Root may use a user's own."""
    try:
        found = folder.stat()
    except OSError:
        return ""
    if found.st_mode & 0o002:
        return "everybody may write to it"
    if found.st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        return f"it belongs to {_user(found.st_uid)}"
    return ""


def foreseen(like: Access) -> str:
    """Who could not read what this user makes for ``like``, before anything is made; empty where everyone could."""
    ours = os.geteuid()
    if ours == 0:
        return ""
    gid = like.gid if like.gid in (os.getegid(), *os.getgroups()) else os.getegid()
    made = Access(uid=ours, gid=gid, mode=0o600 | like.bits(gid, FILE_BITS))
    return lacks(like, made, folder=False)


def _access(found: os.stat_result) -> Access:
    return Access(uid=found.st_uid, gid=found.st_gid, mode=stat.S_IMODE(found.st_mode))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _allowed() -> Iterator[None]:
    """What this user or this file system can't do is left undone; :func:`unreadable` finds it where it matters."""
    try:
        yield
    except OSError as error:
        if error.errno not in _IN_VAIN:
            raise


def _umask() -> int:
    """This process's, without changing it for other threads in the meantime; the strictest where it can't be read."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o077


def _member(uid: int, gid: int) -> bool:
    """Whether a user is in a group; True for one whom this machine doesn't know."""
    try:
        user = pwd.getpwuid(uid)
        return gid in os.getgrouplist(user.pw_name, user.pw_gid)
    except (KeyError, OSError):
        return True


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
