"""The main job, an arrow a line: load, judge by, build, check, measure, choose, tune, serve, publish, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from .. import __version__
from ..artifacts import report, signing
from ..artifacts.assemble import Evidence
from ..artifacts.bundle import Bundle
from ..artifacts.repository.base import Sign
from ..compile.backends import table as backends
from ..compile.backends.table import Variant, variants
from ..errors import InternalError, MillworkError, ParityError, PublicationError, TargetError
from ..progress import Progress, Silent
from ..storage.run_directory import RunDirectory
from ..targets import instead, measured_here
from ..triton import serving as server
from ..triton.serving import Serving
from ..triton_releases import Release
from ..validators import gate_steps as gate
from ..validators.choose_candidate import Choice, Contender, best_few, choose
from ..validators.gate_steps import MeasureReply
from ..validators.gpu_figures import slowed
from ..values import SCHEMA, CandidateRecord, ModelSummary, Record, Status, Tuning, Winner
from . import absent_target, stages
from . import publish as release
from . import tune as deciding
from .options import Options
from .plan import Plan, understand
from .run import BuiltCandidate, CandidateError, Judged, Model, Run, Truth
from .tune import Decision, Finalist


class Outcome(NamedTuple):
    """What the run found, and why it ended without a publication, if it did."""

    record: Record
    error: MillworkError | None


TRUSTED = "--trust: the steps that read and run this model had no sandbox"


def run(options: Options, progress: Progress | None = None) -> Outcome:
    """The whole job. Raises MillworkError where nothing could be judged; what came after that is in the outcome."""
    plan, executor = understand(options)
    if plan.repository is not None:
        plan.repository.foresee(plan.name)
    _signer(plan)  # a key that can't sign should be known before a long run
    told = progress or Silent()
    with RunDirectory(plan.run_dir, told.note) as directory:
        job = Run(plan, directory, executor, told)
        release.forget_choice(plan.run_dir)
        if plan.trust:
            told.note(TRUSTED)
        model = stages.load(job)
        backends.demand_forms(plan.backends, plan.precisions, net=model.signature.is_net)
        serving = _prepare_server(job)
        truth = stages.judge_by(job, model)
        wanted = [
            one
            for one in variants(plan.backends, plan.precisions, net=model.signature.is_net, gpu=stages.on_gpu(job))
            if one.precision in (plan.target.precisions or backends.PRECISIONS)
        ]
        judged = [_judge(job, model, truth, one, serving.release) for one in wanted]
        found = _record(plan, model, truth, judged)
        for line in found.candidates:
            if line.status == "error":
                told.note(f"{line.id} died and isn't compared: {line.reason.splitlines()[0]}")
        error: MillworkError | None = None
        try:
            _demand_candidates(judged)
            noted, absent = _demand_target(job, judged)
            if absent is not None:
                found = msgspec.structs.replace(found, candidates=_lines(noted))
                raise absent
            judged, choice = _choose(job, truth, judged)
            found = msgspec.structs.replace(found, candidates=_lines(judged), winner=choice.winner)
            decision = _tune(job, model, truth, judged, choice, serving, found)
            found = _with_decision(found, decision)
            if decision.error is not None:
                raise decision.error
            found = _release(job, model, truth, judged, decision, serving, found)
        except MillworkError as stopped:
            error = stopped
            error.record = found = msgspec.structs.replace(found, stopped=stopped.message)
        report.keep(found, directory, told)
        return Outcome(found, error)


def _prepare_server(job: Run) -> Serving:
    """Before any other work: a server that isn't there should be known at once."""
    job.progress.begin("triton", "which release, which backends")
    tunes = job.plan.tune_asked and bool(job.plan.tune_budget)
    needed = (job.plan.rehearsed or tunes) and job.plan.measurable
    serving = server.prepare(job.plan.triton, job.plan.triton_release, job.progress.detail, start=needed)
    what = f"Triton {serving.release.version}" if serving.there else "no server: written for release"
    untuned = job.plan.measurable and not job.plan.rehearsed and not serving.there and job.plan.tune_budget
    why = "; without --repository nothing is tuned or served, unless --tune-budget asks for it" if untuned else ""
    job.progress.end(f"{what} ({serving.release.name}){why}")
    return serving


