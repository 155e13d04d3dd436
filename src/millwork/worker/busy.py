"""Whether others use the machine while something is measured: their work is in every figure."""

from __future__ import annotations

import os
import time
from pathlib import Path

LOOK_S = 0.25
"""Seconds for which nothing of ours runs, and the machine is looked at."""
SHARE, FEWEST = 0.15, 0.3
"""Of the cores that others keep busy: this share, and at least so many, is said."""


def others() -> str:
    """What others do with the cores just now, in words; empty where they do little, or where it can't be seen."""
    before = _ticks()
    if before is None:
        return ""
    time.sleep(LOOK_S)
    after = _ticks()
    cores = os.cpu_count() or 1
    passed = 0 if after is None else after[1] - before[1]
    if after is None or passed <= 0:
        return ""
    busy = (after[0] - before[0]) / passed * cores
    if busy < max(FEWEST, SHARE * cores):
        return ""
    return (
        f"the machine was busy: other processes kept {busy:.1f} of its {cores} cores at work "
        f"(load {os.getloadavg()[0]:.1f}), so figures may be worse than on a quiet one"
    )


def _ticks() -> tuple[int, int] | None:
    """(busy, all) of the machine's cores since it came up, in ticks: ``cpu`` of /proc/stat, where user and nice have
    the guests' in them already. None where it can't be read."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()
        user, nice, system, idle, wait, *rest = map(int, first[1:9])
    except (OSError, ValueError):
        return None
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + wait
