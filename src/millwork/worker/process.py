"""One supervised process: its own session, a time and a memory limit, a log, and a pipe for its reply.

The whole session is killed at the end in every case, also when the caller is interrupted; if the caller is killed,
the kernel kills the process (see :mod:`.start`). Memory is watched, not limited by RLIMIT_AS: CUDA reserves address
space far beyond what it uses.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import psutil

from ..errors import MachineError
from ..storage import machine
from ..storage.files import remove_tree
from ..storage.run_directory import LONGEST_LOG
from ..storage.scratch import folder
from ..values import Value
from . import memory

TICK_MS = 50
"""How often memory and time are looked at; a process can outgrow its limit by what it touches in this time."""

EXIT_TICK_MS = 2
"""The same once the reply pipe is closed, when the process is about to end."""

DROPPED = b"\n[... the middle of this log was dropped: the step printed too much ...]\n"

TAIL_BYTES = 4000
TAIL_LINES = 30

LONGEST_REPLY = 128 << 20
"""Bytes that a process may reply with: it may be in a hostile model's hands, and this one keeps them in memory."""

MOST_MEMORY = memory.most()
"""Bytes that a step which reads somebody's model may hold: more of the machine, and others on it are killed too."""

Stopped = Literal["", "time", "memory", "reply"]


class Limits(Value, frozen=True):
    """``seconds``: wall time, start-up included. ``memory_bytes``: resident memory of all its processes together."""

    seconds: float = 600.0
    memory_bytes: int | None = None


USUAL = Limits(memory_bytes=MOST_MEMORY)


class Ending(Value, frozen=True):
    """How a process ended: ``status`` as :mod:`subprocess` gives it (negative: a signal), and what it left.

    ``stopped``: the limit for which it was killed here. ``oom_killed``: the kernel killed some process for want
    of memory while it ran. ``full``: the folder that it wrote to, if its disk was full at the end.
    ``last_bytes`` and ``peak_bytes``: its resident memory, sampled.
    """

    status: int
    stopped: Stopped
    reply: bytes
    log: Path
    log_tail: str
    limits: Limits
    seconds: float
    last_bytes: int
    peak_bytes: int
    oom_killed: bool
    full: Path | None = None


class _Watched:
    """What the watch has seen so far of one process: its reply, its memory, and why it was stopped."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int, printed: BinaryIO) -> None:
        self.process = process
        self.pipe = pipe
        self.printed = printed
        self.reply = bytearray()
        self.last_bytes = 0
        self.peak_bytes = 0
        self.stopped: Stopped = ""


def supervise(
    command: Sequence[str],
    *,
    stdin: bytes,
    log: Path,
    heading: str,
    environment: Mapping[str, str],
    limits: Limits,
) -> Ending:
    """Run ``command`` to its end, or to a limit, in the folder of ``log``; what it prints goes to ``log``.

    The number of the pipe that takes its reply is in its environment as MILLWORK_REPLY_FD; TMPDIR is a folder
    that goes when it ends. ``heading`` is the log's first line and no part of its tail. Raises ``OSError`` where
    the log can't be written or the program can't be started.
    """
    limits = _limits_now(limits)
    kills = _oom_kills()
    with (
        folder("step") as scratch,
        tempfile.TemporaryFile() as given,
        _fresh(log) as printed,
    ):
        given.write(stdin)
        given.seek(0)
        printed.write(f"# {heading}\n".encode())
        printed.flush()
        offset = printed.tell()
        variables = {**environment, "TMPDIR": str(scratch)}
        started = time.monotonic()
        seen = _run(partial(_start, command, variables, given, printed, log.parent), limits, printed)
        seconds = time.monotonic() - started
        tail = _tail(printed, offset)
        full = machine.full((log.parent, scratch))
    return Ending(
        status=seen.process.returncode,
        stopped=seen.stopped,
        reply=bytes(seen.reply),
        log=log,
        log_tail=tail,
        limits=limits,
        seconds=seconds,
        last_bytes=seen.last_bytes,
        peak_bytes=seen.peak_bytes,
        oom_killed=_oom_kills() > kills,
        full=full,
    )


def _limits_now(limits: Limits) -> Limits:
    """The limits by what memory is free, which may be less than anyone may hold. MachineError where nobody could know
    how the process ended: the kernel reaps what is ignored."""
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        raise MachineError(
            "this process ignores SIGCHLD, so that the end of a step can't be waited for",
            "Set it back: signal.signal(signal.SIGCHLD, signal.SIG_DFL).",
        )
    if limits.memory_bytes is None:
        return limits
    return Limits(seconds=limits.seconds, memory_bytes=min(limits.memory_bytes, memory.free()))


def _start(
    command: Sequence[str],
    variables: Mapping[str, str],
    stdin: BinaryIO,
    printed: BinaryIO,
    folder: Path,
    reply: int,
) -> subprocess.Popen[bytes]:
    """The process, in a session of its own. ``reply``: the number of the pipe that takes its reply."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=printed,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**variables, "MILLWORK_REPLY_FD": str(reply)},
        pass_fds=(reply,),
        start_new_session=True,
    )


