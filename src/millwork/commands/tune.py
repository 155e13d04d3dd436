"""Tune what is published already: only its configuration changes, and it is published the same atomic way."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .. import __version__
from ..artifacts import manifest as manifests
from ..artifacts import report, signing
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import golden_rows
from ..artifacts.repository import Repository, at, check_name, reading, standard
from ..artifacts.repository.base import Sign
from ..artifacts.repository.terms import ANY, Terms, require_expected
from ..artifacts.served_again import again, native_of
from ..compile.kernel import TRITON_BACKEND
from ..errors import MillworkError, ModelError, PublicationError, SloError, UsageError
from ..executors import LocalExecutor
from ..pipeline import our_backend, publish
from ..pipeline.plan import objective_of, traffic_of
from ..pipeline.publish import Rehearsal
from ..pipeline.tune import require_visible
from ..progress import Progress
from ..storage import inputs, scratch, tables
from ..storage.files import sha256_file
from ..storage.run_directory import RunDirectory
from ..targets import machine
from ..triton import address, control, patience
from ..triton import config as triton_config
from ..triton import serving as servers
from ..triton.address import Address
from ..triton.serving import Serving
from ..triton.settings import Settings
from ..tuning import outcome, slo
from ..tuning import tune as tuning
from ..tuning.budget import LONGEST_TUNE_S
from ..tuning.knobs import Workload
from ..tuning.load import tensors
from ..tuning.outcome import MOST_ROWS, ROWS_FILE, Decision
from ..tuning.session import TuningSession
from ..tuning.slo import Objective, Slo
from ..tuning.trials import SearchProblem, ServedCandidate
from ..validators.rows.given import Given
from ..validators.traffic import Traffic
from ..values import SCHEMA, CandidateRecord, Manifest, Record, TargetSummary, Value, Winner
from ..values.served import VERIFY_S
from .options import TuneOptions

RANK = 0
"""There is one candidate: what is published."""


@dataclass(frozen=True)
class TuneRequest:
    """What ``tune`` is asked to do. ``data``: rows to ask with; without them the version's golden rows are. ``read``:
    what must serve still, where that was read before."""

    repository: Repository
    name: str
    traffic: Traffic
    slo: Slo
    objective: Objective
    budget_s: float
    triton: Address
    run_dir: Path
    data: Path | None = None
    dry_run: bool = False
    sign: Path | None = None
    millwork_backend: bool = False
    read: Terms = ANY
    verify_s: float = VERIFY_S


class Rows(Value):
    """Beside it: ``rows.npz``."""

    rows: int


def requested(options: TuneOptions) -> TuneRequest:
    """The options, understood; UsageError names the first that is wrong."""
    if options.data is not None:
        inputs.require_local(options.data, "--data")
    traffic = traffic_of(options.traffic)
    return TuneRequest(
        repository=at(str(options.repository)),
        name=check_name(options.name),
        traffic=traffic,
        slo=Slo() if options.slo is None else slo.parse(options.slo),
        objective=objective_of(options.objective, traffic),
        budget_s=options.tune_budget,
        triton=address.asked(options),
        run_dir=Path(options.run_dir or Path(".millwork") / options.name).absolute(),
        data=None if options.data is None else Path(options.data).absolute(),
        dry_run=options.dry_run,
        sign=None if options.sign is None else Path(options.sign).absolute(),
        millwork_backend=options.millwork_backend,
        verify_s=patience.checked(options.verify_timeout),
    )


def published(repository: Repository, name: str, scratch: Path) -> Bundle:
    """The version that serves now as a bundle, its files checked; UsageError where it isn't one of ours. ``scratch``:
    where a store's files are put."""
    found = reading.found(repository, name, None, scratch)
    folder = found.folder
    if not (folder / manifests.MANIFEST_FILE).exists():
        raise UsageError(f"{folder}: millwork didn't publish this version", "Publish it with optimize first.")
    manifest = manifests.read_intact(folder)
    return Bundle(
        folder=folder,
        name=name,
        config=found.config,
        manifest=manifest,
        manifest_sha256=manifests.sha256(folder),
    )


def require_sound(repository: Repository, bundle: Bundle) -> None:
    """ModelError where the version that serves isn't as it was published: it isn't published anew."""
    name, version = bundle.name, int(bundle.folder.name)
    noted = repository.noted(name, version)
    if told := standard.problems(bundle.folder, name, version, noted, inert=True, bytecode=True):
        raise ModelError(
            f"{name}: version {version}, which serves, isn't as it was published: {'; '.join(told[: standard.SHOWN])}",
            "Publish the model again, or roll back to another version.",
        )


