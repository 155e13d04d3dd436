"""What a server of ours takes of the machine: CPU time and memory of all its processes, Python stubs included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil


def cpu_seconds(pid: int) -> float:
    """CPU seconds, user and system, of the server ``pid`` and what it started; 0 where it isn't ours to see."""
    return sum(_seconds(process) for process in _tree(pid))


def memory_bytes(pid: int) -> int:
    """Resident memory, what is shared counted in shares (PSS); 0 where it isn't ours to see."""
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error, OSError):
            total += int(process.memory_full_info().pss)
    return total


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
