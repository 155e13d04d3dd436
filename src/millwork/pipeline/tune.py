"""From the best few candidates to one, with one Triton configuration: measured on the real server, or the plain one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import SloError, UsageError
from ..storage.files import sha256_file
from ..triton.serving import Serving
from ..triton_releases import Release
from ..tuning import knobs
from ..tuning import tune as tuning
from ..tuning.knobs import Workload
from ..tuning.load import tensors
from ..tuning.outcome import MOST_ROWS, ROWS_FILE, Decision, Setup, decision, tuning_record
from ..tuning.session import TuningSession
from ..tuning.slo import Slo
from ..tuning.trials import SearchProblem, ServedCandidate, Trial
from ..tuning.tune import Tuned
from ..validators.rows import given
from ..values import Record, Value
from . import stages
from .run import CheckedCandidate, Model, Run, Truth
from .serve import BundleSource, for_trials, to_measure_only
from .step import StepError, reason


class Asked(Value):
    """Beside it: ``rows.npz``, the rows that the server is asked."""

    rows: int


def why_untuned(run: Run, serving: Serving) -> str:
    """Why nothing is tuned, in a few words; empty where it is."""
    if not run.plan.tune_budget:
        return "tuning was switched off" if serving.there else "no server to measure on"
    if not serving.there:
        return "no server to measure on"
    if serving.url and not run.plan.tune_asked:
        return f"{serving.url} is in use: it is put under load only where --traffic, --slo or --tune-budget says so"
    return ""


def untuned(run: Run, model: Model, chosen: str) -> Decision:
    """The configuration that is written where nothing was measured."""
    return Decision(chosen, Setup(settings=knobs.untuned(_workload(run, model, None), run.plan.threads)))


def tune(
    run: Run, model: Model, truth: Truth, best: Sequence[CheckedCandidate], serving: Serving, found: Record
) -> Decision:
    """Tune the ``best`` (the in-process winner first) and take one. ``found``: what the run knows so far. Raises
    UsageError for a limit that can't be seen on this server."""
    plan = run.plan
    require_visible(plan.slo, serving)
    workload = _workload(run, model, serving.release)
    problem = SearchProblem(workload, plan.slo, plan.objective, plan.tune_budget, plan.threads)
    settings = knobs.untuned(workload, plan.threads)
    sources = [(checked.rank, BundleSource.of(run, model, truth, checked, serving, found)) for checked in best]
    candidates = [ServedCandidate.of(bundle, rank) for rank, one in sources for bundle in for_trials(one, settings)]
    aside = [ServedCandidate.of(bundle, rank) for rank, one in sources for bundle in to_measure_only(one, settings)]
    built = {checked.record.id: checked.built for checked in best}

    def accept(trial: Trial) -> str:
        """A configuration of other threads than were judged is judged by its own."""
        threads = trial.settings.threads
        if threads == plan.threads:
            return ""
        try:
            verdict = stages.check(run, model, truth, built[trial.candidate.id], threads).value
        except StepError as error:
            return f"with {threads} threads: {reason(error)[0]}"
        return "" if verdict.passed else f"with {threads} threads: {verdict.reason}"

    rows = _rows(run, truth)
    seconds = tuning.round_seconds(plan.traffic, 0.0 if plan.traffic.open else _call_us(best[0]))
    with TuningSession(
        run.directory,
        run.executor,
        run.progress,
        serving,
        candidates,
        plan.name,
        rows,
        seconds,
        confined=not plan.trust,
    ) as session:
        tuned = tuning.tune(problem, candidates, session, accept, aside)
    if tuned.winner is None:
        return _nothing_served(run, model, tuned, best[0], serving)
    return decision(tuned, tuned.winner, serving)


def require_visible(slo: Slo, serving: Serving) -> None:
    """UsageError for a limit that can't be seen on this server."""
    if serving.url and slo.of_the_server:
        raise UsageError(
            f"--slo {slo.of_the_server[0].text}: this can be measured on a server of our own only",
            "Leave it out, or use --triton managed.",
        )


def _nothing_served(run: Run, model: Model, tuned: Tuned, first: CheckedCandidate, serving: Serving) -> Decision:
    """Nothing could serve, or nothing that could is right: the plain configuration, whose publication says why."""
    failed = [*tuned.found.state.failed.values(), *tuned.refused.values()]
    chosen = untuned(run, model, first.record.id)
    if run.plan.slo.limits:
        error = SloError(
            f"{run.plan.slo.words}: no configuration could be measured: {failed[0] if failed else 'none answered'}",
            "Without --slo the candidate is published unmeasured, if the server answers right.",
        )
        return Decision(chosen.id, chosen.setup, tuning_record(tuned, None, serving), error)
    run.progress.note(f"nothing was tuned: {failed[0] if failed else 'no configuration answered'}")
    return chosen


def _workload(run: Run, model: Model, served: Release | None) -> Workload:
    limit = run.plan.slo.latency
    return Workload(
        traffic=run.plan.traffic,
        cores=tuning.cores(),
        kind="gpu" if run.plan.target.kind == "gpu" else "cpu",
        limit_us=limit.bound if limit is not None else None,
        refusing=run.plan.slo.refused > 0,
        release=served.number if served is not None else (24, 10),
        together=model.signature.output.independent_rows,
    )


def _call_us(checked: CheckedCandidate) -> float:
    """One call's time in process, on the largest batch that was measured: how long a round has to be."""
    return max((latency.p50_us for latency in checked.record.latency), default=0.0)


def _rows(run: Run, truth: Truth) -> Path:
    """The user's rows, or where there are none the adversarial ones: what the server is asked."""
    skip = truth.rows.adversarial if truth.rows.user else 0

    def produce(folder: Path) -> Asked:
        rows = given.load(truth.rows_folder, mapped=True)[skip : skip + MOST_ROWS]
        tensors.save(folder / ROWS_FILE, rows)
        return Asked(rows=len(rows))

    key = {"rows": sha256_file(truth.rows_file), "skip": skip, "most": MOST_ROWS}
    return run.directory.stage("asked", key, produce, Asked).folder / ROWS_FILE
