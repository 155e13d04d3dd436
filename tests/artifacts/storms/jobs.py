"""Many commands at once on one repository: real processes, some of which die of a signal.

Forked from one process that has imported everything, each runs the command line as a shell would start it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from storms.known import SIGNED, Known
from storms.plan import ROLLBACK, SILENT, Job

from millwork import interrupts

SAID = 1 << 16
BEAT_S = 0.004
STARTED_S = {False: 0.5, True: 2.5}
"""What a command takes, until one has ended: forked, and a process of its own."""
FORGETS = 0.8
SILENCE_S = 3.0
"""How long a server that falls silent is waited for."""
SIGNALLED = 128
HELD = (signal.SIGINT, signal.SIGTERM)
TOO_LONG_S = 150.0
"""A command that still runs then gets SIGKILL, and is told as one that hung."""


@dataclass(frozen=True)
class Ended:
    """``code``: the exit code, or minus the signal. ``version``: the one that it says it published or went back to."""

    job: Job
    began: float
    ended: float
    code: int
    version: int | None
    said: str

    @property
    def words(self) -> str:
        return f"{self.job.words} -> {self.code}: {' '.join(self.said.split())[-300:]}"


@dataclass
class Running:
    job: Job
    pid: int
    pipe: int
    began: float
    dies_at: float


@dataclass
class Yard:
    """``arguments``: the command line of a job. ``each``: called between two looks at the processes."""

    arguments: Callable[[Job], list[str]]
    together: int = 8
    each: Callable[[], None] = lambda: None
    ended: list[Ended] = field(default_factory=list)
    usual: dict[tuple[str, bool], float] = field(default_factory=dict)

    def run(self, jobs: Iterator[Job]) -> list[Ended]:
        """All ``jobs``, so many at a time; how each ended."""
        running: list[Running] = []
        waiting: Job | None = next(jobs, None)
        try:
            while waiting is not None or running:
                while waiting is not None and len(running) < self.together:
                    running.append(self._start(waiting))
                    waiting = next(jobs, None)
                running = [one for one in running if not self._look(one)]
                self.each()
                time.sleep(BEAT_S)
        finally:
            for one in running:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
        return self.ended

    def _start(self, job: Job) -> Running:
        reads, writes = os.pipe()
        os.set_blocking(reads, False)
        began = time.monotonic()
        words = self.arguments(job)
        pid = _spawned(words, writes) if job.real else _forked(words, writes, job.limit)
        os.close(writes)
        usual = self.usual.get((job.kind, job.real), STARTED_S[job.real])
        return Running(job, pid, reads, began, began + usual * job.after if job.doom else float("inf"))

    def _look(self, one: Running) -> bool:
        """Whether it has ended; else it gets its signal when its time has come. It can't be another process: only
        here it is waited for."""
        pid, status = os.waitpid(one.pid, os.WNOHANG)
        now = time.monotonic()
        if not pid:
            if now >= one.dies_at:
                os.kill(one.pid, one.job.doom)
                one.dies_at = float("inf")
            if now - one.began > TOO_LONG_S:
                os.kill(one.pid, signal.SIGKILL)
            return False
        said = _read(one.pipe)
        code = os.waitstatus_to_exitcode(status)
        found = re.findall(rf"version (\d+) of {one.job.name}\b", said) if code == 0 else []
        self.ended.append(Ended(one.job, one.began, now, code, int(found[-1]) if found else None, said))
        if not one.job.doom:
            key = one.job.kind, one.job.real
            self.usual[key] = FORGETS * self.usual.get(key, now - one.began) + (1 - FORGETS) * (now - one.began)
        return True


def arguments(known: Known, repository: str, servers: Callable[[Job], str]) -> Callable[[Job], list[str]]:
    """The command line of a job. ``servers``: which --triton it names."""

    def words(job: Job) -> list[str]:
        to = ["--repository", repository, "--triton", servers(job)]
        if job.kind == SILENT:
            to += ["--verify-timeout", str(SILENCE_S)]
        if job.kind == ROLLBACK:
            return ["rollback", "--name", job.name, *to]
        signed = ["--sign", str(known.key)] if job.name == SIGNED else []
        return ["publish", str(known.run(job.name, job.variant)), *to, *signed, "--millwork-backend"]

    return words


def _spawned(words: list[str], pipe: int) -> int:
    program = str(Path(sys.executable).with_name("millwork"))
    process = subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    process.returncode = 0  # it is waited for by its number
    return process.pid


def _forked(words: list[str], pipe: int, limit: int) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # what comes at once mustn't find the child in its parent's code
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        return pid
    code = 1
    try:
        code = _in_child(words, pipe, limit)
    finally:
        os._exit(code)


def _in_child(words: list[str], pipe: int, limit: int) -> int:
    """The exit code of the command, signals held again."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        for descriptor in (1, 2):
            os.dup2(pipe, descriptor)
        if limit >= 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = _command(words)
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    except KeyboardInterrupt as stop:  # before the command had begun, or once it had ended
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        code = SIGNALLED + interrupts.number_of(stop)
    except BaseException:  # noqa: BLE001 -- mustn't run its parent's code
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _command(words: list[str]) -> int:
    """As the program ``millwork`` begins and ends."""
    from millwork.cli import app

    sys.argv = ["millwork", *words]
    try:
        app.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _read(pipe: int) -> str:
    """What the process said; one that it left behind may still hold the pipe, and isn't waited for."""
    said = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(pipe, SAID):
            said += part
    os.close(pipe)
    return said.decode(errors="replace")


def import_everything(words: list[str]) -> None:
    """Import here what the command imports, by letting a child run it and say what it has imported."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        before = set(sys.modules)
        with contextlib.suppress(BaseException):
            _command(words)
        os.write(writes, "\n".join(name for name in sys.modules if name not in before).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as names:
        for name in names.read().split():
            with contextlib.suppress(Exception):
                __import__(name)
    os.waitpid(pid, 0)