def _judge(job: Run, model: Model, truth: Truth, variant: Variant, target: Release) -> Judged:
    """Build one candidate and check it; whatever goes wrong with it is in its record."""
    name = variant.short
    job.progress.begin("build", name)
    line = CandidateRecord(id=variant.id, backend=variant.backend, precision=variant.precision, status="error")
    try:
        built = stages.build(job, model, truth, variant, target)
        if isinstance(built, str):
            job.progress.end(f"{name}: unsupported")
            return Judged(msgspec.structs.replace(line, status="unsupported", reason=built))
        line = msgspec.structs.replace(
            line,
            id=built.built.id,
            bytes=built.bytes,
            build_s=round(built.seconds, 3),
            passes=(*model.lowered.notes, *built.built.passes),
            served_by=built.built.triton_backend,
            layers=built.built.layers,
        )
        job.progress.end(f"{name}: {built.bytes / 1024:,.0f} KiB", cached=built.cached)
        job.progress.begin("check", line.id)
        stage = stages.check(job, model, truth, built)
    except CandidateError as error:
        reason, missing = stages.reason(error)
        job.progress.end(f"{name}: {'not installed' if missing else reason.splitlines()[0]}", ok=missing)
        return Judged(
            msgspec.structs.replace(line, status="unsupported" if missing else "error", reason=reason), None, missing
        )
    verdict = stage.value
    status: Status = "passed" if verdict.passed else "failed"
    told = "equal" if verdict.passed else "NOT equal"
    job.progress.end(
        f"{line.id}: {told} on {verdict.parity.rows:,} rows, "
        + ("" if model.signature.is_net else f"{verdict.parity.leaf_mismatches or 0:,} wrong leaves, ")
        + f"answers within {verdict.parity.max_abs:.1e}",
        cached=stage.cached,
        ok=verdict.passed,
    )
    line = msgspec.structs.replace(line, status=status, reason=verdict.reason, parity=verdict.parity)
    return Judged(line, built, allowed=verdict.allowed, engine=verdict.engine)


def _choose(job: Run, truth: Truth, judged: Sequence[Judged]) -> tuple[list[Judged], Choice]:
    """Measure those that passed, interleaved, and choose. One that dies being measured is out; the rest go on."""
    batches = job.plan.traffic.batches
    contenders = [one for one in judged if one.passed]
    lines = list(judged)
    job.progress.begin("measure", f"batches {', '.join(map(str, batches))}, {job.plan.threads} thread(s), interleaved")
    while True:
        built = [one.built for one in contenders if one.built is not None]
        try:
            stage = stages.measure(job, truth, built, batches)
            break
        except CandidateError as error:
            died = _who_dies(job, truth, built, batches)
            if not died:
                raise InternalError(f"measuring failed: {stages.reason(error)[0]}") from error
            lines = [_out(one, died) for one in lines]
            contenders = [one for one in lines if one.passed]
            _demand_candidates(lines)
    job.progress.end(f"{len(contenders)} candidates", cached=stage.cached)
    samples = gate.read_samples(stage.folder / gate.SAMPLES_FILE)
    ranked = [
        Contender(id=one.record.id, rank=backends.rank(one.record.backend), may_win=_may_win(job, truth, one))
        for one in contenders
    ]
    choice = choose(ranked, samples, job.plan.traffic.shares)
    timed = [_timed(one, stage.value, choice) if one.passed else one for one in lines]
    return timed, choice


def _timed(one: Judged, figures: MeasureReply, choice: Choice) -> Judged:
    line = msgspec.structs.replace(
        one.record,
        latency=figures.latency[one.record.id],
        memory_bytes=figures.memory.get(one.record.id),
        gpu_bytes=figures.gpu_memory.get(one.record.id),
        reason=_with_timing(one, choice.lost.get(one.record.id, ""), slowed(figures.latency[one.record.id])),
    )
    return replace(one, record=line)


def _who_dies(job: Run, truth: Truth, built: Sequence[BuiltCandidate], batches: tuple[int, ...]) -> dict[str, str]:
    """Measure each alone: the ids of those that die, and why."""
    died: dict[str, str] = {}
    for candidate in built:
        try:
            stages.measure(job, truth, [candidate], batches)
        except CandidateError as error:
            died[candidate.built.id] = f"while it was measured: {stages.reason(error)[0]}"
    return died


def _out(one: Judged, died: dict[str, str]) -> Judged:
    if one.record.id not in died:
        return one
    return replace(one, record=msgspec.structs.replace(one.record, status="error", reason=died[one.record.id]))


