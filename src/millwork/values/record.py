"""What a run reports: the parts of ``run.json``."""

from __future__ import annotations

from typing import Literal

import msgspec

from . import record_words
from .base import Value
from .contracts import ModelSummary
from .measurements import Interval, Latency, LayerCost, Parity
from .served import ServedWay
from .tensorrt_plan import Preflight

Status = Literal["passed", "failed", "unsupported", "error"]


class Gpu(Value):
    """``name`` as the driver has it (``NVIDIA A100-SXM4-40GB``), ``compute_capability`` as ``8.0``. ``mig``: of a slice
    of a GPU its profile (``1g.10gb``; ``unknown`` where the driver doesn't say which), and ``memory_gib`` is then the
    slice's."""

    name: str
    driver: str
    compute_capability: str
    memory_gib: float
    mig: str = ""


class TargetSummary(Value):
    """``measured_on``: the machine the figures come from; ``is_target``: whether that is the target asked for; ``gpu``:
    the one that they were taken on, None where that was a CPU."""

    name: str
    measured_on: str
    is_target: bool
    gpu: Gpu | None = None


class PassNote(Value):
    """What one pass changed, in one sentence."""

    name: str
    modified: bool
    summary: str


class CandidateRecord(Value):
    """One candidate's line in the report: what was built, whether it is right, how fast, and why it lost.

    ``layers``: of a net in a lower precision, what each layer costs, the dearest first. ``memory_bytes``: what a
    process has allocated more once it has loaded it and asked it the largest batch; ``gpu_bytes``: the same on the GPU,
    by NVML, None where there is none.
    """

    id: str
    backend: str
    precision: str
    status: Status
    reason: str = ""
    parity: Parity | None = None
    latency: tuple[Latency, ...] = ()
    bytes: int = 0
    build_s: float = 0.0
    passes: tuple[PassNote, ...] = ()
    served_by: str = ""
    preflight: Preflight | None = None
    layers: tuple[LayerCost, ...] = ()
    memory_bytes: int | None = None
    gpu_bytes: int | None = None


class Winner(Value):
    id: str
    why: str


class Figures(Value):
    """What a configuration did under the traffic, all rounds together. Times are microseconds, seen by the client.

    ``tail_us`` is the quantile that the limit is about (p99 where there is none); ``quantiles``: each that a limit is
    about, by its number (``0.999``). ``ci`` has 95% intervals by name.
    ``batch_rows``: rows of one execution, on average; ``queue_us``, ``compute_us`` and ``outside_us`` split a request's
    mean time: waiting in the server, in the backend, and on the way (gRPC, both ends). ``cores`` kept busy and
    ``memory_bytes`` added are None where the server's processes can't be seen. ``in_time``: the share of the answers
    that came by the end of their round, or soon after: all, where the server keeps up with the traffic.
    """

    requests_per_s: float
    rows_per_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    tail_us: float
    mean_us: float
    samples: int
    rounds: int
    ci: dict[str, Interval] = msgspec.field(default_factory=dict)
    quantiles: dict[str, float] = msgspec.field(default_factory=dict)
    refused: float = 0.0
    batch_rows: float = 0.0
    queue_us: float = 0.0
    compute_us: float = 0.0
    outside_us: float = 0.0
    cores: float | None = None
    memory_bytes: int | None = None
    in_time: float = 1.0


class TrialRecord(Value):
    """One configuration that was tried. ``settings``: as config.pbtxt has them, by path. ``over``: how many times the
    limit it is (1 and below keeps it), ``reason`` why it was given up, or couldn't serve."""

    id: int
    candidate: str
    backend: str
    settings: dict[str, str]
    words: str
    figures: Figures | None = None
    over: float = 0.0
    reason: str = ""


class LoadPoint(Value):
    """The winner under another rate of the same batch sizes: requests a second offered and answered."""

    rate: float
    answered: float
    p50_us: float
    tail_us: float
    kept: bool


class Headroom(Value):
    """``rate``: the highest that kept the limit, None where none did; ``breaks_at``: the lowest that didn't.
    ``client_bound``: our own generator was late there, so the server may bear more."""

    points: tuple[LoadPoint, ...]
    rate: float | None
    breaks_at: float | None
    limit: str
    client_bound: bool = False


class LimitAnswer(Value):
    """One limit that was given. ``asked`` as it was said (``p99<5ms``), ``found`` in words (``p99 3.20 ms of the 5 ms
    asked``); ``met`` is None where it couldn't be seen."""

    asked: str
    found: str
    met: bool | None


class Tuning(Value):
    """The Triton configuration: the release it was written for, and (once tuned) how it was found.

    ``default`` is what Triton does with a configuration that says nothing, ``best`` what was chosen, both measured side
    by side, ``gain`` the ratio of their scores with its interval. ``limited_by`` says where the time goes. ``other``:
    the winner by the Triton backend that a stock Triton lacks, measured beside the best and not a choice. ``limits``:
    each limit that was given, and what ``best`` did. ``conditions``: what else went on while it was measured: a trial
    that was lost, a busy machine.
    """

    triton: str
    config: str
    default: TrialRecord | None = None
    best: TrialRecord | None = None
    trials: tuple[TrialRecord, ...] = ()
    traffic: str = ""
    assumed: str = ""
    slo: str = ""
    limit_us: float | None = None
    quantile: float = 0.99
    objective: str = ""
    met: bool | None = None
    why: str = ""
    limited_by: str = ""
    gain: float | None = None
    gain_ci: Interval | None = None
    headroom: Headroom | None = None
    server: str = ""
    generator: str = ""
    considered: int = 0
    seconds: float = 0.0
    other: TrialRecord | None = None
    limits: tuple[LimitAnswer, ...] = ()
    conditions: tuple[str, ...] = ()


class Publication(Value):
    """``verified``: golden rows were asked of a real Triton after the commit and agreed with the framework.
    ``rehearsed``: on which Triton they were before it, in words; empty where on none. ``notes``: what there is to say
    of what it replaced."""

    repository: str
    name: str
    version: int
    manifest_sha256: str
    verified: bool = False
    server: str = ""
    notes: tuple[str, ...] = ()
    rehearsed: str = ""


class Example(Value):
    """A golden row as a client sends it: the body of a request over HTTP, in JSON (a missing number is the bare word
    NaN, as Triton reads it), and the framework's answer to it, as texts, since they may be NaN."""

    request: str
    answer: tuple[str, ...]


class Record(Value):
    """One run: the same document as ``RUN_DIR/run.json`` and ``--json``.

    ``stopped``: the message of the error that ended the run before a publication; empty where it went to its end.
    ``served``: by what the winner is served, and what another way would give.
    ``example``: what ``client.py`` beside the record asks; None where nothing was chosen.
    ``model_file``: the path that the model was read from.
    """

    schema: int
    model: ModelSummary
    target: TargetSummary
    candidates: tuple[CandidateRecord, ...]
    winner: Winner | None = None
    tuning: Tuning | None = None
    publication: Publication | None = None
    notes: tuple[str, ...] = ()
    stopped: str = ""
    run_dir: str = ""
    millwork: str = ""
    served: ServedWay | None = None
    example: Example | None = None
    model_file: str = ""

    def __repr__(self) -> str:
        return record_words.line(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return record_words.table(self)
