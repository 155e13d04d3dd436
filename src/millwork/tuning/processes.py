"""What a server of ours takes of the machine: CPU time and memory of all its processes, Python stubs included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, of the server ``pid`` and what it started; 0 where it isn't ours to see."""
    return sum(_seconds(process) for process in _tree(pid))


def memory(pid: int) -> dict[int, int]:
    """Resident bytes of each of the server's processes, what is shared counted in shares (PSS); empty where it isn't
    ours to see."""
    found: dict[int, int] = {}
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error, OSError):
            found[process.pid] = int(process.memory_full_info().pss)
    return found


def added(before: dict[int, int], after: dict[int, int], pid: int) -> int:
    """What a model took that was loaded between: its own processes, and what the server itself grew by."""
    own = sum(size for process, size in after.items() if process not in before)
    return own + max(after.get(pid, 0) - before.get(pid, 0), 0)


def _tree(pid: int) -> Iterator[psutil.Process]:
    if not pid:
        return
    with contextlib.suppress(psutil.Error):
        server = psutil.Process(pid)
        yield server
        yield from server.children(recursive=True)


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended meanwhile
        return 0.0
    return float(times.user + times.system)


def alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
