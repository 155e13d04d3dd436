"""From the best few candidates to one, with one Triton configuration: measured on the real server, or the plain one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..artifacts.assemble import Evidence
from ..errors import SloError, UsageError
from ..storage.files import sha256_file
from ..triton.serving import Serving, asked
from ..triton.settings import Settings
from ..triton_releases import Release
from ..tuning import explain, figures, knobs, scoring
from ..tuning import tune as tuning
from ..tuning.knobs import Ground
from ..tuning.load import tensors
from ..tuning.service_times import Engine
from ..tuning.slo import Slo
from ..tuning.trials import Question, Trial
from ..tuning.tune import Contestant, Desk, Tuned
from ..validators.rows import given
from ..values import Figures, Interval, TrialRecord, Tuning, Value
from . import publish as release
from . import stages
from .options import LONGEST_TUNE_S
from .publish import Setup
from .run import BuiltCandidate, CandidateError, Model, Run, Truth

ROWS_FILE = "rows.npz"
MOST_ROWS = 4096
LARGEST = 1e6
"""A limit missed by more is missed by this much in the record: JSON has no infinity."""


@dataclass(frozen=True)
class Finalist:
    """A candidate that may win on the server. ``rank``: the smaller, the simpler."""

    built: BuiltCandidate
    evidence: Evidence
    rank: int


@dataclass(frozen=True)
class Decision:
    """Which candidate, how it is served, and what was measured (None where nothing was). ``error``: the limit is
    missed, so it isn't to be published."""

    id: str
    setup: Setup
    tuning: Tuning | None = None
    error: SloError | None = None


class Asked(Value):
    """Beside it: ``rows.npz``, the rows that the server is asked."""

    rows: int


def wanted(run: Run, serving: Serving) -> str:
    """Why nothing is tuned, in a few words; empty where it is."""
    if not run.plan.tune_budget:
        return "tuning was switched off" if serving.there else "no server to measure on"
    if not serving.there:
        return "no server to measure on"
    if serving.url and not run.plan.tune_asked:
        return f"{serving.url} is in use: it is put under load only where --traffic, --slo or --tune-budget says so"
    return ""


def plain(run: Run, model: Model, chosen: str) -> Decision:
    """The configuration that is written where nothing was measured."""
    return Decision(chosen, Setup(settings=knobs.untuned(_ground(run, model, None), run.plan.threads)))


def decide(run: Run, model: Model, truth: Truth, finalists: Sequence[Finalist], serving: Serving) -> Decision:
    """Tune the ``finalists`` (the in-process winner first) and take the best. Raises UsageError for a limit that can't
    be seen on this server."""
    ground = _ground(run, model, serving.release)
    plan = run.plan
    demand_visible(plan.slo, serving)
    serving = asked(serving, (finalist.built.built.triton_backend for finalist in finalists))
    question = Question(ground, plan.slo, plan.objective, plan.tune_budget, plan.threads)
    contestants = [one for finalist in finalists for one in _contestants(run, model, truth, finalist, serving)]
    built = {finalist.built.built.id: finalist.built for finalist in finalists}

    def accept(trial: Trial) -> str:
        """A configuration of other threads than were judged is judged by its own."""
        if trial.settings.threads == plan.threads:
            return ""
        try:
            verdict = stages.check(run, model, truth, built[trial.entrant.id], trial.settings.threads).value
        except CandidateError as error:
            return f"with {trial.settings.threads} threads: {stages.reason(error)[0]}"
        return "" if verdict.passed else f"with {trial.settings.threads} threads: {verdict.reason}"

    rows = _rows(run, truth)
    seconds = tuning.round_seconds(plan.traffic, 0.0 if plan.traffic.open else _service_us(finalists[0]))
    with Desk(
        run.directory,
        run.executor,
        run.progress,
        serving,
        contestants,
        plan.name,
        rows,
        seconds,
        confined=not plan.trust,
    ) as desk:
        tuned = tuning.tune(question, contestants, desk, accept)
    if tuned.winner is None:
        return _without(run, model, tuned, finalists[0], serving)
    return decision(tuned, tuned.winner, server_words(serving), serving.release.name)


def demand_visible(slo: Slo, serving: Serving) -> None:
    """UsageError for a limit that can't be seen on this server."""
    if serving.url and slo.of_the_server:
        raise UsageError(
            f"--slo {slo.of_the_server[0].text}: this can be measured on a server of our own only",
            "Leave it out, or use --triton managed.",
        )