def _with_timing(one: Judged, why_lost: str, held_back: str) -> str:
    """Figures that aren't the serving engine's own, or of a GPU that was slowed, say so."""
    timed_by = one.built.built.timed_by if one.built is not None else ""
    marks = (
        f"timed by {timed_by}" if timed_by else "",
        f"measured while the GPU was slowed: {held_back}" if held_back else "",
    )
    return "; ".join(part for part in (why_lost, *marks) if part)


def _tune(
    job: Run, model: Model, truth: Truth, judged: Sequence[Judged], choice: Choice, serving: Serving, found: Record
) -> Decision:
    """The best few on the real server under the traffic; the winner as it is where nothing is to be measured."""
    why_not = deciding.wanted(job, serving)
    if why_not:
        if job.plan.tune_asked and job.plan.traffic.assumed == "":
            job.progress.note(f"the configuration isn't tuned: {why_not}")
        return deciding.plain(job, model, choice.winner.id)
    traffic = job.plan.traffic
    assumed = f" ({traffic.assumed} assumed)" if traffic.assumed else ""
    job.progress.begin("tune", f"{traffic.words}{assumed}")
    few = [_finalist(_one(judged, name), found) for name in best_few(choice)]
    decision = deciding.decide(job, model, truth, few, serving)
    job.progress.end(deciding.words(decision, f"{traffic.words}{assumed}"), ok=decision.error is None)
    return decision


def _finalist(one: Judged, found: Record) -> Finalist:
    if one.built is None or one.record.parity is None or one.allowed is None:
        raise InternalError(f"{one.record.id} passed without having been built and checked")
    evidence = Evidence(
        model=found.model,
        parity=one.record.parity,
        latency=one.record.latency,
        target=found.target,
        engine=one.engine,
        golden_abs=one.allowed.abs,
        golden_rel=one.allowed.rel,
    )
    return Finalist(one.built, evidence, backends.rank(one.record.backend))


def _one(judged: Sequence[Judged], name: str) -> Judged:
    return next(one for one in judged if one.record.id == name)


def _with_decision(found: Record, decision: Decision) -> Record:
    """The record with what was measured on the server, and with the winner that it decided for."""
    winner, tuning = found.winner, decision.tuning
    if tuning is None or tuning.best is None or winner is None:
        return found
    candidates = found.candidates
    if decision.id == winner.id:
        why = f"{winner.why}; and the best on {tuning.server}: {tuning.best.words}"
    else:
        why = f"the best on {tuning.server} under {tuning.traffic}, where {winner.id}, faster in process, was behind it"
        candidates = tuple(
            msgspec.structs.replace(line, reason=_behind(tuning, winner.id)) if line.id == winner.id else line
            for line in candidates
        )
    return msgspec.structs.replace(found, winner=Winner(id=decision.id, why=why), candidates=candidates, tuning=tuning)


def _behind(tuning: Tuning, name: str) -> str:
    """Why the in-process winner lost on the server: its best trial beside the winner's."""
    mine = [trial for trial in tuning.trials if trial.candidate == name and trial.figures is not None]
    if not mine or tuning.best is None or tuning.best.figures is None:
        return "the fastest in process; it couldn't serve"
    best = max(mine, key=lambda trial: trial.figures.rows_per_s if trial.figures else 0.0)
    if best.figures is None:
        return ""
    return (
        f"the fastest in process; on the server {best.figures.rows_per_s:,.0f} rows/s and p99 "
        f"{best.figures.p99_us / 1e3:,.2f} ms at its best ({best.words}), against "
        f"{tuning.best.figures.rows_per_s:,.0f} rows/s and {tuning.best.figures.p99_us / 1e3:,.2f} ms"
    )


