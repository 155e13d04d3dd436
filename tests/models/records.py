"""Records as a run leaves them: one of each way that a run can end. Figures are made up, and plausible."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from millwork.values import (
    SCHEMA,
    CandidateRecord,
    Example,
    Figures,
    Interval,
    Latency,
    LayerCost,
    LimitAnswer,
    Metric,
    ModelSummary,
    Parity,
    PassNote,
    Publication,
    Record,
    TargetSummary,
    TrialRecord,
    Tuning,
    Winner,
    WorstRow,
)

FEATURES = (
    "dep_delay", "distance", "hour", "minute", "month", "day", "temp", "dewp", "humid", "wind_dir", "wind_speed",
    "wind_gust", "precip", "pressure", "visib", "seats", "engine_age",
)  # fmt: skip

PASSES = (
    PassNote(name="slice-iterations", modified=True, summary="kept 287 of 300 trees: it stopped early at round 287"),
    PassNote(name="fold-missing", modified=True, summary="an encoder before the trees reads -999 as missing"),
    PassNote(name="drop-unreachable", modified=True, summary="dropped 412 of 18,368 nodes that no row reaches"),
    PassNote(name="merge-equal-leaves", modified=False, summary="nothing to change"),
    PassNote(name="drop-unused-features", modified=True, summary="2 of 17 features are never tested"),
)  # fmt: skip

CONFIG = """\
# Written by millwork 0.1.0 for Triton 26.03.
# Model sha256: 5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e
name: "delays"
backend: "onnxruntime"
version_policy {
  specific {
    versions: 3
  }
}
max_batch_size: 4096
input {
  name: "input__0"
  data_type: TYPE_FP32
  dims: 17
}
output {
  name: "output__0"
  data_type: TYPE_FP32
  dims: 2
}
dynamic_batching {
}
instance_group {
  kind: KIND_CPU
  count: 1
}
parameters {
  key: "intra_op_thread_count"
  value {
    string_value: "1"
  }
}
"""

MODEL = ModelSummary(
    framework="xgboost",
    objective="binary:logistic",
    sha256="5e" * 32,
    features=FEATURES,
    outputs=("on time", "late"),
    framework_version="3.2.0",
    oracle_version="3.2.0",
    path="/home/ada/flights/delays.pkl",
    trees=287,
    output_kind="probability",
    missing=-999.0,
    notes=("the pickle was not unpickled: the XGBoost booster inside it was read by itself",),
)

HERE = TargetSummary(name="cpu", measured_on="AMD EPYC 9354 32-Core Processor, 2 cores, x86_64", is_target=True)


def parity(max_ulp: int = 2, **changes: object) -> Parity:
    """What a right candidate has; ``changes`` make it another."""
    right = Parity(
        rows=25_217,
        leaf_mismatches=0,
        max_abs=1.19e-07,
        max_rel=2.4e-07,
        max_ulp=max_ulp,
        decision_flips=0,
        metric=Metric(
            name="logloss",
            framework=0.318244,
            candidate=0.318244,
            difference=Interval(low=-1.2e-9, high=8.1e-10),
            rows=5_000,
        ),
        tolerance="|difference| <= 2.4e-07 + 1.6e-05 x |framework's answer| (float32 sums of 287 trees)",
        coverage="4,217 of 4,217 distinct thresholds and 8,831 of 8,831 tests, each reached at, one float below and "
        "one above its threshold, and with NaN",
    )
    return msgspec.structs.replace(right, **changes)


def latency(batch: int, p50: float, p99: float | None, samples: int = 704) -> Latency:
    """Figures with intervals of about a percent; p99 None has none."""
    ci = {"p50_us": Interval(low=p50 * 0.988, high=p50 * 1.013)}
    if p99 is not None:
        ci["p99_us"] = Interval(low=p99 * 0.94, high=p99 * 1.11)
    return Latency(batch=batch, p50_us=p50, p99_us=p99, rows_per_s=batch / p50 * 1e6, ci=ci, samples=samples)


ONNX = CandidateRecord(
    id="onnx-fp32",
    backend="onnx",
    precision="fp32",
    status="passed",
    parity=parity(),
    latency=(latency(1, 17.42, 24.8), latency(64, 168.9, 201.3)),
    bytes=1_284_112,
    build_s=1.913,
    passes=PASSES,
    served_by="onnxruntime",
)
FIL = CandidateRecord(
    id="fil-fp32",
    backend="fil",
    precision="fp32",
    status="passed",
    reason="2.31x onnx-fp32's time on this traffic (2.24 to 2.39); timed by Treelite's interpreter, not FIL itself",
    parity=parity(1),
    latency=(latency(1, 38.04, 61.7), latency(64, 412.6, 495.0)),
    bytes=903_168,
    build_s=0.412,
    passes=PASSES,
    served_by="fil",
)
REFERENCE = CandidateRecord(
    id="reference-fp32",
    backend="reference",
    precision="fp32",
    status="passed",
    reason="14.8x onnx-fp32's time on this traffic (14.1 to 15.6)",
    parity=parity(0, max_abs=0.0, max_rel=0.0),
    latency=(latency(1, 312.7, 1240.5), latency(64, 604.2, None, samples=480)),
    bytes=2_004_117,
    build_s=0.08,
    served_by="python",
)
WRONG = CandidateRecord(
    id="native-fp32",
    backend="native",
    precision="fp32",
    status="failed",
    reason="1,204 wrong leaves (row, tree), the first in tree 118 on row 3077; largest difference of an answer 0.0214",
    parity=parity(41_220, leaf_mismatches=1_204, max_abs=0.0214, max_rel=0.31, decision_flips=12),
    bytes=411_000,
    build_s=0.21,
    passes=PASSES,
    served_by="python",
)
UNSUPPORTED = CandidateRecord(
    id="hummingbird-fp32",
    backend="hummingbird",
    precision="fp32",
    status="unsupported",
    reason="needs hummingbird-ml, which isn't installed (pip install 'millwork[hummingbird]')",
)
DIED = CandidateRecord(
    id="tensor-fp32",
    backend="tensor",
    precision="fp32",
    status="error",
    reason="building ended by signal 9 after 12.1 s: out of memory (limit 6.2 GiB)",
)

WON = Winner(id="onnx-fp32", why="2.31 times as fast as fil-fp32 on this traffic, beyond noise (33 us a request)")

READY = Record(
    schema=SCHEMA,
    model=MODEL,
    target=HERE,
    candidates=(ONNX, FIL, REFERENCE, WRONG, UNSUPPORTED, DIED),
    winner=WON,
    tuning=Tuning(triton="26.03", config=CONFIG),
    notes=(*MODEL.notes, "the rows are the first 5,000 of 336,776 in flights.parquet"),
    run_dir="/home/ada/flights/.millwork/delays",
    millwork="0.1.0",
)
"""A dry run: all is proved and chosen, nothing published."""

EXAMPLE = Example(
    request='{"inputs": [{"name": "input__0", "shape": [1, 17], "datatype": "FP32", "data": ['
    + ", ".join(["2.0", "1089.0", "5.25", *("NaN" if i == 8 else "0.5" for i in range(14))])
    + "]}]}",
    answer=("0.8217", "0.1783"),
)

PUBLISHED = msgspec.structs.replace(
    READY,
    example=EXAMPLE,
    publication=Publication(
        repository="/home/ada/flights/models",
        name="delays",
        version=3,
        manifest_sha256="9f" * 32,
        verified=True,
        server="Triton 2.67.0",
    ),
)
UNVERIFIED = msgspec.structs.replace(
    PUBLISHED,
    publication=Publication(repository="/home/ada/flights/models", name="delays", version=1, manifest_sha256="9f" * 32),
)
NOT_PUBLISHED = msgspec.structs.replace(
    READY,
    stopped="version 4 of 'delays' is loaded and answers wrong: row 3, output 0: 0.25 where the framework says 0.31",
)
"""Publishing failed, and was undone."""

NOTHING_PASSED = msgspec.structs.replace(
    READY,
    candidates=(WRONG, UNSUPPORTED, DIED),
    winner=None,
    tuning=None,
    stopped="no candidate answers as the framework does, so nothing is published:\n  native-fp32: 1,204 wrong leaves",
)
NO_CANDIDATES = msgspec.structs.replace(READY, candidates=(), winner=None, tuning=None)
ELSEWHERE = msgspec.structs.replace(
    READY,
    target=TargetSummary(name="l4", measured_on=HERE.measured_on, is_target=False),
    candidates=(msgspec.structs.replace(ONNX, latency=(), reason=""), UNSUPPORTED),
    winner=None,
    tuning=None,
    stopped="the target l4 isn't here: onnx-fp32 built and through the parity gate, nothing measured or published",
)
BENCH = msgspec.structs.replace(READY, candidates=(ONNX, FIL, REFERENCE), winner=None, tuning=None)

WIDE = msgspec.structs.replace(
    PUBLISHED,
    model=msgspec.structs.replace(MODEL, features=tuple(f"sensor_{i:04d}_mean" for i in range(5_000))),
    candidates=(
        msgspec.structs.replace(
            ONNX,
            parity=parity(metric=None, leaf_mismatches=None),
            latency=tuple(latency(4**i, 12.0 * 3**i, None, samples=64) for i in range(7)),
        ),
        msgspec.structs.replace(
            WRONG, reason="a very long reason that goes on: " + "and on, " * 80, parity=parity(2**32, max_abs=1.7e308)
        ),
    ),
)
"""5,000 features, seven batch sizes, no p99, no labels, a reason of a screenful."""

SCRIPT = '<script>alert("x")</script>'
HOSTILE = msgspec.structs.replace(
    PUBLISHED,
    model=msgspec.structs.replace(
        MODEL,
        path=f"/home/ada/{SCRIPT}.pkl",
        objective=f"binary:{SCRIPT}",
        features=(
            SCRIPT,
            "a|b",
            "`tick`",
            "[red]bold[/red]",
            "\x1b[31mred",
            "\u202eevil",
            "*star*_under_",
            "line\nbreak",
        ),
        outputs=("<b>no</b>", "</svg>yes"),
        notes=(f"note {SCRIPT}",),
    ),
    candidates=(
        msgspec.structs.replace(ONNX, id=f"onnx-{SCRIPT}", reason="[bold]not markup[/bold] </td></table>"),
        msgspec.structs.replace(UNSUPPORTED, reason=f"{SCRIPT} | a pipe\nand a second line\n\n# not a heading"),
    ),
    winner=Winner(id=f"onnx-{SCRIPT}", why=SCRIPT),
    tuning=Tuning(triton="26.03", config=f"# ``` {SCRIPT}\n```\n"),
    run_dir=f"/home/ada/{SCRIPT}",
)
"""Names and reasons that would be markup in HTML, in Markdown or in a terminal."""

QUANTILES = [i / 40 for i in range(41)]


def lowered(precision: str, size: int, error: float, *, p50: float, kept: bool = False) -> CandidateRecord:
    """A net's candidate in one precision: errors up to ``error``, times that spread around ``p50``."""
    near = Metric(
        name="logloss",
        framework=0.412,
        candidate=0.412 + error / 10,
        difference=Interval(low=error / 20, high=error / 5),
        rows=8000,
    )
    area = Metric(
        name="auc",
        framework=0.871,
        candidate=0.871 - error / 40,
        difference=Interval(low=-error / 20, high=error / 90),
        rows=8000,
    )
    trust = Metric(
        name="ece",
        framework=0.0124,
        candidate=0.0124 + error / 30,
        difference=Interval(low=-error / 60, high=error / 12),
        rows=8000,
    )
    worst = tuple(
        WorstRow(
            row=row,
            inputs=tuple((name, f"{row * 0.37 + k:.4g}") for k, name in enumerate(FEATURES)),
            framework=("0.4123", "0.5877"),
            candidate=("0.4", "0.6"),
            difference=error / (i + 1),
        )
        for i, row in enumerate((812, 14, -3))
    )
    time = msgspec.structs.replace(
        latency(1, p50, 2 * p50), quantiles=tuple(p50 * (0.95 + 0.1 * q + (q > 0.97) * q) for q in QUANTILES)
    )
    layers = tuple(
        LayerCost(name=f"net/node_linear_{i}", operator="Gemm", error=error / (i + 1), kept=kept and i == 0)
        for i in range(5)
    )
    return CandidateRecord(
        id=f"onnx-{precision}",
        backend="onnx",
        precision=precision,
        status="passed",
        bytes=size,
        build_s=2.1,
        served_by="onnxruntime",
        latency=(time, latency(64, 9 * p50, 14 * p50)),
        memory_bytes=30 * size,
        layers=() if precision == "fp32" else layers,
        parity=Parity(
            rows=10_000,
            leaf_mismatches=None,
            max_abs=error,
            max_rel=error * 3,
            max_ulp=1 << 20,
            decision_flips=int(error * 1000),
            metric=near,
            metrics=(near, area, trust),
            worst=worst,
            errors=tuple(error * q**3 for q in QUANTILES),
            tolerance="as of its precision",
        ),
    )


