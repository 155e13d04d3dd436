"""What is around a storm, each in a process of its own: a server that falls silent, a store that fails, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models import s3

CHUNK = 65536
BEAT_S = 0.05
START_S = 90.0
FAULTS = (*s3.FAULTS, "429 before", "503 before")
LEFT = 4096
"""Bytes that a full disk has left."""


@dataclass
class Helper:
    """A forked process that works until it is told that all is over."""

    pid: int
    over: Path

    def end(self) -> None:
        """Wait for its end; AssertionError where it failed."""
        self.over.touch()
        _, status = os.waitpid(self.pid, 0)
        if code := os.waitstatus_to_exitcode(status):
            raise AssertionError(f"{self.over.name}: a helper of the storm ended with {code}")


@contextlib.contextmanager
def helper(folder: Path, name: str, work: Callable[[Callable[[], bool]], None]) -> Iterator[Helper]:
    """``work`` in a forked process; it is given what says that all is over."""
    over = folder / f"{name}.over"
    pid = os.fork()
    if not pid:
        code = 0
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            work(over.exists)
        except BaseException:  # noqa: BLE001 -- the end of a forked child
            traceback.print_exc()
            code = 1
        finally:
            sys.stderr.flush()
            os._exit(code)
    started = Helper(pid, over)
    try:
        yield started
    finally:
        started.end()


def told(path: Path) -> dict[str, int]:
    """What a helper writes once it is ready."""
    until = time.monotonic() + START_S
    while not path.exists():
        if time.monotonic() > until:
            raise AssertionError(f"{path.stem}: not ready after {START_S:.0f} s")
        time.sleep(BEAT_S)
    said: dict[str, int] = json.loads(path.read_text())
    return said


def tell(path: Path, said: dict[str, int]) -> None:
    making = path.with_suffix(".making")
    making.write_text(json.dumps(said))
    making.rename(path)


# ── a server that falls silent ────────────────────────────────────────────────────────────────────────────


def silent_proxy(target: int, seed: int, ready: Path, over: Callable[[], bool]) -> None:
    """Pass connections to port ``target`` on; each falls silent for good after a few pieces that were sent up. Says its
    port in ``ready``, and at the end how many fell silent."""
    rng = random.Random(seed)
    silenced = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(BEAT_S)
        tell(ready, {"port": listening.getsockname()[1]})
        while not over():
            try:
                client, _ = listening.accept()
            except TimeoutError:
                continue
            server = socket.create_connection(("127.0.0.1", target))
            silent, after = threading.Event(), rng.randint(2, 16)
            silenced.append(silent)
            for source, sink, up in ((client, server, after), (server, client, 0)):
                threading.Thread(target=_pump, args=(source, sink, silent, up), daemon=True).start()
    tell(ready, {"port": 0, "silenced": sum(silent.is_set() for silent in silenced)})


def _pump(source: socket.socket, sink: socket.socket, silent: threading.Event, after: int) -> None:
    """``after``: silent after so many pieces; 0: never by this direction."""
    pieces = 0
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            pieces += 1
            if after and pieces > after:
                silent.set()
            if not silent.is_set():
                sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


# ── a store that fails ────────────────────────────────────────────────────────────────────────────────────


def failing_store(folder: Path, seed: int, share: float, ready: Path, over: Callable[[], bool]) -> None:
    """A real S3 server, and a proxy before it at which ``share`` of the requests meet a fault. Says both ports."""
    rng = random.Random(seed)
    folder.mkdir()
    met = [0]

    def fault(_: int) -> str:
        if rng.random() >= share:
            return ""
        met[0] += 1
        return rng.choice(FAULTS)

    with s3.served(folder) as direct, s3.proxied(direct) as proxy:
        proxy.choose = fault
        tell(ready, {"direct": direct, "faulty": proxy.port})
        while not over():
            time.sleep(BEAT_S)
        tell(ready, {"direct": direct, "faulty": proxy.port, "requests": proxy.seen, "faults": met[0]})


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────────────


class Disk:
    """A small disk of its own, full for a moment now and then. ``look`` is called all the time."""

    def __init__(self, folder: Path, seed: int, megabytes: int, every_s: float) -> None:
        self.folder, self.every_s = folder, every_s
        self.rng = random.Random(seed)
        self.filler = folder / "filler"
        self.full = 0
        self.changes_at = time.monotonic() + every_s
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)], check=True)

    def look(self) -> None:
        if time.monotonic() < self.changes_at:
            return
        if self.filler.exists():
            self.empty()
            self.changes_at = time.monotonic() + self.rng.uniform(0.5, 1.5) * self.every_s
            return
        self.full += 1
        with contextlib.suppress(OSError), self.filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(self.folder).free - LEFT))
        self.changes_at = time.monotonic() + self.rng.uniform(0.1, 0.8)

    def empty(self) -> None:
        self.filler.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


def may_mount() -> bool:
    """Whether this process may make such a disk."""
    if os.geteuid() or shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return not subprocess.run(tried, capture_output=True, check=False).returncode
