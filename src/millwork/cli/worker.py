"""``millwork worker``: one step, JSON in, JSON out. See :mod:`millwork.step_protocol` for the contract."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from ..errors import BY_NAME, InternalError
from ..step_protocol import answer
from ..storage import wire


@click.command()
def worker() -> None:
    """Run one step: {"step": …, "request": …} on stdin, {"ok": …} on stdout.

    For other programs, and to repeat a step by hand: a step's log begins with its call. What the step itself
    prints goes to stderr.
    """
    call = sys.stdin.buffer.read()
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not end up inside the answer
    try:
        given = answer(call)
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
    with contextlib.suppress(BrokenPipeError), os.fdopen(kept, "wb") as pipe:
        pipe.write(wire.encode(given) + b"\n")
    if given.error is not None:
        raise SystemExit(BY_NAME.get(given.error.type, InternalError).exit_code)
