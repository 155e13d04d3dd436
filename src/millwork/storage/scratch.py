"""Temporary folders that go, however their process ends.

Each lies in the system's temporary folder (TMPDIR) and holds a file ``.held``, locked by whoever uses the folder. The
kernel gives the lock back when its holder dies, even by ``kill -9``; making a folder removes those that nobody holds.
``.held`` is the first thing in a folder and the last to go, so that one whose maker or remover was killed is known. A
folder without it is empty then; or it holds the log of a failed step, which stays for a week.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import MillworkError
from . import opening
from .files import remove_tree

HELD = ".held"
KEPT_S = 7 * 86_400
"""Seconds that a folder without ``.held`` stays which isn't empty."""
_OURS = re.compile(r"millwork-[a-z]+-[a-z0-9_]{8}")


@contextlib.contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """An empty folder (but for ``.held``) for the while, called ``millwork-PURPOSE-…``.

    One that a :class:`MillworkError`'s hint sends its reader to stays: a failed step's log. ``OSError`` where it
    can't be made.
    """
    remove_left()
    path, descriptor = _made(f"millwork-{purpose}-")
    stays = False
    try:
        yield path
    except MillworkError as error:
        stays = str(path) in error.hint
        raise
    finally:
        with contextlib.suppress(OSError):  # a step may have put anything in the place of either
            if stays:
                (path / HELD).unlink(missing_ok=True)  # so that no other process removes it
            else:
                remove_tree(path, HELD)
        os.close(descriptor)


def remove_left() -> None:
    """Remove what processes left that were killed: this user's folders that nobody holds."""
    for held in Path(tempfile.gettempdir()).glob(f"millwork-*/{HELD}"):
        with contextlib.suppress(OSError):  # it is held, or gone meanwhile, or another user's
            descriptor = opening.found(held)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.geteuid():
                    remove_tree(held.parent, HELD)
            finally:
                os.close(descriptor)
    for left in Path(tempfile.gettempdir()).glob("millwork-*"):
        with contextlib.suppress(OSError):
            if _OURS.fullmatch(left.name) and _is_own_folder(left) and not os.path.lexists(left / HELD):
                if time.time() - left.lstat().st_mtime > KEPT_S:
                    remove_tree(left)
                else:
                    left.rmdir()  # an empty one goes at once


def _is_own_folder(path: Path) -> bool:
    there = path.lstat()
    return stat.S_ISDIR(there.st_mode) and there.st_uid == os.geteuid()


def _made(prefix: str) -> tuple[Path, int]:
    """A new folder, and the locked descriptor of its ``.held``."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            descriptor = opening.held(path / HELD, 0o600)
        except FileNotFoundError:  # another process took it for one that was left
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # another process took it for one that was left, before it was locked
