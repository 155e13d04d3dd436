"""What can be set: the values worth trying, where config.pbtxt has them, and what each means.

What a Triton backend alone has is in its row (triton/backend_rows.py), what all have is here. A knob's values depend on
the machine, the traffic and the kind of device; the space is their product, less what makes no sense together.
``cores`` bounds what instances times threads may be, since beyond it the tail collapses (measured: half the throughput,
twice the p99).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from ..triton import backend_rows
from ..triton.backend_rows import OwnSetting
from ..triton.settings import Kind, Settings
from ..validators.traffic import Traffic
from ..values.contracts import MAX_BATCH

Values = tuple[str, ...] | tuple[int, ...] | tuple[bool, ...]

DELAYS_US = (0, 100, 500)
"""Queue delays worth trying; longer ones lost at every traffic that was measured."""
DELAY_SHARE = 0.25
"""A delay above this share of the latency limit leaves too little for the rest."""
WIDE = 64
"""From so many cores on, instances and threads go in powers of four."""


@dataclass(frozen=True)
class Workload:
    """What the knobs' values depend on. ``limit_us``: the latency limit, ``release``: Triton's, as (YY, MM).
    ``together``: whether requests may share a batch; where rows affect each other they may not. ``served``: rows of a
    request that clients may send already, which no tuning takes away."""

    traffic: Traffic
    cores: int
    kind: Kind = "cpu"
    gpus: int = 0
    limit_us: float | None = None
    refusing: bool = False
    release: tuple[int, int] = (24, 10)
    together: bool = True
    served: int = 0

    @property
    def batched(self) -> bool:
        """Whether requests can wait for one another at all."""
        return self.together and (self.traffic.open or (self.traffic.clients or 1) > 1)

    @property
    def max_batch(self) -> int:
        return max(MAX_BATCH, self.served, *self.traffic.batches)


@dataclass(frozen=True)
class Knob:
    """``name``: a field of :class:`Settings`, or a key of its ``own``; ``path`` where config.pbtxt says it."""

    name: str
    path: str
    what: str
    values: Callable[[Workload], Values]
    own: bool = False


def powers(most: int) -> tuple[int, ...]:
    """1, 2, 4 … up to ``most``, and ``most`` itself."""
    step = 4 if most >= WIDE else 2
    found = [1]
    while found[-1] * step < most:
        found.append(found[-1] * step)
    return tuple(dict.fromkeys([*found, most]))


def _delays(workload: Workload) -> tuple[int, ...]:
    if not workload.batched:
        return (0,)
    most = float("inf") if workload.limit_us is None else workload.limit_us * DELAY_SHARE
    return tuple(delay for delay in DELAYS_US if delay <= most)


def _queues(workload: Workload) -> tuple[int, ...]:
    """Under overload a queue longer than what can be answered within the limit only makes all answers late."""
    if not (workload.refusing and workload.traffic.rate and workload.limit_us):
        return (0,)
    within = max(int(workload.traffic.rate * workload.limit_us * 1e-6), 1)
    return (0, within, 2 * within)


CPU_INSTANCES = Knob(
    "instances", "instance_group.count", "copies of the model that run in parallel", lambda g: powers(g.cores)
)
GPU_INSTANCES = Knob(
    "instances", "instance_group.count", "copies of the model on each GPU; their kernels overlap", lambda _: (1, 2, 3)
)
BATCHING = Knob("batching", "dynamic_batching", "waiting requests are answered in one call", lambda _: (True, False))
DELAY = Knob(
    "delay_us", "dynamic_batching.max_queue_delay_microseconds", "how long a batch waits for more requests", _delays
)
PREFERRED = Knob(
    "preferred", "dynamic_batching.preferred_batch_size", "batch sizes that end the wait at once", lambda _: ()
)
QUEUE = Knob(
    "max_queue",
    "dynamic_batching.default_queue_policy.max_queue_size",
    "how many requests may wait; more are refused",
    _queues,
)


COMMON = (BATCHING, DELAY, PREFERRED, QUEUE)


def table(backend: str, kind: Kind) -> tuple[Knob, ...]:
    """The knobs of a Triton backend on this kind of device, out of its row: instances, threads of a call or its own
    settings, then what all have. None where it runs on no such device. UsageError for a backend that isn't known."""
    row = backend_rows.find(backend)
    if kind == "gpu":
        return (GPU_INSTANCES, *(_own(setting) for setting in row.settings), *COMMON)
    if not row.threads:
        return ()
    path = f"parameters[{row.threads}]"
    return (CPU_INSTANCES, Knob("threads", path, "threads of one call", lambda g: powers(g.cores)), *COMMON)


