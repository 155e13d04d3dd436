"""``retune``: does what is published still fit the traffic that it gets, and if not, what would?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..artifacts.repository import Repository, at, check_name
from ..errors import MillworkError, TargetError, UsageError
from ..executors import LocalExecutor
from ..progress import Progress
from ..storage import scratch
from ..triton import address, control, counters, patience
from ..triton import config as triton_config
from ..triton.address import Address
from ..triton.counters import Observed
from ..triton.credentials import NONE, Credentials, credentials, refuse_user, with_variable
from ..tuning import fitness, knobs, service_times
from ..tuning import tune as tuning
from ..tuning.fitness import Fitness, TunedFor
from ..tuning.knobs import Workload
from ..tuning.load import tensors
from ..tuning.outcome import MOST_ROWS
from ..tuning.service_times import ProfileRequest, RunnerFile, ServiceTime
from ..tuning.slo import Objective
from ..values import Record, Value
from ..values.served import VERIFY_S
from . import tune as tune_command
from .options import RetuneOptions
from .tune import TuneRequest, published

LONGEST_LOOK_S = 30 * 86400.0


@dataclass(frozen=True)
class RetuneRequest:
    """Where to look, and by which ``credentials``. ``metrics``: Triton's page, read twice ``seconds`` apart;
    ``prometheus``: its last ``seconds``. ``name`` may be empty where the repository and the page have one model in
    common."""

    repository: Repository
    name: str
    metrics: str
    prometheus: str
    seconds: float
    triton: Address
    run_dir: Path | None
    budget_s: float
    apply: bool = False
    sign: Path | None = None
    credentials: Credentials = NONE
    millwork_backend: bool = False
    verify_s: float = VERIFY_S


def requested(options: RetuneOptions) -> RetuneRequest:
    """The options, understood; UsageError names the first that is wrong."""
    if not options.metrics and not options.prometheus:
        raise UsageError("neither --metrics nor --prometheus", "Such as --metrics http://HOST:8002/metrics.")
    for name, url in (("--metrics", options.metrics), ("--prometheus", options.prometheus)):
        refuse_user(name, url or "", "metrics", counters.HEADERS_VARIABLE)
    seconds = options.seconds if options.seconds is not None else (3600.0 if options.prometheus else 10.0)
    if not 0 < seconds <= LONGEST_LOOK_S:
        raise UsageError(f"--seconds {seconds:g}: expected above 0, at most 30 days")
    given = credentials(
        "metrics", options.metrics_ca, options.metrics_cert, options.metrics_key, tuple(options.metrics_header)
    )
    return RetuneRequest(
        repository=at(str(options.repository)),
        name=check_name(options.name) if options.name else "",
        metrics=options.metrics or "",
        prometheus=options.prometheus or "",
        seconds=seconds,
        triton=address.asked(options),
        run_dir=None if options.run_dir is None else Path(options.run_dir),
        budget_s=options.tune_budget,
        apply=options.apply,
        sign=None if options.sign is None else Path(options.sign).absolute(),
        credentials=with_variable(given, counters.HEADERS_VARIABLE),
        millwork_backend=options.millwork_backend,
        verify_s=patience.checked(options.verify_timeout),
    )


class Retuned(Value):
    """``record``: of the tuning, where the change was applied."""

    name: str
    observed: Observed
    now: str
    fitness: Fitness
    proposed: str = ""
    tuned_for: str = ""
    record: Record | None = None


def retune(request: RetuneRequest, progress: Progress) -> tuple[Retuned, MillworkError | None]:
    """Look, judge, and with ``apply`` tune under the traffic that was seen and publish. UsageError where nothing can be
    seen."""
    if request.apply:  # before the counters are watched
        control.foresee(request.triton, progress.note, tuned="--apply")
    name = request.name or _only_one(request)
    with scratch.folder("published") as copies:
        bundle = published(request.repository, name, copies)
        if request.apply and request.sign is None:  # before the counters are watched
            tune_command.require_unsigned(name, bundle, "Give the key with --sign, or leave --apply out to look only.")
        return _retuned(request, name, bundle, progress)


def _retuned(
    request: RetuneRequest, name: str, bundle: Bundle, progress: Progress
) -> tuple[Retuned, MillworkError | None]:
    progress.begin("counters", request.prometheus or request.metrics)
    seen = _observed(request, name, int(bundle.folder.name), progress)
    progress.end(
        f"{seen.rate:,.4g} requests/s of {seen.rows_a_request:,.3g} rows; {seen.queue_us:,.0f} µs queued and "
        f"{seen.compute_us:,.0f} µs computed a request, {seen.rows_a_call:,.3g} rows a call"
    )
    was = fitness.tuned_for(bundle.config)
    now = triton_config.settings_of(bundle.config)
    traffic = fitness.traffic_of(seen)
    limit = was.slo.latency
    workload = Workload(
        traffic=traffic,
        cores=tuning.cores(),
        kind=now.kind,
        limit_us=limit.bound if limit is not None else None,
        together=bundle.manifest.output.independent_rows,
        served=now.max_batch,
    )
    progress.begin("estimate", "the published artifact's own times, here")
    judged = fitness.judge(
        seen, now, bundle.manifest.triton_backend, _service(bundle, workload, progress), workload, was
    )
    expected = (
        "another configuration should do better" if judged.proposal is not None else "what would do better isn't known"
    )
    progress.end("it fits" if judged.fits else expected, ok=judged.fits or judged.proposal is not None)
    found = Retuned(
        name=name,
        observed=seen,
        now=now.words,
        fitness=judged,
        proposed=judged.proposal.words if judged.proposal is not None else "",
        tuned_for=was.traffic.words if was.traffic is not None else "",
    )
    if not request.apply or judged.fits:
        return found, None
    tuned = replace(_tune_request(request, name, workload, was), read=tune_command.terms_of(bundle))
    record, error = tune_command.tune(tuned, progress)
    return msgspec.structs.replace(found, record=record), error


def _tune_request(request: RetuneRequest, name: str, workload: Workload, was: TunedFor) -> TuneRequest:
    """Tuned under the traffic that was seen, whose throughput is given, and the limit that was said before."""
    objective: Objective = "cost" if was.objective == "cost" else "latency"
    return TuneRequest(
        repository=request.repository,
        name=name,
        traffic=workload.traffic,
        slo=was.slo,
        objective=objective,
        budget_s=request.budget_s,
        triton=request.triton,
        sign=request.sign,
        millwork_backend=request.millwork_backend,
        verify_s=request.verify_s,
        run_dir=(request.run_dir or Path(".millwork") / name).absolute(),
    )


def _only_one(request: RetuneRequest) -> str:
    """The one model that both the repository and the page have."""
    there = set(request.repository.models())
    both = (
        sorted(there & set(counters.models(counters.read(request.metrics, request.credentials))))
        if request.metrics
        else sorted(there)
    )
    if len(both) != 1:
        raise UsageError(
            f"which model? {', '.join(both) if both else 'the repository and the metrics have none in common'}",
            "Give its name: millwork retune NAME …",
        )
    return both[0]


def _observed(request: RetuneRequest, name: str, version: int, progress: Progress) -> Observed:
    """What the version that serves did; UsageError where the server's counters are another version's."""
    given = request.credentials
    if request.prometheus:
        grown = counters.grown_in_prometheus(request.prometheus, name, request.seconds, given)
        _require_version(grown, name, version, progress)
        return counters.from_prometheus(request.prometheus, name, request.seconds, version, given)
    began = time.monotonic()
    first = counters.read(request.metrics, given)
    counters.parse(first, name)
    progress.detail(f"a second reading in {request.seconds:g} s")
    time.sleep(request.seconds)
    second, seconds = counters.read(request.metrics, given), time.monotonic() - began
    old, new = counters.by_version(first, name), counters.by_version(second, name)
    _require_version({number: new[number] - old.get(number, 0.0) for number in new}, name, version, progress)
    before = counters.parse(first, name, version) if version in old else counters.Counters()
    return counters.between(before, counters.parse(second, name, version), seconds)


def _require_version(grown: Mapping[int, float], name: str, version: int, progress: Progress) -> None:
    if grown and (told := counters.require_version(grown, name, version)):
        progress.note(told)


def _service(bundle: Bundle, workload: Workload, progress: Progress) -> tuple[ServiceTime, ...]:
    """How long the published artifact's calls take here; nothing, and that is said, where its engine isn't installed,
    or there is no sandbox for it."""
    manifest = bundle.manifest
    space = knobs.space(manifest.triton_backend, workload)
    threads = tuple(sorted({settings.threads for settings in space} | {1}))
    largest = max(workload.traffic.batches) * 8
    batches = (*(size for size in service_times.PROFILED if size < largest), largest)
    with scratch.folder("retune") as folder:
        tensors.save(folder / "rows.npz", golden_rows(bundle.folder, manifest)[0][:MOST_ROWS])
        request = ProfileRequest(
            files=(RunnerFile.of(bundle),), rows=str(folder / "rows.npz"), batches=batches, threads=threads
        )
        try:
            return service_times.measured(LocalExecutor(), request, folder, gpu=workload.kind == "gpu").times
        except TargetError as error:
            progress.note(f"no estimate: {error.message}")
            return ()
