"""Clients that ask a served model all the time, while versions come and go, and a judge of what they were answered.

A version's answers are known beforehand. A request may be answered by any version that was about to serve, or served,
between its sending and its answer, and by no other.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from millwork.errors import PublicationError
from millwork.triton.client import Session
from millwork.triton.server import RunningServer

Floats = npt.NDArray[np.float32]
BEAT_S = 0.01
"""Between two looks at whether the server is ready."""


@dataclass
class Seen:
    """What clients and the looks at ``ready`` saw. ``changes``: (began, ended, the answers from then on)."""

    answers: list[tuple[float, float, Floats]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    looks: int = 0
    not_ready: Counter[str] = field(default_factory=Counter)
    changes: list[tuple[float, float, Floats]] = field(default_factory=list)

    @contextlib.contextmanager
    def changing(self, answers: Floats) -> Iterator[None]:
        """The time in which a publication or a rollback makes a version serve whose answers these are."""
        began = time.perf_counter()
        yield
        self.changes.append((began, time.perf_counter(), answers))

    def wrong(self) -> list[str]:
        """Answers of versions that didn't serve at the time, each in words."""
        return [
            f"sent {sent:.3f}, answered {answered:.3f}: {got.ravel()[:4]}"
            for sent, answered, got in self.answers
            if not any(_same(got, one) for one in self._allowed(sent, answered))
        ]

    def _allowed(self, sent: float, answered: float) -> list[Floats]:
        """Each version's answers: from when its publication began to when the next one's ended."""
        ends = [ended for _, ended, _ in self.changes[1:]] + [float("inf")]
        return [
            answers
            for (began, _, answers), over in zip(self.changes, ends, strict=True)
            if began <= answered and sent <= over
        ]


def _same(got: Floats, expected: Floats) -> bool:
    """The server may round otherwise where it makes one batch of several."""
    return got.shape == expected.shape and bool(np.allclose(got, expected, rtol=1e-5, atol=1e-6))


@contextlib.contextmanager
def asking(running: RunningServer, name: str, rows: Floats, seen: Seen, clients: int) -> Iterator[None]:
    """Ask ``name`` about ``rows`` [N, F] by ``clients`` at once, and the server whether it is ready, all the time."""
    over = threading.Event()
    with ThreadPoolExecutor(clients + 1) as threads:
        tasks: list[Future[None]] = [threads.submit(_ask, running, name, rows, seen, over) for _ in range(clients)]
        tasks.append(threads.submit(_look, running, name, seen, over))
        try:
            yield
        finally:
            over.set()
        for task in tasks:
            task.result()


def _ask(running: RunningServer, name: str, rows: Floats, seen: Seen, over: threading.Event) -> None:
    with Session(running.grpc_url) as session:
        while not over.is_set():
            sent = time.perf_counter()
            try:
                got = session.infer(name, rows)
            except PublicationError as error:
                seen.failures.append(error.message)
                continue
            seen.answers.append((sent, time.perf_counter(), got))


def _look(running: RunningServer, name: str, seen: Seen, over: threading.Event) -> None:
    """Of the server and of the model."""
    while not over.wait(BEAT_S):
        for path in ("/v2/health/ready", f"/v2/models/{name}/ready"):
            seen.looks += 1
            if not _says_yes(running.ports.http, path):
                seen.not_ready[path] += 1


def _says_yes(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()
