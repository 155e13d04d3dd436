"""Runs a server and makes sure that it doesn't outlive its owner. A script of its own: standard library only.

    python -I -S supervisor.py OWNER_PID SHM_PREFIX GRACE_SECONDS COMMAND...

The owner holds the other end of standard input. The server is stopped (SIGTERM, then after GRACE_SECONDS SIGKILL to
its whole group, Python stubs included) when that pipe closes, when the owner dies, however it dies, or on SIGTERM.
Then the shared memory under its prefix is removed. Exits with the server's status, 128 + N for signal N.

Why a process: PR_SET_PDEATHSIG on the server would fire when the *thread* that started it ends, and would leave stubs
and shared memory behind. Here it guards only against a kill of this process itself, which has one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory; Triton names its files itself


def main(arguments: list[str]) -> int:
    owner, prefix, grace, command = int(arguments[0]), arguments[1], float(arguments[2]), arguments[3:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    asked, ask = os.pipe()
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.write(ask, b"!"))
    try:
        owner_end = os.pidfd_open(owner)
    except ProcessLookupError:
        return 0
    server = _start(command)
    server_end = os.pidfd_open(server)
    if os.getppid() == owner:  # else the owner died before its pid was opened, and that pid may be another's
        select.select([sys.stdin.fileno(), owner_end, asked, server_end], [], [])
    return _end(server, server_end, grace, prefix)


def _start(command: list[str]) -> int:
    """The server's pid; it leads a session and a process group of its own."""
    supervisor = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        os.setsid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _end(server: int, server_end: int, grace: float, prefix: str) -> int:
    """Stop what still runs of the server's group, and remove its shared memory."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
    select.select([server_end], [], [], grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server, signal.SIGKILL)  # not yet waited for, so the number is still this group's
    _, status = os.waitpid(server, 0)
    for path in SHARED_MEMORY.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
