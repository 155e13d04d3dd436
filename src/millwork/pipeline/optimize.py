"""The main job, an arrow a line: load, judge by, build, check, measure, choose, tune, serve, publish, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from ..artifacts import client, report, signing
from ..artifacts.bundle import Bundle
from ..artifacts.renewed import renewed
from ..artifacts.repository.base import Sign
from ..compile.backends.forms import BackendForm, forms, require_forms
from ..compile.backends.table import PRECISIONS
from ..compile.kernel import TRITON_BACKEND
from ..errors import InternalError, MachineError, MillworkError, ParityError, PublicationError, TargetError
from ..executors import Executor
from ..progress import Progress, Silent
from ..storage import scratch
from ..storage.run_directory import RunDirectory
from ..triton import control
from ..triton import serving as servers
from ..triton.serving import Serving
from ..triton_releases import Release
from ..tuning import outcome
from ..tuning.outcome import Decision
from ..units import duration
from ..validators import gate_steps
from ..validators.choose_candidate import Choice, best_few, choose
from ..validators.gate_steps import MeasureReply
from ..validators.gpu_figures import slowed
from ..values import CandidateRecord, Record, Status, Tuning, Winner
from . import absent_target, given, our_backend, publish, rehearsal, replacing, run_record, serve, stages
from .check_words import in_words
from .options import Options
from .plan import Plan, understand
from .publish import Rehearsal
from .run import Candidate, CheckedCandidate, Model, Run, Truth
from .serve import BundleSource
from .step import StepError, on_gpu, reason
from .tune import tune, untuned, why_untuned


class Outcome(NamedTuple):
    """What the run found, and why it ended without a publication, if it did."""

    record: Record
    error: MillworkError | None


def optimize(options: Options, progress: Progress | None = None) -> Outcome:
    """The whole job. Raises MillworkError where nothing could be judged; what came after that is in the outcome."""
    plan, executor = understand(options)
    with publish.telling(plan.repository, plan.name):
        return _optimize(plan, executor, progress or Silent())


def _optimize(plan: Plan, executor: Executor, progress: Progress) -> Outcome:
    if plan.repository is not None:
        plan.repository.foresee(plan.name)
    replacing.foresee(plan)
    _signer(plan)  # a key that can't sign should be known before a long run
    tuned = "a configuration is tuned under load" if plan.tune_asked and plan.tune_budget else ""
    control.foresee(plan.triton, progress.note, tuned=tuned)
    with RunDirectory(plan.run_dir, progress.note) as directory:
        serve.forget_choice(plan.run_dir)
        run = Run(plan, given.look_at(plan), directory, executor, progress)
        client.forget(plan.run_dir)
        for text in filter(None, (run_record.TRUSTED if plan.trust else "", run.given.of_module(plan))):
            progress.note(text)
        model = stages.load(run)
        replacing.foresee_contract(plan, model)
        require_forms(plan.backends, plan.precisions, net=model.signature.is_net)
        serving = _prepare_server(run, model)
        truth = stages.judge_by(run, model)
        checked = [_check(run, model, truth, form, serving.release) for form in _forms(run, model)]
        found = run_record.of_checked(plan, model, truth, checked)
        for record in found.candidates:
            if record.status == "error":
                progress.note(f"{record.id} died and isn't compared: {record.reason.splitlines()[0]}")
        error: MillworkError | None = None
        try:
            _require_some(checked)
            checked = our_backend.servable(checked, serving)
            found = msgspec.structs.replace(found, candidates=run_record.candidates(checked))
            our_backend.require_servable(checked)
            if not plan.measurable:
                checked, absent = absent_target.without_target(run, checked)
                found = msgspec.structs.replace(found, candidates=run_record.candidates(checked))
                raise absent
            checked, choice = _choose(run, truth, checked)
            found = msgspec.structs.replace(found, candidates=run_record.candidates(checked), winner=choice.winner)
            decision = _tune(run, model, truth, checked, choice, serving, found)
            found = _with_decision(found, decision)
            if decision.error is not None:
                raise decision.error
            winner = BundleSource.of(run, model, truth, _named(checked, decision.id), serving, found)
            found = _publish(winner, decision, found)
        except MillworkError as stopped:
            error = publish.told(stopped, plan.repository, plan.name)
            error.record = found = msgspec.structs.replace(found, stopped=stopped.message)
        found = run.given.noted(msgspec.structs.replace(found, notes=(*found.notes, *run.told)), progress.note)
        report.keep(found, directory, progress)
        return Outcome(found, error)


def _prepare_server(run: Run, model: Model) -> Serving:
    """Before any other work: a server that isn't there, and a backend that it lacks, should be known at once."""
    run.progress.begin("triton", "which release, which backends")
    tunes = run.plan.tune_asked and bool(run.plan.tune_budget)
    needed = (run.plan.rehearsed or tunes) and run.plan.measurable
    serving = servers.prepare(
        run.plan.triton, run.plan.triton_release, run.progress.detail, start=needed, verify_s=run.plan.verify_s
    )
    what = f"Triton {serving.release.version}" if serving.there else "no server: written for release"
    unasked = run.plan.measurable and not run.plan.rehearsed and not serving.there and run.plan.tune_budget
    why = "; without --repository nothing is tuned or served, unless --tune-budget asks for it" if unasked else ""
    run.progress.end(f"{what} ({serving.release.name}){why}")
    rehearsal.require_sense(serving, on_server=run.plan.rehearse_on_server)
    return our_backend.settled_for(run, serving, _forms(run, model) if needed else ())


