"""What is tried: all configurations of all entrants, which of them come first, and which when those are measured.

An estimate orders them, from service times and the traffic; where there is none, the simpler comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..triton.settings import Settings
from . import knobs, scoring
from .estimate import Expected, estimate
from .knobs import Ground
from .service_times import ServiceTime
from .slo import Objective, Slo

MOST_TRIALS, FEWEST_TRIALS = 12, 2
TRIAL_S = 6.5
"""Seconds of the budget for each trial: loading it, its rounds, and its part of the final sweeps."""
FIRST = 7
"""Trials of the first sweep; the rest of them go to the neighbours of the best."""


@dataclass(frozen=True)
class Entrant:
    """A candidate as one Triton backend serves it. ``rank``: the smaller, the simpler."""

    id: str
    backend: str
    rank: int
    service: tuple[ServiceTime, ...] = ()

    def of_threads(self, threads: int) -> ServiceTime | None:
        """Its service times at the nearest number of threads that was measured."""
        return min(self.service, key=lambda s: abs(s.threads - threads), default=None)


@dataclass(frozen=True)
class Trial:
    """One configuration of one entrant."""

    id: int
    entrant: Entrant
    settings: Settings
    expected: Expected | None = None

    @property
    def simplicity(self) -> tuple[int, ...]:
        return (self.entrant.rank, *self.settings.simplicity)

    @property
    def words(self) -> str:
        return f"{self.entrant.id} by {self.entrant.backend}, {self.settings.words}"


class TrialError(Exception):
    """This configuration can't serve: why. Ends with its trial, not with the search. ``spent_s``: what it took to find
    out."""

    def __init__(self, message: str, spent_s: float = 0.0) -> None:
        super().__init__(message)
        self.spent_s = spent_s


@dataclass(frozen=True)
class Question:
    """What is to be found. ``budget_s`` counts what rounds took, as they say. ``present``: what serves now, to be tried
    with the rest."""

    ground: Ground
    slo: Slo
    objective: Objective
    budget_s: float
    threads: int = 1
    present: Settings | None = None

    @property
    def trials(self) -> int:
        return max(FEWEST_TRIALS, min(MOST_TRIALS, int(self.budget_s / TRIAL_S)))


def space(question: Question, entrants: Sequence[Entrant]) -> list[Trial]:
    """Everything that could be tried, the best by the estimate first."""
    found = [
        Trial(0, entrant, settings, _expected(question, entrant, settings))
        for entrant in entrants
        for settings in knobs.space(entrant.backend, question.ground)
    ]
    return sorted(found, key=lambda trial: (-_promise(question, trial), trial.simplicity))


def _expected(question: Question, entrant: Entrant, settings: Settings) -> Expected | None:
    service = entrant.of_threads(settings.threads)
    if service is None:
        return None
    ground = question.ground
    return estimate(settings, entrant.backend, service, ground.traffic, ground.cores, question.slo.quantile)


def _promise(question: Question, trial: Trial) -> float:
    """The estimate as a merit, comparable between trials; 0 where there is none."""
    expected, limit = trial.expected, question.slo.latency
    if expected is None:
        return 0.0
    beyond = expected.tail_us / limit.bound if limit is not None else 0.0
    if question.objective == "throughput":
        return scoring.merit([scoring.log(expected.throughput)], beyond)
    if question.objective == "latency":
        return scoring.merit([-scoring.log(expected.tail_us)], beyond)
    cores = trial.settings.instances * trial.settings.threads
    return scoring.merit([-scoring.log(cores) + 0.1 * scoring.log(expected.throughput)], beyond)


def first(question: Question, entrants: Sequence[Entrant], known: Sequence[Trial]) -> list[Trial]:
    """The default of the first entrant, the plain configuration, each entrant's best, then the best by the estimate of
    each other shape."""
    ground, lead = question.ground, entrants[0]
    plain = knobs.untuned(ground, question.threads)
    chosen = [(lead, knobs.triton_default(lead.backend, ground))]
    if question.present is not None:
        chosen.append((lead, question.present))
    best_of_each = [next((t for t in known if t.entrant is entrant), None) for entrant in entrants]
    chosen += [(trial.entrant, trial.settings) for trial in best_of_each if trial is not None]
    if (lead, plain) not in chosen:
        chosen.append((lead, plain))
    most = min(FIRST, question.trials) if question.trials > FIRST else question.trials
    chosen += [(trial.entrant, trial.settings) for trial in _apart(known, chosen)]
    unique = [pair for i, pair in enumerate(chosen) if pair not in chosen[:i]][: max(most, FEWEST_TRIALS)]
    return [
        Trial(i + 1, entrant, settings, _expected(question, entrant, settings))
        for i, (entrant, settings) in enumerate(unique)
    ]


def _apart(known: Sequence[Trial], chosen: Sequence[tuple[Entrant, Settings]]) -> list[Trial]:
    """One of each shape that isn't there yet, then the others. How requests wait for one another is what the estimate
    knows least of, and gives equal figures to; the neighbours of the best are for that."""
    shapes = {_shape(entrant, settings) for entrant, settings in chosen}
    new: list[Trial] = []
    for trial in known:
        shape = _shape(trial.entrant, trial.settings)
        if shape not in shapes:
            shapes.add(shape)
            new.append(trial)
    return [*new, *(trial for trial in known if trial not in new)]


def _shape(entrant: Entrant, settings: Settings) -> tuple[str, str, int, int, bool]:
    return (entrant.id, entrant.backend, settings.instances, settings.threads, settings.batching)


def near(known: Sequence[Trial], tried: Sequence[Trial], best: Sequence[Trial], count: int) -> list[Trial]:
    """Up to ``count`` untried configurations one knob away from the ``best``, another knob each time, then the next by
    the estimate."""
    done = [(trial.entrant.id, trial.entrant.backend, trial.settings) for trial in tried]
    left = [t for t in known if (t.entrant.id, t.entrant.backend, t.settings) not in done]
    found: list[Trial] = []
    for one in best:
        mine = [t for t in left if t.entrant is one.entrant]
        for step in knobs.neighbours(one.settings, tuple(t.settings for t in mine)):
            found += [t for t in mine if t.settings == step and t not in found]
    wanted = [*found, *(t for t in left if t not in found)][: max(count, 0)]
    start = len(tried) + 1
    return [Trial(start + i, t.entrant, t.settings, t.expected) for i, t in enumerate(wanted)]