def require_unsigned(name: str, bundle: Bundle, hint: str) -> None:
    """UsageError where what serves is signed: the tuned one wouldn't be."""
    if (bundle.folder / manifests.SIGNATURE_FILE).exists():
        raise UsageError(f"{name}: the version that serves is signed, and the tuned one wouldn't be", hint)


def terms_of(bundle: Bundle) -> Terms:
    """What was published is replaced only while it serves, and by the configuration that was read."""
    return Terms(expected=int(bundle.folder.name), config=bundle.config)


def tune(request: TuneRequest, progress: Progress) -> tuple[Record, MillworkError | None]:
    """Tune and publish; the record, and why nothing was published, if it wasn't."""
    if not 0 < request.budget_s <= LONGEST_TUNE_S:
        raise UsageError(f"--tune-budget {request.budget_s:g}: expected up to {LONGEST_TUNE_S:.0f} seconds")
    with publish.telling(request.repository, request.name), scratch.folder("tune") as copies:
        bundle = published(request.repository, request.name, copies)
        require_expected(request.name, int(bundle.folder.name), request.read, bundle.config)
        require_sound(request.repository, bundle)
        return _tune(request, bundle, copies, progress)


def _tune(
    request: TuneRequest, bundle: Bundle, copies: Path, progress: Progress
) -> tuple[Record, MillworkError | None]:
    seal = None if request.sign is None else signing.signer(request.sign)
    if seal is None and not request.dry_run:
        require_unsigned(request.name, bundle, "Give the key with --sign, or --dry-run to look only.")
    serving = servers.prepare(request.triton, None, progress.detail, verify_s=request.verify_s)
    if not serving.there:
        raise UsageError("--triton none: a configuration is tuned on a server", "Leave it out.")
    control.require_explicit("tune", serving.url, explicit=serving.explicit)
    require_visible(request.slo, serving)
    serving, ways = _ways(request, bundle, serving, copies, progress)
    with RunDirectory(request.run_dir, progress.note) as directory:
        record, error = _tuned(request, ways, serving, directory, progress, seal)
        report.keep(record, directory, progress)
    return record, error


@dataclass(frozen=True)
class Ways:
    """What is tuned, and what is only measured beside it. ``folder``: where the tuned one's files go; ``terms``: on
    which it is published."""

    bundle: Bundle
    aside: tuple[Bundle, ...]
    folder: Path
    terms: Terms


def _ways(
    request: TuneRequest, bundle: Bundle, serving: Serving, copies: Path, progress: Progress
) -> tuple[Serving, Ways]:
    """As the server is known to take it: what serves by the python backend and could by ours does where the server has
    ours, and the reverse. PublicationError where the server has no backend for it."""
    native, now, terms = native_of(bundle.manifest), bundle.manifest.triton_backend, terms_of(bundle)
    serving = our_backend.settled(
        serving, (native, now), given=request.millwork_backend, into=request.repository, progress=progress
    )
    fits = serving.served_by(native)
    if not fits:
        raise our_backend.unfit((native, "python"), serving)
    wanted = TRITON_BACKEND if native == TRITON_BACKEND and serving.own else now if serving.takes(now) else fits[0]
    if wanted != now:
        progress.note(f"{request.name} is served by Triton's {now} backend; the tuned one will be by {wanted}")
        bundle = again(bundle, wanted, copies / "another", serving.own)
    aside = tuple(
        again(bundle, other, copies / f"aside-{other}") for other in serving.only_measured(native) if other != wanted
    )
    return serving, Ways(bundle, aside, copies / "tuned", terms)


