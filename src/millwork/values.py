"""The values that flow between stages: frozen, typed, JSON by ``msgspec``.

Shapes: N rows, F numeric features, K outputs, T trees. Times are microseconds of one call unless a name says
otherwise (``build_s``: seconds). Arrays never travel in these values: they lie in files beside them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .engines import PlanFacts, Preflight
from .frozen import Value as Value  # noqa: PLC0414 (every other module takes it, and the next, from here)
from .measurements import Interval as Interval  # noqa: PLC0414
from .measurements import Latency as Latency  # noqa: PLC0414
from .measurements import LayerCost as LayerCost  # noqa: PLC0414
from .measurements import Metric as Metric  # noqa: PLC0414
from .measurements import Parity as Parity  # noqa: PLC0414
from .measurements import WorstRow as WorstRow  # noqa: PLC0414

SCHEMA = 1
"""Version of run.json and manifest.json."""

Framework = Literal["xgboost", "catboost", "torch"]
Task = Literal["binary", "multiclass", "multilabel", "regression", "ranking", "survival"]
OutputKind = Literal["probability", "margin", "value", "label"]
Status = Literal["passed", "failed", "unsupported", "error"]

# ── what the model takes and gives ────────────────────────────────────────────────────────────────────────


class FeatureContract(Value):
    """What a client sends: ``input__0`` FP32 [F], the numeric features in training order (codes of categories among
    them, where the model was trained on codes), and ``input__1`` [C], only where the model takes categories' values.

    ``missing`` is the number that stands for a missing value beside NaN, or None. ``names`` (of ``input__0``) and
    ``category_names`` (of ``input__1``) are the model's own, or ``f0 … `` by position where it carries none (then
    ``named`` is False and columns are taken by position). ``dtypes`` are as sent, one a name of ``names``.
    ``category_dtype``: ``string`` (BYTES) or ``int64``. ``categories``: the known values of a category feature, by its
    name, integers as decimal text. ``order``: all names in training order, where there are category names.
    ``category_nulls``: whether a category may be missing (an empty string, or the smallest int64: what isn't known is
    missing). ``code_counts``: of a net, how many codes each category feature has; a row with another is answered NaN.
    ``finite``: the framework fails on a number that is NaN or infinite: a row that holds one is answered NaN.
    """

    names: tuple[str, ...]
    named: bool
    missing: float | None = None
    dtypes: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    category_names: tuple[str, ...] = ()
    category_dtype: Literal["", "string", "int64"] = ""
    order: tuple[str, ...] = ()
    category_nulls: bool = False
    code_counts: tuple[int, ...] = ()
    finite: bool = False

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every feature, in training order."""
        return self.order or self.names


class OutputContract(Value):
    """What a client gets as ``output__0`` FP32 [K].

    ``probability``: one per class, the framework's predict_proba. ``value``: the framework's predict.
    ``margin``: raw scores, before any transform. ``label``: the number of the class that is decided for, whose name is
    in ``classes`` (several labels: 0 or 1 for each). ``labels`` name the K outputs (class labels for classifiers).
    ``threshold``: the probability above which a binary model decides for its second class. ``independent_rows``:
    whether a row is answered alone as it is among others; where not, requests are never batched together.
    """

    kind: OutputKind
    task: Task
    labels: tuple[str, ...]
    threshold: float | None = None
    classes: tuple[str, ...] = ()
    independent_rows: bool = True


class Provenance(Value):
    """Where the model came from: the file, and what wrote it."""

    path: str
    format: str
    sha256: str
    framework: Framework
    framework_version: str
    estimator: str = ""
    notes: tuple[str, ...] = ()


# ── what a run reports: the parts of run.json ─────────────────────────────────────────────────────────────


class ModelSummary(Value):
    """``features`` are ``input__0``'s and ``categories`` ``input__1``'s, in order. ``output_kind`` says what
    ``outputs`` hold; ``missing`` is the number read as missing beside NaN, or None."""

    framework: str
    objective: str
    sha256: str
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    framework_version: str = ""
    oracle_version: str = ""
    path: str = ""
    trees: int = 0
    output_kind: OutputKind | None = None
    missing: float | None = None
    notes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    category_dtype: str = ""


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


class Tuning(Value):
    """The Triton configuration: the release it was written for, and (once tuned) how it was found.

    ``default`` is what Triton does with a configuration that says nothing, ``best`` what was chosen, both measured side
    by side, ``gain`` the ratio of their scores with its interval. ``limited_by`` says where the time goes.
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


class Publication(Value):
    """``verified``: golden rows were asked of a real Triton after the commit and agreed with the framework."""

    repository: str
    name: str
    version: int
    manifest_sha256: str
    verified: bool = False
    server: str = ""


class Record(Value):
    """One run: the same document as ``RUN_DIR/run.json`` and ``--json``.

    ``stopped``: the message of the error that ended the run before a publication; empty where it went to its end.
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


# ── what a published version says of itself ───────────────────────────────────────────────────────────────


class FileDigest(Value):
    path: str
    sha256: str
    bytes: int


class Manifest(Value):
    """``manifest.json`` in a version's folder: all that a client or an auditor needs to know of it.

    ``backend`` is ours (reference, onnx, fil, …), ``triton_backend`` the server's; ``model_file`` is what the runner
    opens, ``runner`` the module of compile/runners that does, and ``parameters`` are its settings. ``requirements``:
    what the python backend's environment needs. ``engine``: what ran the artifact when it was judged, with its version.
    ``plan``: of a TensorRT engine, what it was built by and for.
    """

    schema: int
    name: str
    created: str
    millwork: str
    backend: str
    precision: str
    triton_backend: str
    triton_release: str
    model_file: str
    features: FeatureContract
    output: OutputContract
    model: ModelSummary
    source: Provenance
    parity: Parity
    latency: tuple[Latency, ...]
    target: TargetSummary
    requirements: tuple[str, ...]
    files: tuple[FileDigest, ...]
    runner: str = ""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    golden_file: str = "golden.npz"
    engine: str = ""
    golden_abs: float = 0.0
    golden_rel: float = 0.0
    plan: PlanFacts | None = None
