"""A lock on a file that stays where it is: its name never appears or goes while a server lists the folder.

The lock is the operating system's (flock): it is free the moment its holder dies, and the same for everyone who opens
the file, by whatever mount.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from ...storage import opening

TICK_S = 0.05
"""How often a waiting publisher looks."""


class LockTimeoutError(Exception):
    """Another process held the lock for all of the time."""


class FileLock:
    """The lock of ``path``, a file that is made where there is none. ``OSError`` where it can't be opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self, timeout: float) -> None:
        """Wait for the lock so many seconds; :class:`LockTimeoutError` where it isn't free by then."""
        descriptor = opening.held(self.path)
        deadline = time.monotonic() + timeout
        try:
            while not _taken(descriptor):
                if time.monotonic() >= deadline:
                    raise LockTimeoutError(str(self.path))
                time.sleep(TICK_S)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def is_taken(self) -> bool:
        """Whether somebody holds it now. Nothing is made or changed; ``OSError`` where it can't be opened."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
            raise
        finally:
            os.close(descriptor)
        return False

    def release(self) -> None:
        """Give the lock back. The file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