def _tuned(
    request: TuneRequest,
    ways: Ways,
    serving: Serving,
    directory: RunDirectory,
    progress: Progress,
    seal: Sign | None,
) -> tuple[Record, MillworkError | None]:
    bundle = ways.bundle
    candidate = ServedCandidate.of(bundle, RANK)
    aside = [ServedCandidate.of(one, RANK) for one in ways.aside]
    now = triton_config.settings_of(bundle.config)
    workload = _workload(request, bundle, now, serving)
    problem = SearchProblem(workload, request.slo, request.objective, request.budget_s, now.threads, present=now)
    assumed = f" ({request.traffic.assumed} assumed)" if request.traffic.assumed else ""
    progress.begin("tune", f"{request.name} under {request.traffic.words}{assumed}")
    rows = _rows(request, bundle, directory)
    seconds = tuning.round_seconds(request.traffic, _service_us(bundle.manifest))
    with TuningSession(
        directory, LocalExecutor(), progress, serving, [candidate], request.name, rows, seconds
    ) as session:
        tuned = tuning.tune(problem, [candidate], session, aside=aside)
    if tuned.winner is None:
        failed = next(iter(tuned.found.state.failed.values()), "it answered nothing")
        raise PublicationError(f"{request.name}: no configuration could serve: {failed}", "What serves now still does.")
    decision = outcome.decision(tuned, tuned.winner, serving)
    progress.end(outcome.words(decision, f"{request.traffic.words}{assumed}"), ok=decision.error is None)
    setup = decision.setup
    config = triton_config.with_settings(bundle.config, setup.settings, setup.reasons, setup.heading)
    tuned_bundle = msgspec.structs.replace(bundle, config=config)
    changed = again(tuned_bundle, bundle.manifest.triton_backend, ways.folder, serving.own, setup.other)
    record = _record(request, changed, decision, serving)
    if decision.error is not None:
        return _stopped(record, decision.error), decision.error
    if request.dry_run:
        return record, None
    progress.begin("publish", f"{request.repository.url}/{request.name}")
    try:
        rehearsed = Rehearsal(done=f"{serving.words}, under another name while it was tuned")
        publication, _ = publish.publish([changed], request.repository, serving, progress, seal, ways.terms, rehearsed)
    except PublicationError as error:
        return _stopped(record, error), error
    progress.end(publish.words(publication))
    return msgspec.structs.replace(record, publication=publication), None


def _workload(request: TuneRequest, bundle: Bundle, now: Settings, serving: Serving) -> Workload:
    return Workload(
        traffic=request.traffic,
        cores=tuning.cores(),
        kind=now.kind,
        limit_us=request.slo.latency.bound if request.slo.latency is not None else None,
        refusing=request.slo.refused > 0,
        release=serving.release.number,
        together=bundle.manifest.output.independent_rows,
        served=now.max_batch,
    )


def _service_us(manifest: Manifest) -> float:
    return max((latency.p50_us for latency in manifest.latency), default=0.0)


def _rows(request: TuneRequest, bundle: Bundle, directory: RunDirectory) -> Path:
    """The user's rows, or the golden ones, as the load generators take them."""

    def produce(folder: Path) -> Rows:
        if request.data is not None:
            read = tables.read(request.data, bundle.manifest.features, None, limit=MOST_ROWS)
            rows = Given(read.rows, read.categories)
            if given is not None and given.changed():
                raise UsageError(f"{given.path}: the file was changed while it was read", "Give a copy of it.")
        else:
            rows = golden_rows(bundle.folder, bundle.manifest)[0]
        tensors.save(folder / ROWS_FILE, rows)
        return Rows(rows=len(rows))

    given = None if request.data is None else inputs.rows(request.data)
    source = sha256_file(bundle.folder / bundle.manifest.golden_file) if given is None else given.sha256
    key = {"source": source, "features": bundle.manifest.features}
    return directory.stage("asked", key, produce, Rows).folder / ROWS_FILE


def _record(request: TuneRequest, bundle: Bundle, decision: Decision, serving: Serving) -> Record:
    manifest = bundle.manifest
    name = manifest.candidate_id
    line = CandidateRecord(
        id=name,
        backend=manifest.backend,
        precision=manifest.precision,
        status="passed",
        parity=manifest.parity,
        latency=manifest.latency,
        served_by=manifest.triton_backend,
        bytes=sum(entry.bytes for entry in manifest.files if entry.path == manifest.model_file),
    )
    tuned = decision.tuning
    if tuned is None:
        raise SloError("nothing was measured")
    return Record(
        schema=SCHEMA,
        model=manifest.model,
        target=TargetSummary(name="host", measured_on=f"{machine()}, {platform.node()}", is_target=True),
        candidates=(line,),
        winner=Winner(id=name, why="what is published; only its configuration was tuned"),
        tuning=msgspec.structs.replace(tuned, config=bundle.config, triton=serving.release.name),
        run_dir=str(request.run_dir),
        millwork=__version__,
        served=manifest.served,
    )


def _stopped(record: Record, error: MillworkError) -> Record:
    found = msgspec.structs.replace(record, stopped=error.message)
    error.record = found
    return found
