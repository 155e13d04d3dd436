"""``worker``: one step, JSON in, JSON out. See :mod:`millwork.step_protocol` for the contract."""

from __future__ import annotations

import contextlib
import os
import sys

from ..errors import BY_NAME, InternalError
from ..step_protocol import answer
from ..storage import wire


def worker() -> int:
    """Read the call from stdin, run the step, and write its answer to stdout; the exit code."""
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
    return 0 if given.error is None else BY_NAME.get(given.error.type, InternalError).exit_code