def _run(start: Callable[[int], subprocess.Popen[bytes]], limits: Limits, printed: BinaryIO) -> _Watched:
    """Run the process that ``start`` starts, given the number of its reply pipe, to its end or to a limit."""
    deadline = time.monotonic() + limits.seconds
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        try:
            process = start(write)
        finally:
            os.close(write)
        seen = _Watched(process, read, printed)
        try:
            _watch(seen, limits, deadline)
        finally:
            _end(process)
        _drain(seen)
        _cut(printed)
    finally:
        os.close(read)
    return seen


def _watch(seen: _Watched, limits: Limits, deadline: float) -> None:
    """Return when the process has ended (it is left for :func:`_end` to reap) or has passed a limit."""
    poller = select.poll()
    poller.register(seen.pipe, select.POLLIN)
    tick = TICK_MS
    while not _ended(seen.process):
        if poller.poll(tick) and _drain(seen):
            poller.unregister(seen.pipe)
            tick = EXIT_TICK_MS
        if len(seen.reply) > LONGEST_REPLY:
            seen.stopped = "reply"
            return
        _weigh(seen)
        _cut(seen.printed, 4 * LONGEST_LOG)
        if limits.memory_bytes is not None and _outgrown(seen, limits.memory_bytes):
            seen.stopped = "memory"
            return
        if time.monotonic() >= deadline and not _ended(seen.process):
            seen.stopped = "time"
            _ask_where(seen.process)
            return


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process is dead, without reaping it: until then its number can't become another's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _drain(seen: _Watched) -> bool:
    """Take what is in the pipe, a little more than the longest reply at most; whether its other end is closed."""
    while len(seen.reply) <= LONGEST_REPLY:
        try:
            chunk = os.read(seen.pipe, 1 << 16)
        except BlockingIOError:
            return False
        if not chunk:
            return True
        seen.reply += chunk
    return False


def _weigh(seen: _Watched) -> None:
    now = sum(_resident(member) for member in _members(seen.process.pid))
    if now:
        seen.last_bytes = now
        seen.peak_bytes = max(seen.peak_bytes, now)


def _outgrown(seen: _Watched, limit: int) -> bool:
    """Whether the session holds more than ``limit`` bytes.

    A sum of resident sizes counts a page shared by two processes twice, so a sum above the limit is looked at
    again by proportional size, which is dear to ask for.
    """
    if seen.last_bytes <= limit:
        return False
    members = _members(seen.process.pid)
    return len(members) == 1 or sum(_proportional(member) for member in members) > limit


def _members(session: int) -> list[int]:
    """The processes of a session: its leader's children and theirs, also those whose parent has gone."""
    found = []
    for process in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(process) == session:
                found.append(process)
    return found


def _resident(member: int) -> int:
    try:
        return int(psutil.Process(member).memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(member: int) -> int:
    try:
        return int(psutil.Process(member).memory_full_info().pss)
    except psutil.Error:
        return 0


def _ask_where(process: subprocess.Popen[bytes]) -> None:
    """Let a hanging process write its stack to the log: Python's fault handler does, in C, on SIGABRT."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGABRT)
    until = time.monotonic() + 1.0
    while not _ended(process) and time.monotonic() < until:
        select.poll().poll(EXIT_TICK_MS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill all that is left of the session, then reap its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for member in _members(process.pid):  # those that made a group of their own
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(member, signal.SIGKILL)
    process.wait()


def _oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, in any cgroup, since it came up.

    ``oom_kill`` in /proc/vmstat (proc(5); since Linux 4.13); 0 where it can't be read.
    """
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _fresh(log: Path) -> BinaryIO:
    """The log, new and open: a step before this one may have put anything in its place."""
    try:
        log.unlink(missing_ok=True)
    except IsADirectoryError:
        remove_tree(log)
    descriptor = os.open(log, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
    return os.fdopen(descriptor, "ab+", buffering=0)


def _cut(printed: BinaryIO, longest: int = LONGEST_LOG + len(DROPPED)) -> None:
    """Drop the middle of a log that is too long: a step may print without an end. What it prints meanwhile comes
    after it."""
    size, half = os.fstat(printed.fileno()).st_size, LONGEST_LOG // 2
    if size <= longest:
        return
    tail = os.pread(printed.fileno(), half, size - half)
    os.ftruncate(printed.fileno(), half)
    os.write(printed.fileno(), DROPPED + tail)


def _tail(printed: BinaryIO, offset: int) -> str:
    """The end of the log, which may be gone from its folder."""
    end = os.fstat(printed.fileno()).st_size
    text = os.pread(printed.fileno(), TAIL_BYTES, max(offset, end - TAIL_BYTES)).decode(errors="replace")
    return "\n".join(text.splitlines()[-TAIL_LINES:])
