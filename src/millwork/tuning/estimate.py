"""A queueing estimate: what a configuration would do under a traffic, simulated from measured service times.

An event-driven simulation of Triton's scheduler: requests wait in one queue; an idle instance takes what waits, as
one batch where dynamic batching is on (all that fit ``max_batch``; with a delay it first waits for a preferred size or
until the oldest has waited that long), else one request. A call takes the measured time of its batch plus what the
server adds. More work than cores slows all of it down: calls that run, on all their threads, and what the front end and
the clients take; an instance that waits takes nothing.

It only steers: which configurations are tried first, and which can't be near the best. What wins was measured.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..triton import backend_rows
from ..triton.settings import Settings
from ..validators.traffic import Traffic
from .load import schedule
from .service_times import ServiceTime

REQUESTS, OF_A_CLIENT = 1500, 4
"""Simulated, and of each client at least; the first tenth is warm-up."""

ROUNDS = 3
"""Of the simulation, until how much it is slowed and what it answers agree."""

FRONT_US, CLIENT_US = 45.0, 45.0
"""CPU microseconds a request costs in the server's gRPC front end, and in a client on the same machine (an empty
backend on two cores answered 22,600 requests a second)."""


@dataclass(frozen=True)
class Expected:
    """Requests a second, and microseconds seen by a client. ``busy``: threads that are in a call, on average."""

    throughput: float
    p50_us: float
    tail_us: float
    busy: float = 0.0


def estimate(
    settings: Settings, backend: str, service: ServiceTime, traffic: Traffic, cores: int, quantile: float = 0.99
) -> Expected:
    """What ``settings`` would give; ``service`` is of their threads."""
    slow = 1.0
    found = _simulated(settings, backend, service, traffic, slow, quantile)
    for _ in range(ROUNDS):  # the slower all of it is, the less is answered, and asked of the cores
        around = found.throughput * (FRONT_US + CLIENT_US) * slow * 1e-6
        slow = max(1.0, (found.busy + around) / cores)
        found = _simulated(settings, backend, service, traffic, slow, quantile)
    return found


def _simulated(
    settings: Settings, backend: str, service: ServiceTime, traffic: Traffic, slow: float, quantile: float
) -> Expected:
    queue = _Queue(settings, backend, service, slow)
    rng = np.random.default_rng(0)
    count = max(REQUESTS, OF_A_CLIENT * (traffic.clients or 0))
    sizes = schedule.sizes(traffic, count, rng).tolist()
    if traffic.rate is not None:
        gaps = rng.exponential(1e6 / traffic.rate, count)
        done = queue.open(np.cumsum(gaps).tolist(), sizes)
    else:
        done = queue.closed(traffic.clients or 1, sizes)
    counted = sorted(done)[len(done) // 10 :]
    latency = np.array([end - start for start, end in counted]) + (FRONT_US + CLIENT_US) * slow
    spent = max(end for _, end in counted) - counted[0][0]
    return Expected(
        throughput=len(counted) / max(spent, 1.0) * 1e6,
        p50_us=float(np.median(latency)),
        tail_us=float(np.quantile(latency, quantile)),
        busy=queue.worked_us * settings.threads / max(*(end for _, end in done), 1.0),
    )


class _Queue:
    """The scheduler's state while one simulation runs: its clock, what waits, and who works. Microseconds."""

    def __init__(self, settings: Settings, backend: str, service: ServiceTime, slow: float) -> None:
        self.settings = settings
        self.service = service
        self.slow = slow
        row = backend_rows.find(backend)
        self.call_us, self.request_us = row.call_us, row.request_us
        self.waiting: deque[tuple[float, int]] = deque()
        self.idle = settings.instances
        self.working: list[tuple[float, int, list[tuple[float, int]]]] = []
        self.done: list[tuple[float, float]] = []
        self.order = 0
        self.worked_us = 0.0  # of all instances together

    def open(self, arrivals: Sequence[float], sizes: Sequence[int]) -> list[tuple[float, float]]:
        """(arrival, answer) of each request."""
        for now, rows in zip(arrivals, sizes, strict=True):
            self._until(now)
            self.waiting.append((now, rows))
            self._dispatch(now)
        self._until(float("inf"))
        return self.done

    def closed(self, clients: int, sizes: Sequence[int]) -> list[tuple[float, float]]:
        """The same, each client sending when it was answered."""
        upcoming = iter(sizes)
        for client in range(clients):
            self.waiting.append((float(client), next(upcoming)))
        self._dispatch(float(clients))
        while self.working or self.waiting:
            now, answered = self._next()
            for _ in answered:
                rows = next(upcoming, None)
                if rows is not None:
                    self.waiting.append((now + (FRONT_US + CLIENT_US) * self.slow, rows))
            self._dispatch(now)
        return self.done

    def _until(self, moment: float) -> None:
        while self.working or self.waiting:
            if self.working and self.working[0][0] <= moment and self.working[0][0] <= self._due():
                now, _ = self._next()
                self._dispatch(now)
            elif self.idle and self.waiting and self._due() <= moment:
                self._dispatch(self._due())
            else:
                return

    def _due(self) -> float:
        """When an idle instance takes what waits, whatever its size."""
        if not (self.idle and self.waiting):
            return float("inf")
        return self.waiting[0][0] + self.settings.delay_us

    def _next(self) -> tuple[float, list[tuple[float, int]]]:
        """The next event: a call that ends, or with none at work a wait that is over."""
        if not self.working or self._due() < self.working[0][0]:
            return max(self._due(), self.waiting[0][0]), []
        now, _, batch = heapq.heappop(self.working)
        self.idle += 1
        self.done += [(came, now) for came, _ in batch]
        return now, batch

    def _dispatch(self, now: float) -> None:
        while self.idle and self.waiting:
            batch = self._batch(now)
            if not batch:
                return
            rows = sum(size for _, size in batch)
            took = (self.call_us + self.request_us * len(batch) + self.service.at(rows)) * self.slow
            started = max(now, batch[-1][0])
            self.order += 1
            self.worked_us += took
            heapq.heappush(self.working, (started + took, self.order, batch))
            self.idle -= 1

    def _batch(self, now: float) -> list[tuple[float, int]]:
        """What the next call takes of what waits; nothing where it goes on waiting."""
        settings = self.settings
        if not settings.batching:
            return [self.waiting.popleft()]
        rows, count = 0, 0
        for _, size in self.waiting:
            if count and rows + size > settings.max_batch:
                break
            rows, count = rows + size, count + 1
        full = rows in settings.preferred or rows >= settings.max_batch
        if not full and settings.delay_us and now < self.waiting[0][0] + settings.delay_us:
            return []
        return [self.waiting.popleft() for _ in range(count)]
