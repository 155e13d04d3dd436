"""``millwork worker``: one step, JSON in, JSON out."""

from __future__ import annotations

from .command import command


@command()
def worker() -> int:
    """Run one step: {"step": ..., "request": ...} on stdin, {"ok": ...} on stdout.

    For other programs, and to repeat a step by hand: a step's log begins with its call. What the step itself
    prints goes to stderr.
    """
    from ..commands import worker as workers

    return workers.worker()