def _release(
    job: Run, model: Model, truth: Truth, judged: Sequence[Judged], decision: Decision, serving: Serving, found: Record
) -> Record:
    """Serve the winner on the real server, and publish it if that was asked."""
    winner = _finalist(_one(judged, decision.id), found)
    job.progress.begin("serve", f"{decision.id} on {serving.release.name}")
    served = release.serve(job, model, truth, winner.built, winner.evidence, serving, decision.setup)
    if isinstance(served, str):
        raise PublicationError(f"{decision.id} can't be served: {served}", "The report has the candidates.")
    bundle = served[0]
    native = winner.built.built.triton_backend
    lacking = f" (it has no {native} backend)" if bundle.manifest.triton_backend != native else ""
    job.progress.end(
        f"Triton's {bundle.manifest.triton_backend} backend{lacking}, "
        + ("golden rows agree" if serving.installation else "not loaded anywhere yet")
    )
    found = _with_bundle(found, decision, bundle)
    if job.plan.repository is None:
        return found
    job.directory.demand_unchanged()
    job.progress.begin("publish", f"{job.plan.repository.url}/{job.plan.name}")
    publication, bundle = release.publish(served, job.plan.repository, serving, job.progress, _signer(job.plan))
    job.progress.end(release.words(publication))
    return msgspec.structs.replace(_with_bundle(found, decision, bundle), publication=publication)


def _signer(plan: Plan) -> Sign | None:
    return None if plan.sign is None else signing.signer(plan.sign)


def _with_bundle(found: Record, decision: Decision, bundle: Bundle) -> Record:
    """The record with the winner's configuration and the Triton backend that serves it."""
    backend = bundle.manifest.triton_backend
    tuning = found.tuning or Tuning(triton=bundle.manifest.triton_release, config="")
    return msgspec.structs.replace(
        found,
        tuning=msgspec.structs.replace(tuning, triton=bundle.manifest.triton_release, config=bundle.config),
        candidates=tuple(
            msgspec.structs.replace(line, served_by=backend) if line.id == decision.id else line
            for line in found.candidates
        ),
    )


def _demand_candidates(judged: Sequence[Judged]) -> None:
    """ParityError where none passed; TargetError where that is for want of what could be installed."""
    if any(one.passed for one in judged):
        return
    reasons = "\n".join(f"  {one.record.id}: {one.record.reason}" for one in judged)
    if judged and all(one.missing for one in judged):
        raise TargetError(f"no candidate could be built here:\n{reasons}", "Install what is named above.")
    raise ParityError(f"no candidate answers as the framework does, so nothing is published:\n{reasons}")


def _demand_target(job: Run, judged: Sequence[Judged]) -> tuple[Sequence[Judged], TargetError | None]:
    """The candidates, and why nothing is measured here: the target is another machine's GPU. What can be known of it
    without the GPU is then in the candidates."""
    if job.plan.measurable:
        return judged, None
    ready = [(one.record, one.built) for one in judged if one.passed and one.built is not None]
    found = absent_target.ask(job, ready)
    noted = [replace(one, record=absent_target.noted(one.record, found)) for one in judged]
    told = [(one.record, one.built) for one in noted if one.passed and one.built is not None]
    return noted, absent_target.absent(job, told)


def _record(plan: Plan, model: Model, truth: Truth, judged: Sequence[Judged]) -> Record:
    signature = model.signature
    died = (f"{one.record.id} died and isn't compared" for one in judged if one.record.status == "error")
    trusted = (TRUSTED,) if plan.trust else ()
    elsewhere = (f"measured on {instead(plan.target)}",) if plan.other_gpu and instead(plan.target) else ()
    notes = (*trusted, *elsewhere, *signature.notes, *truth.rows.notes, truth.interpreter.note, *died)
    return Record(
        schema=SCHEMA,
        model=ModelSummary(
            framework=signature.provenance.framework,
            objective=signature.objective,
            sha256=signature.provenance.sha256,
            features=signature.features.names,
            outputs=signature.output.labels,
            framework_version=signature.provenance.framework_version,
            oracle_version=truth.interpreter.version,
            path=signature.provenance.path,
            trees=model.lowered.trees,
            output_kind=signature.output.kind,
            missing=signature.features.missing,
            notes=signature.notes,
            categories=signature.features.category_names,
            category_dtype=signature.features.category_dtype,
        ),
        target=measured_here(plan.target, other_gpu=plan.other_gpu),
        candidates=_lines(judged),
        notes=tuple(note for note in notes if note),
        run_dir=str(plan.run_dir),
        millwork=__version__,
    )


def _lines(judged: Sequence[Judged]) -> tuple[CandidateRecord, ...]:
    return tuple(one.record for one in judged)


def _may_win(job: Run, truth: Truth, one: Judged) -> bool:
    """A precision that isn't exact wins only where it was named."""
    return one.record.precision in ("fp32", *job.plan.precisions) or not truth.is_net
