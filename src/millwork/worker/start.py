"""What a worker's process runs first, as a script: bind its life to its parent's, then do its work.

    start.py PARENT step [EXTRA]              a step: the call comes on stdin, the answer goes to the reply pipe
    start.py PARENT script PATH ARGUMENT …    a script of its own, which writes to the reply pipe itself

Where MILLWORK_SANDBOX says what it may read and write, it is confined to that first (see :mod:`.sandbox`).

Standard library only until the work begins: the interpreter may be one that has neither millwork nor msgspec, and
may be older than the one that millwork runs on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import runpy
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
REPLY = "MILLWORK_REPLY_FD"
SANDBOX = "MILLWORK_SANDBOX"
"""JSON: the paths that may be read, those that may be written to as well, and whether the work is on a GPU."""
LARGEST_FILE = 16 << 30
"""Bytes of a file that a confined process may make: one with holes costs no disk, and whoever reads it for ever."""
COLLECT_EVERY = 100_000
"""Objects more, and a step looks for cycles; Python has 700, which importing torch comes by hundreds of times."""


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


def confine() -> None:
    """Enter the sandbox, where one is asked for. The temporary folder is its own, too."""
    asked = os.environ.pop(SANDBOX, "")
    if not asked:
        return
    limit_files()
    read, write, gpu = json.loads(asked)
    names = runpy.run_path(str(Path(__file__).with_name("sandbox.py")))
    os.environ["JOBLIB_MULTIPROCESSING"] = "0"  # its semaphores are shared memory, which others could open
    names["confine"](read, [*write, os.environ["TMPDIR"]], gpu=gpu)


def limit_files() -> None:
    """No file larger than LARGEST_FILE: Python ignores the signal, so that whoever writes on is told EFBIG."""
    lower = [
        LARGEST_FILE if limit == resource.RLIM_INFINITY else min(limit, LARGEST_FILE)
        for limit in resource.getrlimit(resource.RLIMIT_FSIZE)
    ]
    resource.setrlimit(resource.RLIMIT_FSIZE, (lower[0], lower[1]))


def step(extra: str | None) -> None:
    """Answer the call on stdin, then leave at once: a native library's own clean-up can hang or crash."""
    gc.set_threshold(COLLECT_EVERY)
    from millwork.step_protocol import answer
    from millwork.storage import wire

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
    confine()
    if form == "step":
        step(rest[0] if rest else None)
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