NET = msgspec.structs.replace(
    READY,
    model=msgspec.structs.replace(
        READY.model,
        framework="torch",
        framework_version="2.13.0",
        oracle_version="2.13.0",
        objective="net (binary)",
        trees=0,
        path="churn.pt2",
    ),
    candidates=(
        lowered("fp32", 182_000, 1.6e-6, p50=24.0),
        lowered("fp16", 96_000, 4e-4, p50=23.1),
        lowered("int8", 61_000, 0.031, p50=31.0, kept=True),
    ),
    winner=Winner(id="onnx-fp32", why="the fastest that may win on this traffic"),
)
"""A net in three precisions, with labels."""

FOUND = msgspec.structs.replace(
    READY,
    candidates=tuple(
        msgspec.structs.replace(
            line,
            parity=msgspec.structs.replace(
                line.parity,
                finding="plain fp16 thresholds would send 1.3% of your rows to another leaf in some tree; "
                "rank encoding moves none",
            ),
        )
        if line.parity is not None
        else line
        for line in READY.candidates
    ),
)
"""A forest, with what plain fp16 thresholds would have done."""


def trial(number: int, tail_us: float, rows: float, over: float) -> TrialRecord:
    """A configuration of onnx-fp32 that was tried."""
    seen = Figures(
        requests_per_s=rows / 64,
        rows_per_s=rows,
        p50_us=tail_us / 4,
        p90_us=tail_us / 2,
        p99_us=tail_us,
        tail_us=tail_us,
        mean_us=tail_us / 3,
        samples=8_000,
        rounds=3,
        quantiles={"0.99": tail_us},
        batch_rows=64.0,
        queue_us=tail_us / 10,
        compute_us=tail_us / 10,
        outside_us=tail_us / 8,
    )
    return TrialRecord(
        id=number,
        candidate="onnx-fp32",
        backend="onnxruntime",
        settings={},
        words=f"{number} instances",
        figures=seen,
        over=over,
    )