def _forms(run: Run, model: Model) -> list[BackendForm]:
    """What is built: the backends of the model's kind, in the precisions that the target has."""
    plan = run.plan
    wanted = forms(plan.backends, plan.precisions, net=model.signature.is_net, gpu=on_gpu(run))
    return [form for form in wanted if form.precision in (plan.target.precisions or PRECISIONS)]


# ── build and check ───────────────────────────────────────────────────────────────────────────────────────


def _check(run: Run, model: Model, truth: Truth, form: BackendForm, release: Release) -> CheckedCandidate:
    """Build one candidate and check it; whatever goes wrong with it is in its record."""
    run.progress.begin("build", form.short)
    record = CandidateRecord(id=form.id, backend=form.backend, precision=form.precision, status="error")
    try:
        built = stages.build(run, model, truth, form, release)
        if isinstance(built, str):
            run.progress.end(f"{form.short}: unsupported")
            return CheckedCandidate(msgspec.structs.replace(record, status="unsupported", reason=built))
        record = _with_files(record, built, model)
        run.progress.end(f"{form.short}: {built.bytes / 1024:,.0f} KiB", cached=built.cached)
        run.progress.begin("check", record.id)
        stage = stages.check(run, model, truth, built)
    except StepError as error:
        why, missing = reason(error)
        died = error.failure.kind
        run.progress.end(f"{form.short}: {'not installed' if missing else why.splitlines()[0]}", ok=missing)
        status: Status = "unsupported" if missing else "error"
        return CheckedCandidate(msgspec.structs.replace(record, status=status, reason=why), None, missing, died=died)
    verdict = stage.value
    run.progress.end(in_words(record.id, verdict, net=model.signature.is_net), cached=stage.cached, ok=verdict.passed)
    status = "passed" if verdict.passed else "failed"
    record = msgspec.structs.replace(record, status=status, reason=verdict.reason, parity=verdict.parity)
    return CheckedCandidate(record, built, allowed=verdict.allowed, engine=verdict.engine)


def _with_files(record: CandidateRecord, built: Candidate, model: Model) -> CandidateRecord:
    artifact = built.artifact
    return msgspec.structs.replace(
        record,
        id=artifact.id,
        bytes=built.bytes,
        build_s=round(built.seconds, 3),
        passes=(*model.lowered.notes, *artifact.passes),
        served_by=artifact.triton_backend,
        layers=artifact.layers,
    )


def _require_some(checked: Sequence[CheckedCandidate]) -> None:
    """ParityError where none passed; TargetError where that is for want of what could be installed."""
    if any(candidate.passed for candidate in checked):
        return
    reasons = "\n".join(f"  {candidate.record.id}: {candidate.record.reason}" for candidate in checked)
    if checked and all(candidate.missing for candidate in checked):
        raise TargetError(f"no candidate could be built here:\n{reasons}", "Install what is named above.")
    failed = any(candidate.record.status == "failed" for candidate in checked)
    if not failed and any(candidate.died in ("killed", "out-of-memory") for candidate in checked):
        raise MachineError(f"no candidate could be built and checked here:\n{reasons}", "See what ended them.")
    raise ParityError(f"no candidate answers as the framework does, so nothing is published:\n{reasons}")


