"""What is tried: all configurations of all candidates, which of them come first, and which when those are measured.

An estimate orders them, from service times and the traffic; where there is none, the simpler comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ..artifacts.bundle import Bundle
from ..triton.settings import Settings
from . import knobs, scoring
from .estimate import Expected, estimate
from .knobs import Workload
from .service_times import ServiceTime
from .slo import Objective, Slo

MOST_TRIALS, FEWEST_TRIALS = 12, 2
TRIAL_S = 6.5
"""Seconds of the budget for each trial: loading it, its rounds, and its part of the final sweeps."""
FIRST = 7
"""Trials of the first sweep; the rest of them go to the neighbours of the best."""


@dataclass(frozen=True)
class ServedCandidate:
    """A candidate as one Triton backend serves it: its bundle's. ``rank``: the smaller, the simpler. ``service``: how
    long its calls take here; empty where that isn't known."""

    id: str
    backend: str
    rank: int
    bundle: Bundle
    service: tuple[ServiceTime, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle, rank: int) -> Self:
        """The candidate that ``bundle`` serves."""
        return cls(bundle.manifest.candidate_id, bundle.manifest.triton_backend, rank, bundle)

    def of_threads(self, threads: int) -> ServiceTime | None:
        """Its service times at the nearest number of threads that was measured."""
        return min(self.service, key=lambda s: abs(s.threads - threads), default=None)


@dataclass(frozen=True)
class Trial:
    """One configuration of one candidate."""

    id: int
    candidate: ServedCandidate
    settings: Settings
    expected: Expected | None = None

    @property
    def simplicity(self) -> tuple[int, ...]:
        return (self.candidate.rank, *self.settings.simplicity)

    @property
    def words(self) -> str:
        return f"{self.candidate.id} by {self.candidate.backend}, {self.settings.words}"


class TrialError(Exception):
    """This configuration can't serve: why. Ends with its trial, not with the search. ``spent_s``: what it took to find
    out."""

    def __init__(self, message: str, spent_s: float = 0.0) -> None:
        super().__init__(message)
        self.spent_s = spent_s


@dataclass(frozen=True)
class SearchProblem:
    """What is to be found. ``budget_s`` counts what rounds took, as they say. ``present``: what serves now, to be tried
    with the rest."""

    workload: Workload
    slo: Slo
    objective: Objective
    budget_s: float
    threads: int = 1
    present: Settings | None = None

    @property
    def trials(self) -> int:
        return max(FEWEST_TRIALS, min(MOST_TRIALS, int(self.budget_s / TRIAL_S)))


def space(problem: SearchProblem, candidates: Sequence[ServedCandidate]) -> list[Trial]:
    """Everything that could be tried, the best by the estimate first."""
    found = [
        Trial(0, candidate, settings, _expected(problem, candidate, settings))
        for candidate in candidates
        for settings in knobs.space(candidate.backend, problem.workload)
    ]
    return sorted(found, key=lambda trial: (-_promise(problem, trial), trial.simplicity))


def _expected(problem: SearchProblem, candidate: ServedCandidate, settings: Settings) -> Expected | None:
    service = candidate.of_threads(settings.threads)
    if service is None:
        return None
    workload = problem.workload
    return estimate(settings, candidate.backend, service, workload.traffic, workload.cores, problem.slo.quantile)


def _promise(problem: SearchProblem, trial: Trial) -> float:
    """The estimate as a merit, comparable between trials; 0 where there is none."""
    expected, limit = trial.expected, problem.slo.latency
    if expected is None:
        return 0.0
    beyond = expected.tail_us / limit.bound if limit is not None else 0.0
    if problem.objective == "throughput":
        return scoring.merit([scoring.log(expected.throughput)], beyond)
    if problem.objective == "latency":
        return scoring.merit([-scoring.log(expected.tail_us)], beyond)
    cores = trial.settings.instances * trial.settings.threads
    return scoring.merit([-scoring.log(cores) + 0.1 * scoring.log(expected.throughput)], beyond)


def first(problem: SearchProblem, candidates: Sequence[ServedCandidate], known: Sequence[Trial]) -> list[Trial]:
    """The default of the first candidate, what the estimate ranks first, what serves now, each candidate's best, the
    plain configuration, then the best by the estimate of each other shape. However little time there is, the first
    three of these are tried."""
    workload, lead = problem.workload, candidates[0]
    plain = knobs.untuned(workload, problem.threads)
    chosen = [(lead, knobs.triton_default(lead.backend, workload))]
    chosen += [(trial.candidate, trial.settings) for trial in known[:1]]
    if problem.present is not None:
        chosen.append((lead, problem.present))
    fewest = len(chosen)
    best_of_each = [next((t for t in known if t.candidate is candidate), None) for candidate in candidates]
    chosen += [(trial.candidate, trial.settings) for trial in best_of_each if trial is not None]
    if (lead, plain) not in chosen:
        chosen.append((lead, plain))
    most = min(FIRST, problem.trials) if problem.trials > FIRST else problem.trials
    chosen += [(trial.candidate, trial.settings) for trial in _apart(known, chosen)]
    unique = [pair for i, pair in enumerate(chosen) if pair not in chosen[:i]][: max(most, fewest)]
    return [
        Trial(i + 1, candidate, settings, _expected(problem, candidate, settings))
        for i, (candidate, settings) in enumerate(unique)
    ]


def _apart(known: Sequence[Trial], chosen: Sequence[tuple[ServedCandidate, Settings]]) -> list[Trial]:
    """One of each shape that isn't there yet, then the others. How requests wait for one another is what the estimate
    knows least of, and gives equal figures to; the neighbours of the best are for that."""
    shapes = {_shape(candidate, settings) for candidate, settings in chosen}
    new: list[Trial] = []
    for trial in known:
        shape = _shape(trial.candidate, trial.settings)
        if shape not in shapes:
            shapes.add(shape)
            new.append(trial)
    return [*new, *(trial for trial in known if trial not in new)]


def _shape(candidate: ServedCandidate, settings: Settings) -> tuple[str, str, int, int, bool]:
    return (candidate.id, candidate.backend, settings.instances, settings.threads, settings.batching)


def near(known: Sequence[Trial], tried: Sequence[Trial], best: Sequence[Trial], count: int) -> list[Trial]:
    """Up to ``count`` untried configurations one knob away from the ``best``, another knob each time, then the next by
    the estimate."""
    done = [(trial.candidate.id, trial.candidate.backend, trial.settings) for trial in tried]
    left = [t for t in known if (t.candidate.id, t.candidate.backend, t.settings) not in done]
    found: list[Trial] = []
    for one in best:
        mine = [t for t in left if t.candidate is one.candidate]
        for step in knobs.neighbours(one.settings, tuple(t.settings for t in mine)):
            found += [t for t in mine if t.settings == step and t not in found]
    wanted = [*found, *(t for t in left if t not in found)][: max(count, 0)]
    start = len(tried) + 1
    return [Trial(start + i, t.candidate, t.settings, t.expected) for i, t in enumerate(wanted)]