CLOSEST, OTHER = trial(1, 26_408.0, 364_000.0, 6_913.65), trial(2, 41_000.0, 288_000.0, 8_201.3)
MISSED = msgspec.structs.replace(
    READY,
    tuning=Tuning(
        triton="26.03",
        config="",
        default=OTHER,
        best=CLOSEST,
        trials=(CLOSEST, OTHER),
        traffic="batch=64 clients=4",
        slo="p99<0.004ms",
        limit_us=4.0,
        objective="throughput",
        met=False,
        limited_by="waiting in the server's queue",
        server="Triton 2.67.0",
        considered=12,
        seconds=14.2,
        limits=(LimitAnswer(asked="p99<0.004ms", found="p99 26.4 ms of the 4 µs asked", met=False),),
    ),
    stopped="no configuration keeps p99<0.004ms under batch=64 clients=4\n"
    "not met: p99 26.4 ms of the 4 µs asked\nwhat limits it: waiting in the server's queue",
)
"""A limit that no configuration keeps."""

KEPT = msgspec.structs.replace(
    PUBLISHED,
    tuning=msgspec.structs.replace(
        MISSED.tuning,
        config=CONFIG,
        slo="p99<50ms",
        limit_us=50_000.0,
        met=True,
        gain=1.26,
        limits=(LimitAnswer(asked="p99<50ms", found="p99 26.4 ms of the 50 ms asked", met=True),),
    ),
)
"""A limit that is kept."""

RECORDS: Mapping[str, Record] = {
    "published": PUBLISHED,
    "unverified": UNVERIFIED,
    "ready": READY,
    "not-published": NOT_PUBLISHED,
    "nothing-passed": NOTHING_PASSED,
    "no-candidates": NO_CANDIDATES,
    "elsewhere": ELSEWHERE,
    "bench": BENCH,
    "wide": WIDE,
    "hostile": HOSTILE,
    "net": NET,
    "finding": FOUND,
    "missed": MISSED,
    "kept": KEPT,
}