# ── measure and choose ────────────────────────────────────────────────────────────────────────────────────


def _choose(run: Run, truth: Truth, checked: Sequence[CheckedCandidate]) -> tuple[list[CheckedCandidate], Choice]:
    """Measure those that passed, interleaved, and choose. One that dies being measured is out; the rest go on."""
    batches = run.plan.traffic.batches
    found = list(checked)
    run.progress.begin("measure", f"batches {', '.join(map(str, batches))}, {run.plan.threads} thread(s), interleaved")
    while True:
        built = [candidate.built for candidate in found if candidate.passed]
        try:
            stage = stages.measure(run, truth, built, batches)
            break
        except StepError as error:
            why, _ = reason(error)
            died = _who_dies(run, truth, built, batches)
            if error.failure.from_outside and len(died) in (0, len(built)):
                msgspec.structs.replace(error.failure, log="").raise_(subject="Measuring")
            if not died:
                raise InternalError(f"measuring failed: {why}") from error
            found = [_out(candidate, died) for candidate in found]
            _require_some(found)
    run.progress.end(f"{len(built)} candidates", cached=stage.cached)
    samples = gate_steps.read_samples(stage.folder / gate_steps.SAMPLES_FILE)
    ranks = {candidate.record.id: candidate.rank for candidate in found if candidate.passed}
    not_named = [candidate.record.id for candidate in found if candidate.passed and not _may_win(run, truth, candidate)]
    choice = choose(ranks, samples, run.plan.traffic.shares, not_named)
    return [
        _with_latency(candidate, stage.value, choice) if candidate.passed else candidate for candidate in found
    ], choice


def _may_win(run: Run, truth: Truth, checked: CheckedCandidate) -> bool:
    """A precision that isn't exact wins only where it was named."""
    return checked.record.precision in ("fp32", *run.plan.precisions) or not truth.is_net


def _who_dies(run: Run, truth: Truth, built: Sequence[Candidate], batches: tuple[int, ...]) -> dict[str, str]:
    """Measure each alone: the ids of those that die, and why."""
    died: dict[str, str] = {}
    for candidate in built:
        try:
            stages.measure(run, truth, [candidate], batches)
        except StepError as error:
            died[candidate.id] = f"while it was measured: {reason(error)[0]}"
    return died


def _out(checked: CheckedCandidate, died: dict[str, str]) -> CheckedCandidate:
    name = checked.record.id
    if name not in died:
        return checked
    return replace(checked, record=msgspec.structs.replace(checked.record, status="error", reason=died[name]))


def _with_latency(checked: CheckedCandidate, figures: MeasureReply, choice: Choice) -> CheckedCandidate:
    name, latency = checked.record.id, figures.latency[checked.record.id]
    record = msgspec.structs.replace(
        checked.record,
        latency=latency,
        memory_bytes=figures.memory.get(name),
        gpu_bytes=figures.gpu_memory.get(name),
        reason=_with_timing(checked.built, choice.lost.get(name, ""), slowed(latency)),
    )
    return replace(checked, record=record)


def _with_timing(built: Candidate, why_lost: str, held_back: str) -> str:
    """Figures that aren't the serving engine's own, or of a GPU that was slowed, say so."""
    timed_by = built.artifact.timed_by
    marks = (
        f"timed by {timed_by}" if timed_by else "",
        f"measured while the GPU was slowed: {held_back}" if held_back else "",
    )
    return "; ".join(part for part in (why_lost, *marks) if part)


# ── tune ──────────────────────────────────────────────────────────────────────────────────────────────────


def _tune(
    run: Run,
    model: Model,
    truth: Truth,
    checked: Sequence[CheckedCandidate],
    choice: Choice,
    serving: Serving,
    found: Record,
) -> Decision:
    """The best few on the real server under the traffic; the winner as it is where nothing is to be measured."""
    traffic = run.plan.traffic
    why_not = why_untuned(run, serving)
    if why_not:
        if run.plan.tune_asked and traffic.assumed == "":
            run.progress.note(f"the configuration isn't tuned: {why_not}")
        return untuned(run, model, choice.winner.id)
    said = "" if traffic.assumed == traffic.words else f"{traffic.assumed} "
    assumed = f" ({said}assumed)" if traffic.assumed else ""
    run.progress.begin("tune", f"{traffic.words}{assumed}")
    few = [_named(checked, name) for name in best_few(choice)]
    decision = tune(run, model, truth, few, serving, found)
    run.progress.end(outcome.words(decision, f"{traffic.words}{assumed}"), ok=decision.error is None)
    return decision


