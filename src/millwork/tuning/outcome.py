"""What tuning came to: the configuration that is published, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from .. import units
from ..artifacts.report import text
from ..errors import SloError
from ..triton.serving import Serving
from ..triton.settings import Settings
from ..values import Figures, Interval, OtherWay, TrialRecord, Tuning, Value
from . import explain, figures, limit_answers, scoring
from .budget import LONGEST_TUNE_S
from .other_way import Other
from .trials import SearchProblem, Trial
from .tune import Tuned

ROWS_FILE, MOST_ROWS = "rows.npz", 4096
"""What the server is asked: so many rows at most."""


class Setup(Value):
    """How the winner is to be served: its settings, why each is as it is (by its path in config.pbtxt), a heading, and
    Triton's backend where it was decided by measuring. ``other``: what the other way gave, and ``other_settings`` with
    which."""

    settings: Settings
    reasons: dict[str, str] = msgspec.field(default_factory=dict)
    heading: str = ""
    backend: str = ""
    other: OtherWay | None = None
    other_settings: Settings | None = None


LARGEST = 1e6
"""A limit missed by more is missed by this much in the record: JSON has no infinity."""


@dataclass(frozen=True)
class Decision:
    """Which candidate, how it is served, and what was measured (None where nothing was). ``error``: the limit is
    missed, so it isn't to be published."""

    id: str
    setup: Setup
    tuning: Tuning | None = None
    error: SloError | None = None


def words(decision: Decision, traffic: str) -> str:
    """What tuning came to, in a line."""
    found = decision.tuning
    if found is None or found.best is None or found.best.figures is None:
        return f"{traffic}: nothing was measured"
    best = found.best.figures
    figure = f"{units.figures(best.rows_per_s)} rows/s, p99 {units.duration(best.p99_us)}"
    gain = f"; {found.gain:.2f} times {text.RATIOS[found.objective]}" if found.gain is not None else ", the default"
    kept = "".join(f"; {limit_answers.in_words(limit)}" for limit in found.limits)
    return f"{traffic}: {found.best.candidate}, {found.best.words}: {figure}{gain}{kept}; {tried(found)}"


def tried(tuning: Tuning) -> str:
    """``the best of the 3 of 24 tried``."""
    return text.tried(sum(trial.figures is not None for trial in tuning.trials), tuning.considered)


def decision(tuned: Tuned, winner: Trial, serving: Serving) -> Decision:
    """What a search found, as what is published and what is said of it."""
    found, state = tuned.found, tuned.found.state
    record = tuning_record(tuned, winner, serving)
    setup = Setup(
        settings=winner.settings,
        reasons=explain.reasons(found, winner),
        heading=explain.heading(found, winner, serving.words),
        backend=winner.candidate.backend,
        other=tuned.other.way if tuned.other is not None else None,
        other_settings=tuned.other.trial.settings if tuned.other is not None else None,
    )
    if not state.problem.slo.limits:
        return Decision(winner.candidate.id, setup, record)
    beyond, limit = state.missed(winner)
    if beyond > 1:
        return Decision(winner.candidate.id, setup, record, _missed(state.problem, winner, record, beyond, limit))
    lacking = scoring.unshown(state.figures(winner), state.problem.slo)
    error = _unshown(record, state.figures(winner), *lacking) if lacking is not None else None
    return Decision(winner.candidate.id, setup, record, error)


def _unshown(record: Tuning, best: Figures, limit: str, seen: int, needed: int) -> SloError:
    budget = 1.5 * (record.seconds + 2 * (needed - seen) / max(best.requests_per_s, 1e-3))
    longer = f"Give more time (--tune-budget {budget:.0f}), or give " if budget <= LONGEST_TUNE_S else "Give "
    return SloError(
        f"{limit} can't be shown: {seen:,} requests were measured, and it takes {needed:,}. "
        "With fewer, it may be luck that none was slower",
        f"Nothing is published. {longer}a limit of a lower percentile.",
    )


def _missed(problem: SearchProblem, winner: Trial, record: Tuning, beyond: float, limit: str) -> SloError:
    best = record.best.figures if record.best is not None else None
    seen = f"{units.figures(best.requests_per_s)} requests/s, " if best is not None else ""
    answered = "".join(f"{limit_answers.in_words(answer)}\n" for answer in record.limits if not answer.met)
    keeps = ""
    if record.headroom is not None and record.headroom.rate is not None:
        keeps = f" This configuration keeps the limit up to about {record.headroom.rate:,.0f} requests/s."
    return SloError(
        f"no configuration keeps {limit} under {problem.workload.traffic.words}\n"
        f"{answered}the closest of {len(record.trials)}: {winner.words}: {seen}"
        f"{units.figures(beyond)} times the limit\n"
        f"what limits it: {record.limited_by}",
        f"Nothing is published. Raise the limit, lower the rate, or serve it on more cores.{keeps}",
    )


def tuning_record(tuned: Tuned, winner: Trial | None, serving: Serving) -> Tuning:
    """All that was tried, as run.json has it. ``winner``: None where nothing could serve."""
    state, problem = tuned.found.state, tuned.found.state.problem
    trials = {trial.id: _trial_record(tuned, trial) for trial in state.trials}
    gained = explain.gain(state, winner) if winner is not None else None
    best = trials[winner.id] if winner is not None else None
    limit = problem.slo.latency
    met = (
        winner is not None
        and state.missed(winner)[0] <= 1
        and scoring.unshown(state.figures(winner), problem.slo) is None
    )
    return Tuning(
        triton=serving.release.name,
        config="",
        default=trials.get(state.baseline.id),
        best=best,
        trials=tuple(trials.values()),
        traffic=problem.workload.traffic.words,
        assumed=problem.workload.traffic.assumed,
        slo=problem.slo.words,
        limit_us=limit.bound if limit is not None else None,
        quantile=problem.slo.quantile,
        objective=problem.objective,
        met=met if problem.slo.limits else None,
        why=tuned.found.why,
        limited_by=figures.limiting(best.figures, problem.workload.cores) if best and best.figures else "",
        gain=gained[0] if gained else None,
        gain_ci=_finite(gained[1]) if gained else None,
        headroom=tuned.headroom,
        server=serving.words,
        generator=tuned.generator,
        considered=len({explain.place(trial) for trial in (*tuned.found.space, *state.trials)}),
        seconds=round(state.spent_s, 1),
        limits=limit_answers.answers(best.figures, problem.slo) if best and best.figures else (),
        other=_other_record(tuned.other) if tuned.other is not None else None,
        conditions=tuned.conditions,
    )


def _other_record(other: Other) -> TrialRecord:
    return _measured(other.trial, other.figures, other.way.over)


def _trial_record(tuned: Tuned, trial: Trial) -> TrialRecord:
    state = tuned.found.state
    known = trial.id in state.rounds
    reason = tuned.refused.get(trial.id, state.failed.get(trial.id, ""))
    if not known:
        return _measured(trial, None, 0.0, reason)
    return _measured(trial, state.figures(trial), min(state.over(trial)[0], LARGEST), reason)


def _measured(trial: Trial, figures: Figures | None, over: float, reason: str = "") -> TrialRecord:
    return TrialRecord(
        id=trial.id,
        candidate=trial.candidate.id,
        backend=trial.candidate.backend,
        settings=as_text(trial.settings),
        words=trial.settings.words,
        figures=figures,
        over=over,
        reason=reason,
    )


def as_text(settings: Settings) -> dict[str, str]:
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
