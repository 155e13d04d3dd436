"""What a worker's process runs first, as a script: bind its life to its parent's, then do its work.

    start.py PARENT step [EXTRA]              a step: the call comes on stdin, the answer goes to the reply pipe
    start.py PARENT script PATH ARGUMENT …    a script of its own, which writes to the reply pipe itself

Standard library only until the work begins: the interpreter may be one that has neither millwork nor msgspec, and
may be older than the one that millwork runs on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
REPLY = "MILLWORK_REPLY_FD"


def bind(parent: int) -> None:
    """Die when ``parent`` does, even by ``kill -9``.

    The kernel sends the signal only for a death that comes after the call, so look at once whether the parent
    is still the one that started this process. (It is sent when the *thread* that started this process ends, too:
    that thread waits for it.) No core file either: a crash here is an everyday answer.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def step(extra: str | None) -> None:
    """Answer the call on stdin, then leave at once: a native library's own clean-up can hang or crash."""
    from pathlib import Path

    from millwork import wire
    from millwork.steps import answer

    descriptor = int(os.environ[REPLY])
    os.set_inheritable(descriptor, False)  # so that a grandchild can't hold the pipe open
    if extra is not None:
        sys.path.insert(0, extra)
    call = sys.stdin.buffer.read()
    reply = wire.encode(answer(call, extra=None if extra is None else Path(extra)))
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(reply)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Run as the module's docstring says."""
    parent, form, *rest = arguments
    bind(int(parent))
    if form == "step":
        step(rest[0] if rest else None)
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