def _named(checked: Sequence[CheckedCandidate], name: str) -> CheckedCandidate:
    return next(candidate for candidate in checked if candidate.record.id == name)


def _with_decision(found: Record, decision: Decision) -> Record:
    """The record with what was measured on the server, and with the winner that it decided for."""
    winner, tuning = found.winner, decision.tuning
    if tuning is None or tuning.best is None or winner is None:
        return found
    candidates = found.candidates
    if decision.id == winner.id:
        why = f"{winner.why}; on {tuning.server} {outcome.tried(tuning)} is {tuning.best.words}"
    else:
        best = f"{outcome.tried(tuning)} on {tuning.server} under {tuning.traffic}"
        why = f"{best}, where {winner.id}, faster in process, was behind it"
        candidates = tuple(
            msgspec.structs.replace(record, reason=_behind(tuning, winner.id)) if record.id == winner.id else record
            for record in candidates
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
        f"{duration(best.figures.p99_us)} at its best ({best.words}), against "
        f"{tuning.best.figures.rows_per_s:,.0f} rows/s and {duration(tuning.best.figures.p99_us)}"
    )


# ── serve and publish ─────────────────────────────────────────────────────────────────────────────────────


def _publish(winner: BundleSource, decision: Decision, found: Record) -> Record:
    """Serve the winner on the real server, and publish it if that was asked."""
    run, serving = winner.run, winner.serving
    run.progress.begin("serve", f"{decision.id} on {serving.release.name}")
    served = serve.serve(winner, decision.setup)
    if isinstance(served, str):
        raise PublicationError(f"{decision.id} can't be served: {served}", "The report has the candidates.")
    bundle = served[0]
    by = bundle.manifest.triton_backend
    found = msgspec.structs.replace(found, example=client.write(bundle, run.plan.run_dir))
    asked = "golden rows agree" if serving.installation else "not loaded anywhere yet"
    run.progress.end(f"{'our' if by == TRITON_BACKEND else by} backend, {asked}")
    found = _with_bundle(found, decision, bundle)
    if run.plan.repository is None:
        return found
    run.directory.require_unchanged()
    run.progress.begin("publish", f"{run.plan.repository.url}/{run.plan.name}")
    with scratch.folder("publish") as own:
        written = [renewed(bundle, own / f"bundle-{i}") for i, bundle in enumerate(served)]
        publication, bundle = publish.publish(
            written,
            run.plan.repository,
            serving,
            run.progress,
            _signer(run.plan),
            run.plan.terms,
            _rehearsal(winner, decision, found),
        )
    run.progress.end(publish.words(publication))
    return msgspec.structs.replace(_with_bundle(found, decision, bundle), publication=publication)


def _rehearsal(winner: BundleSource, decision: Decision, found: Record) -> Rehearsal:
    """What is known of it before it is published: a server of ours has answered from it, or the tuner's trials have
    asked it on the server that runs already, under another name."""
    serving, asked = winner.serving, winner.run.plan.rehearse_on_server
    taken = max((line.memory_bytes or 0 for line in found.candidates if line.id == decision.id), default=0)
    done = ""
    if serving.installation is not None:
        done = f"the managed {serving.words}" if serving.installation.environment is not None else serving.words
    elif decision.setup.backend and serving.there:
        done = f"{serving.words}, under another name while it was tuned"
    return Rehearsal(done=done, asked=rehearsal.Asked(on_server=asked, needs=taken))


def _signer(plan: Plan) -> Sign | None:
    return None if plan.sign is None else signing.signer(plan.sign)


def _with_bundle(found: Record, decision: Decision, bundle: Bundle) -> Record:
    """The record with the winner's configuration and the Triton backend that serves it."""
    backend = bundle.manifest.triton_backend
    tuning = found.tuning or Tuning(triton=bundle.manifest.triton_release, config="")
    return msgspec.structs.replace(
        found,
        served=bundle.manifest.served,
        tuning=msgspec.structs.replace(tuning, triton=bundle.manifest.triton_release, config=bundle.config),
        candidates=tuple(
            msgspec.structs.replace(record, served_by=backend) if record.id == decision.id else record
            for record in found.candidates
        ),
    )