def words(decision: Decision, traffic: str) -> str:
    """What tuning came to, in a line."""
    found = decision.tuning
    if found is None or found.best is None or found.best.figures is None:
        return f"{traffic}: nothing was measured"
    best = found.best.figures
    figure = f"{best.rows_per_s:,.0f} rows/s, p99 {best.p99_us / 1e3:,.2f} ms"
    ratios = {"throughput": "the default's", "latency": "as fast as the default", "cost": "as cheap as the default"}
    gain = f", {found.gain:.2f} times {ratios[found.objective]}" if found.gain is not None else ", the default"
    return f"{traffic}: {found.best.candidate}, {found.best.words}: {figure}{gain}"


def decision(tuned: Tuned, winner: Trial, server: str, release_name: str) -> Decision:
    """What a search found, as what is published and what is said of it."""
    found, book = tuned.found, tuned.found.book
    record = _record(tuned, winner, server, release_name)
    setup = Setup(
        settings=winner.settings,
        reasons=explain.reasons(found, winner),
        heading=explain.heading(found, winner, server),
        backend=winner.entrant.backend,
    )
    if not book.question.slo.limits:
        return Decision(winner.entrant.id, setup, record)
    beyond, limit = book.missed(winner)
    if beyond > 1:
        return Decision(winner.entrant.id, setup, record, _missed(book.question, winner, record, beyond, limit))
    lacking = scoring.unshown(book.figures(winner), book.question.slo)
    error = _unshown(record, book.figures(winner), *lacking) if lacking is not None else None
    return Decision(winner.entrant.id, setup, record, error)


def server_words(serving: Serving) -> str:
    return f"Triton {serving.release.version}" + (f" at {serving.url}" if serving.url else "")


def _without(run: Run, model: Model, tuned: Tuned, first: Finalist, serving: Serving) -> Decision:
    """Nothing could serve, or nothing that could is right: the plain configuration, whose publication says why."""
    failed = [*tuned.found.book.failed.values(), *tuned.refused.values()]
    chosen = plain(run, model, first.built.built.id)
    if run.plan.slo.limits:
        error = SloError(
            f"{run.plan.slo.words}: no configuration could be measured: {failed[0] if failed else 'none answered'}",
            "Without --slo the candidate is published unmeasured, if the server answers right.",
        )
        return Decision(
            chosen.id, chosen.setup, _record(tuned, None, server_words(serving), serving.release.name), error
        )
    run.progress.note(f"nothing was tuned: {failed[0] if failed else 'no configuration answered'}")
    return chosen


def _unshown(record: Tuning, best: Figures, limit: str, seen: int, needed: int) -> SloError:
    budget = 1.5 * (record.seconds + 2 * (needed - seen) / max(best.requests_per_s, 1e-3))
    longer = f"Give more time (--tune-budget {budget:.0f}), or " if budget <= LONGEST_TUNE_S else "Give "
    return SloError(
        f"{limit} can't be shown: {seen:,} requests were measured, and with fewer than {needed:,} it may be luck that "
        "none was slower",
        f"Nothing is published. {longer}a limit of a lower percentile.",
    )


def _missed(question: Question, winner: Trial, record: Tuning, beyond: float, limit: str) -> SloError:
    best = record.best.figures if record.best is not None else None
    seen = _seen(best, question.slo.quantile) if best is not None else ""
    keeps = ""
    if record.headroom is not None and record.headroom.rate is not None:
        keeps = f" It keeps the limit up to about {record.headroom.rate:,.0f} requests/s."
    return SloError(
        f"no configuration keeps {limit} under {question.ground.traffic.words}\n"
        f"the closest of {len(record.trials)}: {winner.words}: {seen}, {beyond:.2f} times the limit\n"
        f"what limits it: {record.limited_by}",
        f"Nothing is published. Allow more, ask less, or serve it on more cores.{keeps}",
    )


def _seen(best: Figures, quantile: float) -> str:
    return f"p{quantile * 100:g} {best.tail_us / 1e3:,.2f} ms at {best.requests_per_s:,.0f} requests/s"


