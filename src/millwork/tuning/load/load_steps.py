"""The step ``load``: one round of load on one loaded model, in a worker, with the server's own counters around it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import PublicationError
from ...storage import wire
from ...storage.opening import read_limited
from ...triton import channel
from ...triton.credentials import Credentials
from ...validators.traffic import Traffic
from ...values import Value
from ...worker.start import REPLY
from .. import processes
from . import generator, perf_analyzer, samples, schedule, tensors
from .perf_analyzer import ClosedLoop, PerfAnalyzer
from .samples import Samples

WARM_UP_S = 0.12
"""Before each round: caches, connections and the batcher's queues get going. No figure has it."""


SETTLED_S, LONGEST_SETTLE_S = 0.1, 10.0
"""A server that answers nothing for so long, or for three calls, has nothing left of a round; the longest wait."""


LOOK_S = 0.2
"""How often it is looked whether the server is there."""
SERVER_ENDED = 75
"""The exit status that says that it isn't."""


class Where(Value):
    """A server's gRPC address, and perf_analyzer where there is one. ``pid``: the server's where it is ours, else 0.
    ``credentials``: the file that has them, empty where none are needed; a request is kept in logs, which they aren't.
    """

    url: str
    credentials: str = ""
    pid: int = 0
    perf_analyzer: str = ""
    libraries: tuple[str, ...] = ()


class LoadRequest(Value):
    """``rows``: a file as :mod:`.tensors` has it. ``seed``: of the arrivals and the sizes."""

    where: Where
    model: str
    rows: str
    traffic: Traffic
    seconds: float
    seed: int


class ServerTime(Value):
    """What the server's counters say of the round, a request on average: microseconds in the queue and in the three
    parts of computing, ``requests`` answered, ``executions`` of the model, and ``rows`` of one execution. ``cpu_us``:
    CPU time of all the server's processes a request, None where they can't be seen."""

    queue_us: float
    input_us: float
    infer_us: float
    output_us: float
    requests: int
    executions: int
    rows: float
    cpu_us: float | None = None


class LoadReply(Value):
    """Beside it: ``samples.npz``, a line a request. ``generator`` says what sent them."""

    generator: str
    server: ServerTime


def generator_for(traffic: Traffic, where: Where) -> str:
    """``perf_analyzer`` for a closed loop of one batch size where it is there, else ``asyncio``, our own; and for a
    server that wants TLS or headers, which would stand on perf_analyzer's command line."""
    plain = where.url.startswith("grpc://") and not where.credentials
    fits = not traffic.open and len(traffic.shares) == 1 and where.perf_analyzer and plain
    return "perf_analyzer" if fits else "asyncio"


def load(request: LoadRequest) -> LoadReply:
    """One round. PublicationError where nothing was answered. Where a server of ours ends, so does this process."""
    with _ends_with(request.where.pid):
        return _round(request)


def _round(request: LoadRequest) -> LoadReply:
    given = tensors.read(Path(request.rows))
    messages = {batch: tensors.requests(request.model, given, batch) for batch in _sizes(request)}
    _warm_up(request, messages)
    before = _counters(request)
    seen, by = _ask(request, given, messages)
    after = _counters(request)
    if seen.unanswered:
        _settle(request)
    if not len(seen.answered) or seen.unanswered == len(seen.latency_us):
        raise PublicationError(f"{request.model} answered none of {len(seen.latency_us):,} requests")
    samples.save(seen, Path.cwd() / samples.SAMPLES_FILE)
    return LoadReply(generator=by, server=_difference(before, after))


@contextlib.contextmanager
def _ends_with(server: int) -> Iterator[None]:
    """End this process, which is a step's, as soon as the server's is gone: a load generator would wait for minutes."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_S):
            if not processes.alive(server) and not done.is_set():
                os._exit(SERVER_ENDED)

    if server and REPLY in os.environ:
        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _settle(request: LoadRequest) -> None:
    """Wait until the server is through with what it still has of this round: it would slow the next trial's. What is
    cancelled in a queue without dynamic batching is computed all the same."""
    until = time.monotonic() + LONGEST_SETTLE_S
    before, _ = _counters(request)
    while time.monotonic() < until:
        done = max(before.inference_stats.success.count, 1)
        call_s = before.inference_stats.compute_infer.ns * 1e-9 / done
        time.sleep(max(SETTLED_S, 3 * call_s))
        now, _ = _counters(request)
        if (now.inference_stats.success.count, now.execution_count) == (done, before.execution_count):
            return
        before = now


def _server(where: Where) -> generator.Server:
    if not where.credentials:
        return generator.Server(url=where.url)
    return generator.Server(url=where.url, credentials=wire.decode(read_limited(Path(where.credentials)), Credentials))


def _sizes(request: LoadRequest) -> list[int]:
    if not request.traffic.recording:
        return list(request.traffic.batches)
    replayed = schedule.arrivals(request.traffic, request.seconds, request.seed)
    return [int(size) for size in np.unique(replayed.batch)]


def _warm_up(request: LoadRequest, messages: generator.Requests) -> None:
    order = list(messages)
    clients = min(request.traffic.clients or 4, 8)
    generator.closed_loop(_server(request.where), messages, order, clients, WARM_UP_S)


def _ask(request: LoadRequest, given: tensors.Tensors, messages: generator.Requests) -> tuple[Samples, str]:
    traffic, where = request.traffic, request.where
    by = generator_for(traffic, where)
    if traffic.open:
        plan = schedule.arrivals(traffic, request.seconds, request.seed)
        return generator.open_loop(_server(where), messages, plan), by
    clients = traffic.clients or 1
    if by == "perf_analyzer":
        tool = PerfAnalyzer(where.perf_analyzer, where.libraries)
        load = ClosedLoop(traffic.batches[0], clients, request.seconds)
        return perf_analyzer.closed_loop(tool, where.url, request.model, given, load, Path.cwd()), by
    order = schedule.sizes(traffic, schedule.STREAM, np.random.default_rng(request.seed)).tolist()
    return generator.closed_loop(_server(where), messages, order, clients, request.seconds), by


def _counters(request: LoadRequest) -> tuple[Any, float]:
    """Triton's statistics of the model, and the CPU seconds that the server's processes have used."""
    to = _server(request.where)
    client = channel.client(to.url, to.credentials)
    try:
        statistics = client.get_inference_statistics(request.model).model_stats[0]
    finally:
        client.close()
    return statistics, processes.cpu_seconds(request.where.pid)


def _difference(before: tuple[Any, float], after: tuple[Any, float]) -> ServerTime:
    """The counters of the time between: Triton's are sums over all requests since the model was loaded, in ns."""
    old, new = before[0], after[0]
    served = new.inference_stats.success.count - old.inference_stats.success.count
    runs = new.execution_count - old.execution_count
    rows = new.inference_count - old.inference_count

    def mean(name: str) -> float:
        spent = getattr(new.inference_stats, name).ns - getattr(old.inference_stats, name).ns
        return float(spent / 1e3 / max(served, 1))

    cpu = (after[1] - before[1]) * 1e6 / max(served, 1)
    return ServerTime(
        queue_us=mean("queue"),
        input_us=mean("compute_input"),
        infer_us=mean("compute_infer"),
        output_us=mean("compute_output"),
        requests=served,
        executions=runs,
        rows=rows / max(runs, 1),
        cpu_us=cpu if after[1] else None,
    )
