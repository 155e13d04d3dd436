"""One storm: a repository, a Triton on it, many commands at once, looks and clients all the time, and the judgement."""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models import s3
from storms import calm, checker, clients, surroundings
from storms.checker import Watcher
from storms.clients import Asked
from storms.figures import numbers
from storms.jobs import Ended, Yard, arguments, import_everything
from storms.known import DAMAGED, MISJUDGED, SIGNED, SWAPPED, Known
from storms.plan import PUBLISH, ROLLBACK, SILENT, SMALL, WRONG, Job, drawn

from millwork.artifacts.repository import at
from millwork.triton import install, server
from millwork.triton.server import RunningServer

LOOK_S, ASK_S = 0.012, 0.02
"""Between two looks, and between two requests."""
START_S = 60.0
MEGABYTES = 3000
FULL_S = 4.0
SHARE = 0.25
"""Of an object store's requests, those that fail."""
POLLED = ("--model-control-mode=poll", "--repository-poll-secs=1")
ALL = {PUBLISH: 0.68, WRONG: 0.1, ROLLBACK: 0.12, SILENT: 0.05, SMALL: 0.05}


@dataclass(frozen=True)
class Weather:
    """``triton``: how it is controlled; empty: there is none. ``verified``: the share of good publications that are
    verified on it; all wrong ones are. ``kinds``: what the commands are, as weights."""

    name: str
    store: bool = False
    triton: str = "explicit"
    verified: float = 1.0
    kinds: dict[str, float] = field(default_factory=lambda: dict(ALL))
    wrong: tuple[str, ...] = (DAMAGED, MISJUDGED, SWAPPED)


@dataclass(frozen=True)
class Amount:
    """A storm lasts until it had at least all of these, or so many commands; it fails after ``seconds``."""

    publications: int
    kills: int
    looks: int
    requests: int
    most: int = 100_000
    seconds: float = 1800.0


