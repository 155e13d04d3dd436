"""The shared memory of servers: whose a file in /dev/shm is, by its name, and removing what dead owners left.

A server's prefix holds the process namespace and the pid of its owner: containers may share one /dev/shm, and
a pid of one means nothing in another.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from .supervisor import SHARED_MEMORY

_NAME = re.compile(r"millwork_(?P<namespace>\d+)_(?P<pid>\d+)_[0-9a-f]{8}_")


def prefix() -> str:
    """A prefix for one server that this process owns."""
    return f"millwork_{_namespace()}_{os.getpid()}_{secrets.token_hex(4)}_"


def remove(own: str) -> None:
    """Remove what lies under one server's prefix."""
    for path in SHARED_MEMORY.glob(f"{own}*"):
        path.unlink(missing_ok=True)


def remove_stale() -> None:
    """Remove what the servers of dead owners left behind: a machine that lost power, a killed supervisor."""
    for path in SHARED_MEMORY.glob("millwork_*"):
        name = _NAME.match(path.name)
        if name and int(name["namespace"]) == _namespace() and not Path("/proc", name["pid"]).exists():
            with contextlib.suppress(OSError):  # another user's, or gone meanwhile
                path.unlink()


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