def _own(setting: OwnSetting) -> Knob:
    """No value, so nothing to try, before the release that has it."""
    return Knob(
        setting.name,
        setting.path,
        setting.what,
        lambda g: setting.values if g.release >= setting.since else (),
        own=True,
    )


def triton_default(backend: str, workload: Workload) -> Settings:
    """What a server does with a configuration that says nothing: no dynamic batching, all cores for each call."""
    return Settings(
        instances=backend_rows.find(backend).instances if workload.kind == "cpu" else 1,
        threads=workload.cores if workload.kind == "cpu" else 1,
        batching=False,
        max_batch=workload.max_batch,
        kind=workload.kind,
    )


def untuned(workload: Workload, threads: int) -> Settings:
    """What we serve with where nothing was measured: one instance, the threads that were asked for, batching."""
    return Settings(threads=threads, max_batch=workload.max_batch, kind=workload.kind, batching=workload.together)


def space(backend: str, workload: Workload) -> tuple[Settings, ...]:
    """Every configuration worth trying, the simplest first."""
    names = {knob.name: knob for knob in table(backend, workload.kind)}
    axes = {name: values for name, knob in names.items() if (values := knob.values(workload))}
    found = {
        msgspec.json.encode(settings): settings
        for chosen in itertools.product(*axes.values())
        for settings in _made(names, dict(zip(axes, chosen, strict=True)), workload)
    }
    return tuple(sorted(found.values(), key=lambda settings: settings.simplicity))


def neighbours(settings: Settings, others: tuple[Settings, ...]) -> tuple[Settings, ...]:
    """Those of ``others`` that differ from ``settings`` in one knob: the first of each knob, then the next of each."""
    by_knob: dict[str, list[Settings]] = {}
    for other in others:
        names = _differing(settings, other)
        if len(names) == 1:
            by_knob.setdefault(names[0], []).append(other)
    turns = itertools.zip_longest(*by_knob.values())
    return tuple(one for turn in turns for one in turn if one is not None)


def _made(names: Mapping[str, Knob], chosen: dict[str, object], workload: Workload) -> Iterator[Settings]:
    own = {name: str(value) for name, value in chosen.items() if names[name].own}
    fields = {name: value for name, value in chosen.items() if not names[name].own}
    found = msgspec.convert({**fields, "own": own, "kind": workload.kind, "max_batch": workload.max_batch}, Settings)
    if workload.kind == "cpu" and found.instances * found.threads > workload.cores:
        return
    if not found.batching and (found.delay_us or found.max_queue):
        return
    if found.batching and not workload.batched:
        return  # one client: there is never a second request to batch with
    yield found
    for size in _preferred(found, workload):
        yield msgspec.structs.replace(found, preferred=(size,))


def _preferred(found: Settings, workload: Workload) -> tuple[int, ...]:
    """With a delay, the rows that all clients together have can end the wait: nothing more can come."""
    if not found.delay_us or workload.traffic.clients is None or len(workload.traffic.batches) > 1:
        return ()
    rows = workload.traffic.batches[0] * workload.traffic.clients
    sizes = {rows, rows // 2} if found.instances > 1 else {rows}
    return tuple(sorted(size for size in sizes if 1 < size <= workload.max_batch))


def _differing(a: Settings, b: Settings) -> tuple[str, ...]:
    """The knobs in which two differ; waiting, its length and its end are one, and so are the queue's two."""
    pairs = {
        "instances": (a.instances, b.instances),
        "threads": (a.threads, b.threads),
        "waits": ((a.batching, a.delay_us, a.preferred), (b.batching, b.delay_us, b.preferred)),
        "queue": ((a.max_queue, a.timeout_us), (b.max_queue, b.timeout_us)),
        **{name: (a.own.get(name, ""), b.own.get(name, "")) for name in sorted(a.own.keys() | b.own.keys())},
    }
    return tuple(name for name, (mine, other) in pairs.items() if mine != other)