def _record(tuned: Tuned, winner: Trial | None, server: str, release_name: str) -> Tuning:
    book, question = tuned.found.book, tuned.found.book.question
    lines = {trial.id: _line(tuned, trial) for trial in book.trials}
    gained = explain.gain(book, winner) if winner is not None else None
    best = lines[winner.id] if winner is not None else None
    limit = question.slo.latency
    met = (
        winner is not None
        and book.missed(winner)[0] <= 1
        and scoring.unshown(book.figures(winner), question.slo) is None
    )
    return Tuning(
        triton=release_name,
        config="",
        default=lines.get(book.baseline.id),
        best=best,
        trials=tuple(lines.values()),
        traffic=question.ground.traffic.words,
        assumed=question.ground.traffic.assumed,
        slo=question.slo.words,
        limit_us=limit.bound if limit is not None else None,
        quantile=question.slo.quantile,
        objective=question.objective,
        met=met if question.slo.limits else None,
        why=tuned.found.why,
        limited_by=figures.limiting(best.figures, question.ground.cores) if best and best.figures else "",
        gain=gained[0] if gained else None,
        gain_ci=_finite(gained[1]) if gained else None,
        headroom=tuned.headroom,
        server=server,
        generator=tuned.generator,
        considered=len(tuned.found.space),
        seconds=round(book.spent_s, 1),
    )


def _line(tuned: Tuned, trial: Trial) -> TrialRecord:
    book = tuned.found.book
    known = trial.id in book.rounds
    reason = tuned.refused.get(trial.id, book.failed.get(trial.id, ""))
    return TrialRecord(
        id=trial.id,
        candidate=trial.entrant.id,
        backend=trial.entrant.backend,
        settings=said(trial.settings),
        words=trial.settings.words,
        figures=book.figures(trial) if known else None,
        over=min(book.over(trial)[0], LARGEST) if known else 0.0,
        reason=reason,
    )


def said(settings: Settings) -> dict[str, str]:
    """The settings by name, as text."""
    fields = msgspec.structs.asdict(settings)
    own = fields.pop("own")
    plain_ones = {
        name: "/".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        for name, value in fields.items()
    }
    return {**plain_ones, **own}


def _finite(found: Interval) -> Interval:
    return Interval(low=found.low, high=min(found.high, LARGEST))


def _contestants(run: Run, model: Model, truth: Truth, finalist: Finalist, serving: Serving) -> list[Contestant]:
    settings = knobs.untuned(_ground(run, model, serving.release), run.plan.threads)
    bundles = release.enter(run, model, truth, finalist.built, finalist.evidence, serving, settings)
    built = finalist.built.built
    engine = Engine(
        id=built.id,
        runner=built.runner,
        model_file=str(finalist.built.folder / built.model_file),
        parameters=built.parameters,
    )
    return [Contestant(built.id, bundle, engine, finalist.rank) for bundle in bundles]


def _ground(run: Run, model: Model, served: Release | None) -> Ground:
    limit = run.plan.slo.latency
    return Ground(
        traffic=run.plan.traffic,
        cores=tuning.cores(),
        kind="gpu" if run.plan.target.kind == "gpu" else "cpu",
        limit_us=limit.bound if limit is not None else None,
        refusing=run.plan.slo.refused > 0,
        release=numbers(served.name) if served is not None else (24, 10),
        together=model.signature.output.independent_rows,
    )


def numbers(release_name: str) -> tuple[int, int]:
    """(24, 10) of ``24.10``."""
    found = re.findall(r"\d+", release_name)
    return int(found[0]), int(found[1])


def _service_us(finalist: Finalist) -> float:
    """One call's time in process, on the largest batch that was measured: how long a round has to be."""
    return max((line.p50_us for line in finalist.evidence.latency), default=0.0)


def _rows(run: Run, truth: Truth) -> Path:
    """The user's rows, or where there are none the adversarial ones: what the server is asked."""
    skip = truth.rows.adversarial if truth.rows.user else 0

    def produce(folder: Path) -> Asked:
        rows = given.load(truth.rows_folder, mapped=True)[skip : skip + MOST_ROWS]
        tensors.save(folder / ROWS_FILE, rows)
        return Asked(rows=len(rows))

    key = {"rows": sha256_file(truth.rows_file), "skip": skip, "most": MOST_ROWS}
    return run.directory.stage("asked", key, produce, Asked).folder / ROWS_FILE