@dataclass
class Storm:
    """``counters``: looks and requests, shared with the processes that make them."""

    weather: Weather
    seed: int
    together: int
    amount: Amount
    known: Known
    work: Path
    counters: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 16))
    server: str = ""
    running: RunningServer | None = None
    silent: str = ""
    direct: dict[str, str] = field(default_factory=dict)
    disk: surroundings.Disk | None = None
    store: dict[str, int] = field(default_factory=dict)

    # ── the whole of it ───────────────────────────────────────────────────────────────────────────────────

    def run(self) -> dict[str, Any]:
        """What it did, in numbers, and ``violations``."""
        began = time.monotonic()
        self.work.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(temporary_folder(self.work / "tmp"))
            repository = self._repository(stack)
            yard = Yard(arguments(self.known, repository, self._server_of), self.together)
            warm = Job(-1, PUBLISH, SIGNED, self.known.variants[0])
            import_everything(yard.arguments(warm))
            failed = self._calmly(yard, self._first())
            if self.weather.triton:
                self._start(stack, repository)
                failed += self._calmly(yard, self._first())
            if failed:
                raise AssertionError(f"{self.weather.name}: before the storm: {failed}")
            with contextlib.ExitStack() as helpers:
                self._watch(helpers, repository)
                yard.ended, yard.each = [], self.disk.look if self.disk else lambda: None
                yard.run(self._jobs(yard))
                stormed, yard.each = len(yard.ended), lambda: None
                self._clear()
                failed = self._calmly(yard, self._last()) + self._dead_server()
            found = self._judged(yard.ended, stormed, repository, failed, time.monotonic() - began)
        return {**found, **self._store_numbers()}

    def _jobs(self, yard: Yard) -> Iterator[Job]:
        """Until there was enough of everything."""
        rng, began = random.Random(self.seed), time.monotonic()
        for number in range(self.amount.most):
            published = sum(one.code == 0 and one.job.kind != ROLLBACK for one in yard.ended)
            killed = sum(one.code == -signal.SIGKILL for one in yard.ended)
            looks, requests = struct.unpack("qq", self.counters[:16])
            found = (published, killed, looks, requests if self.weather.triton else self.amount.requests)
            wanted = (self.amount.publications, self.amount.kills, self.amount.looks, self.amount.requests)
            if all(one >= least for one, least in zip(found, wanted, strict=True)):
                return
            if time.monotonic() - began > self.amount.seconds:
                raise AssertionError(f"{self.weather.name}: {found} of {wanted} after {self.amount.seconds:.0f} s")
            yield drawn(rng, number, self.known, self.weather.kinds, self.weather.wrong)

    def _first(self) -> list[Job]:
        return [Job(-1, PUBLISH, name, self.known.variants[0]) for name in self.known.names]

    def _last(self) -> list[Job]:
        """Once all is over, one clean publication of each model; two, so that one of them is of other content."""
        jobs = [Job(-1, PUBLISH, name, variant) for name in self.known.names for variant in self.known.variants[:2]]
        return sorted(jobs, key=lambda job: job.variant)

    def _calmly(self, yard: Yard, jobs: list[Job]) -> list[str]:
        """Run them one after another; each that doesn't succeed, in words."""
        before = len(yard.ended)
        together, yard.together = yard.together, 1
        yard.run(iter(jobs))
        yard.together = together
        return [f"in the calm: {one.words}" for one in yard.ended[before:] if one.code]

    # ── what is around ────────────────────────────────────────────────────────────────────────────────────

    def _repository(self, stack: contextlib.ExitStack) -> str:
        if self.weather.store:
            ready = self.work / "store.json"
            work = self.work / "store"
            stack.enter_context(
                surroundings.helper(
                    self.work,
                    "store",
                    lambda over: surroundings.failing_store(work, self.seed, SHARE, ready, over),
                )
            )
            said = surroundings.told(ready)
            self.direct = s3.variables(said["direct"])
            stack.enter_context(variables(s3.variables(said["faulty"])))
            return f"s3://{s3.BUCKET}/{self.weather.name}/models"
        folder = self.work / "disk"
        if surroundings.may_mount():
            self.disk = surroundings.Disk(folder, self.seed, MEGABYTES, FULL_S)
            stack.callback(self.disk.close)
        repository = folder / "repository" / "models"
        repository.mkdir(parents=True)
        return str(repository)

    def _start(self, stack: contextlib.ExitStack, repository: str) -> None:
        """A real Triton on the repository, and a proxy before it that falls silent."""
        with variables(self.direct):
            options = POLLED if self.weather.triton == "poll" else ()
            where = at(repository).for_triton
            running: RunningServer = stack.enter_context(
                server.start(install.install(), where, log=self.work / "triton.log", options=options)
            )
        self.server, self.running = running.grpc_url, running
        ready = self.work / "silent.json"
        port = running.ports.grpc
        stack.enter_context(
            surroundings.helper(
                self.work, "silent", lambda over: surroundings.silent_proxy(port, self.seed, ready, over)
            )
        )
        self.silent = f"grpc://127.0.0.1:{surroundings.told(ready)['port']}"

    def _server_of(self, job: Job) -> str:
        if not self.server:
            return "none"
        if job.kind == SILENT:
            return self.silent
        drawn_share = random.Random(job.number).random()
        asked = job.kind == WRONG or job.number < 0 or drawn_share < self.weather.verified
        return self.server if asked else "none"

    def _watch(self, stack: contextlib.ExitStack, repository: str) -> None:
        stack.enter_context(surroundings.helper(self.work, "looks", lambda over: self._look(repository, over)))
        if self.server:
            stack.enter_context(surroundings.helper(self.work, "asks", self._ask))

    def _look(self, repository: str, over: Callable[[], bool]) -> None:
        os.environ.update(self.direct)
        watcher = Watcher(at(repository), self.known)
        for name in itertools.cycle(self.known.names):
            if over():
                break
            watcher.look(name)
            self.counters[:8] = struct.pack("q", watcher.seen.looks)
            time.sleep(LOOK_S)
        watcher.seen.write(self.work / "seen.json")

    def _ask(self, over: Callable[[], bool]) -> None:
        clients.wait_until_answered(self.server, self.known, START_S)
        asked = clients.ask(self.server, self.known, self.seed, over, ASK_S, self._count)
        asked.write(self.work / "asked.json")

    def _count(self, requests: int) -> None:
        self.counters[8:16] = struct.pack("q", requests)

    def _clear(self) -> None:
        """The weather clears up: the disk has room, and the store answers."""
        if self.disk is not None:
            self.disk.empty()
        os.environ.update(self.direct)

    def _dead_server(self) -> list[str]:
        """That the Triton is dead, in words: then what clients say of it isn't the publishers' fault."""
        if self.running is None or self.running.ended(0.0) is None:
            return []
        signals = [line for line in self.running.log.read_text(errors="replace").splitlines() if "Signal (" in line]
        return [f"the Triton died by itself: {' '.join(signals) or self.running.log_tail()}"]

    # ── the judgement ─────────────────────────────────────────────────────────────────────────────────────

    def _judged(
        self, ended: list[Ended], stormed: int, repository: str, failed: list[str], seconds: float
    ) -> dict[str, Any]:
        seen = checker.read(self.work / "seen.json")
        asked = clients.read(self.work / "asked.json") if self.server else Asked()
        there, left = calm.found(self.work, repository, self.known, self.direct)
        violations = [*failed, *seen.violations, *checker.judge(ended, seen.changes, there), *left]
        violations += checker.answered(asked.answers, {**seen.contents, **there.contents})
        violations += [f"{asked.failed} requests failed: {asked.failures}"] if asked.failed else []
        (self.work / "ended.json").write_text(json.dumps([asdict(one) for one in ended], indent=1))
        return {
            **numbers(ended[:stormed]),
            "versions": len(there.contents),
            "looks": seen.looks,
            "changes_seen": len(seen.changes),
            "requests": asked.requests,
            "requests_failed": asked.failed,
            "full_disks": self.disk.full if self.disk is not None else 0,
            "seconds": round(seconds, 1),
            "violations": violations,
        }

    def _store_numbers(self) -> dict[str, int]:
        path = self.work / "store.json"
        if not path.exists():
            return {"store_requests": 0, "store_faults": 0}
        said = surroundings.told(path)
        return {"store_requests": said.get("requests", 0), "store_faults": said.get("faults", 0)}


@contextlib.contextmanager
def variables(said: dict[str, str]) -> Iterator[None]:
    """These variables in the environment, for the while."""
    before = {name: os.environ.get(name) for name in said}
    os.environ.update(said)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[None]:
    """All temporary folders in this one, so that what is left of them is found."""
    folder.mkdir()
    with variables({"TMPDIR": str(folder)}):
        tempfile.tempdir = None
        try:
            yield
        finally:
            tempfile.tempdir = None
            sys.stdout.flush()
