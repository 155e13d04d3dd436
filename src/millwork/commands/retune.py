"""``retune``: does what is published still fit the traffic that it gets, and if not, what would?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..artifacts.repository import Repository
from ..errors import MillworkError, TargetError, UsageError
from ..executors import LocalExecutor
from ..progress import Progress
from ..storage import scratch
from ..triton import config as triton_config
from ..triton import counters
from ..triton.address import Address
from ..triton.counters import Observed
from ..tuning import fitness, knobs, service_times
from ..tuning import tune as tuning
from ..tuning.fitness import Fitness, TunedFor
from ..tuning.knobs import Workload
from ..tuning.load import tensors
from ..tuning.outcome import MOST_ROWS
from ..tuning.service_times import ProfileRequest, RunnerFile, ServiceTime
from ..tuning.slo import Objective
from ..values import Record, Value
from . import tune as reconfigure
from .tune import Wish, published


@dataclass(frozen=True)
class Watch:
    """Where to look. ``metrics``: Triton's page, read twice ``seconds`` apart; ``prometheus``: its last ``seconds``.
    ``name`` may be empty where the repository and the page have one model in common."""

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


class Retuned(Value):
    """``record``: of the tuning, where the change was applied."""

    name: str
    observed: Observed
    now: str
    fitness: Fitness
    proposed: str = ""
    tuned_for: str = ""
    record: Record | None = None


def retune(watch: Watch, progress: Progress) -> tuple[Retuned, MillworkError | None]:
    """Look, judge, and with ``apply`` tune under the traffic that was seen and publish. UsageError where nothing can be
    seen."""
    name = watch.name or _only_one(watch)
    with scratch.folder("published") as copies:
        return _retuned(watch, name, published(watch.repository, name, copies), progress)


def _retuned(watch: Watch, name: str, bundle: Bundle, progress: Progress) -> tuple[Retuned, MillworkError | None]:
    progress.begin("counters", watch.prometheus or watch.metrics)
    seen = _observed(watch, name, progress)
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
    if not watch.apply or judged.fits:
        return found, None
    record, error = reconfigure.tune(_wish(watch, name, workload, was), progress)
    return msgspec.structs.replace(found, record=record), error


def _wish(watch: Watch, name: str, workload: Workload, was: TunedFor) -> Wish:
    """Tuned under the traffic that was seen, whose throughput is given, and the limit that was said before."""
    objective: Objective = "cost" if was.objective == "cost" else "latency"
    return Wish(
        repository=watch.repository,
        name=name,
        traffic=workload.traffic,
        slo=was.slo,
        objective=objective,
        budget_s=watch.budget_s,
        triton=watch.triton,
        sign=watch.sign,
        run_dir=(watch.run_dir or Path(".millwork") / name).absolute(),
    )


def _only_one(watch: Watch) -> str:
    """The one model that both the repository and the page have."""
    there = set(watch.repository.models())
    both = sorted(there & set(counters.models(counters.read(watch.metrics)))) if watch.metrics else sorted(there)
    if len(both) != 1:
        raise UsageError(
            f"which model? {', '.join(both) if both else 'the repository and the metrics have none in common'}",
            "Give its name: millwork retune NAME …",
        )
    return both[0]


def _observed(watch: Watch, name: str, progress: Progress) -> Observed:
    if watch.prometheus:
        return counters.from_prometheus(watch.prometheus, name, watch.seconds)
    began = time.monotonic()
    before = counters.parse(counters.read(watch.metrics), name)
    progress.detail(f"a second reading in {watch.seconds:g} s")
    time.sleep(watch.seconds)
    after = counters.parse(counters.read(watch.metrics), name)
    return counters.between(before, after, time.monotonic() - began)


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
