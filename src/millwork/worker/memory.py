"""How much memory there is for a step: the machine's, or what the container or service that we run in may have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

SHARE = 0.8
"""Of what there is, and of what is free, that one step may hold: with more of it others are killed, too."""
LEAST = 1 << 30
"""Bytes that a step may hold however little seems to be free: the kernel frees caches that it doesn't count as free."""
CGROUPS = Path("/sys/fs/cgroup")


def most() -> int:
    """Bytes that a step which reads somebody's model may hold at all."""
    return int(min((psutil.virtual_memory().total, *(limit for limit, _ in _limits()))) * SHARE)


def free() -> int:
    """The same just now, by what others hold."""
    room = (limit - used for limit, used in _limits())
    return max(int(min((psutil.virtual_memory().available, *room)) * SHARE), LEAST)


def _limits() -> Iterator[tuple[int, int]]:
    """(limit, in use) of each cgroup that this process is in and that has a limit. What is in use leaves out the cache
    of files, which the kernel gives up first."""
    for folder, limit, used, cache in _cgroups():
        with contextlib.suppress(OSError, ValueError):
            allowed = (folder / limit).read_text().strip()
            if allowed != "max" and int(allowed) < 1 << 60:
                yield int(allowed), max(int((folder / used).read_text()) - _statistic(folder, cache), 0)


def _cgroups() -> Iterator[tuple[Path, str, str, str]]:
    """Each folder from this process's cgroup up to the root, with the names of its files: of version 2, or 1."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own = Path(path.lstrip("/"))
            if controllers == "":
                names, root = ("memory.max", "memory.current", "inactive_file"), CGROUPS
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                root = CGROUPS / "memory"
            else:
                continue
            for folder in (own, *own.parents):  # in a container the path may be the host's: its root is then ours
                yield (root / folder, *names)


def _statistic(folder: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
