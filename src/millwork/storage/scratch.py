"""Temporary folders that go, however their process ends.

Each lies in the system's temporary folder (TMPDIR) and holds a file ``.held``, locked by whoever uses the folder. The
kernel gives the lock back when its holder dies, even by ``kill -9``; making a folder removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import MillworkError
from .files import remove_tree

HELD = ".held"


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
                remove_tree(path)
        os.close(descriptor)


def remove_left() -> None:
    """Remove what processes left that were killed: this user's folders that nobody holds."""
    for held in Path(tempfile.gettempdir()).glob(f"millwork-*/{HELD}"):
        with contextlib.suppress(OSError):  # it is held, or gone meanwhile, or another user's
            descriptor = os.open(held, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.geteuid():
                    remove_tree(held.parent)
            finally:
                os.close(descriptor)


def _made(prefix: str) -> tuple[Path, int]:
    """A new folder, and the locked descriptor of its ``.held``."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        descriptor = os.open(path / HELD, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # another process took it for one that was left, before it was locked
