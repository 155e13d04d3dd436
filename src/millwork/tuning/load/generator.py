"""Our own clients, on asyncio and gRPC: an open loop timed from the scheduled arrival, and a closed loop of any mix.

In an open loop nothing waits for the server: a request that is due is sent, however many are unanswered, and its time
counts from when it was due. A server that stalls for a second is then seen to have kept a thousand requests waiting,
where a closed loop would have sent one (coordinated omission). What is sent was serialized beforehand, and answers
are not parsed. The event loop waits with ``select``, whose timeouts have microseconds: epoll's have milliseconds, which
every arrival would be late by.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...triton import channel
from ...triton.credentials import NONE, Credentials
from ...values import Value
from .samples import Samples
from .schedule import Schedule

METHOD = "/inference.GRPCInferenceService/ModelInfer"
GRACE_S = 1.0
"""How long after its last arrival an open loop waits for answers; what is unanswered then counts as it stands."""


class Server(Value):
    """Whom requests go to."""

    url: str
    credentials: Credentials = NONE


Requests = Mapping[int, Sequence[bytes]]
"""Serialized requests by their rows."""
Line = tuple[float, float, float, int, bool, bool]
"""Seconds since the beginning: due, sent, answered; rows; refused; without an answer so far."""
Send = Callable[[bytes], Awaitable[Any]]


def open_loop(to: Server, requests: Requests, schedule: Schedule) -> Samples:
    """Send by the schedule, whatever the server does."""
    lines, began = _run(to, lambda send: _open(send, _cycles(requests), schedule))
    return _samples(lines, began, schedule.length, unanswered=sum(line[5] for line in lines))


def closed_loop(to: Server, requests: Requests, order: Sequence[int], clients: int, seconds: float) -> Samples:
    """``clients`` that each send when their last request is answered; sizes are taken from ``order`` in turn."""
    lines, began = _run(to, lambda send: _closed(send, _cycles(requests), itertools.cycle(order), clients, seconds))
    inside = [line for line in lines if line[2] - began <= seconds]
    return _samples(inside, began, seconds)


def _run(to: Server, work: Callable[[Send], Awaitable[tuple[list[Line], float]]]) -> tuple[list[Line], float]:
    async def session() -> tuple[list[Line], float]:
        async with channel.asynchronous(to.url, to.credentials) as opened:
            await opened.channel_ready()
            call, headers = opened.unary_unary(METHOD), channel.metadata(to.credentials)
            return await work(call if not headers else lambda request: call(request, metadata=headers))

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(session())


async def _open(send: Send, payload: dict[int, Iterator[bytes]], schedule: Schedule) -> tuple[list[Line], float]:
    lines: dict[int, Line] = {}
    loop = asyncio.get_running_loop()
    flying: set[asyncio.Task[None]] = set()

    async def ask(number: int, due: float, rows: int) -> None:
        sent = time.perf_counter()
        refused = await _refused(send, next(payload[rows]))
        lines[number] = (due, sent, time.perf_counter(), rows, refused, False)

    began = time.perf_counter() + 0.005
    planned = list(zip((schedule.seconds + began).tolist(), schedule.batch.tolist(), strict=True))
    for number, (due, rows) in enumerate(planned):
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(ask(number, due, rows))
        flying.add(task)
        task.add_done_callback(flying.discard)
    if flying:
        await asyncio.wait(flying, timeout=GRACE_S)
    for task in flying:
        task.cancel()
    now = time.perf_counter()  # what has no answer took at least until now
    missing = [(due, due, now, rows, False, True) for i, (due, rows) in enumerate(planned) if i not in lines]
    return [*lines.values(), *missing], began


async def _closed(
    send: Send, payload: dict[int, Iterator[bytes]], sizes: Iterator[int], clients: int, seconds: float
) -> tuple[list[Line], float]:
    lines: list[Line] = []
    began = time.perf_counter()

    async def client() -> None:
        while (sent := time.perf_counter()) < began + seconds:
            rows = next(sizes)
            refused = await _refused(send, next(payload[rows]))
            lines.append((sent, sent, time.perf_counter(), rows, refused, False))

    await asyncio.gather(*(client() for _ in range(clients)))
    return lines, began


async def _refused(send: Send, request: bytes) -> bool:
    """Ask; whether the server answered with an error."""
    import grpc

    try:
        await send(request)
    except grpc.aio.AioRpcError:
        return True
    return False


def _cycles(requests: Requests) -> dict[int, Iterator[bytes]]:
    return {rows: itertools.cycle(messages) for rows, messages in requests.items()}


def _samples(lines: list[Line], began: float, seconds: float, unanswered: int = 0) -> Samples:
    table = np.array([line[:3] for line in sorted(lines)], np.float64).reshape(-1, 3)
    ordered = sorted(lines)
    return Samples(
        start_us=(table[:, 0] - began) * 1e6,
        latency_us=((table[:, 2] - table[:, 0]) * 1e6).astype(np.float32),
        rows=np.array([line[3] for line in ordered], np.int32),
        refused=np.array([line[4] for line in ordered], np.bool_),
        late_us=((table[:, 1] - table[:, 0]) * 1e6).astype(np.float32),
        seconds=seconds,
        unanswered=unanswered,
    )
