"""The search: an estimate says what to try, sweeps of short rounds say what is better, and noise says when to stop.

    1. the default, the plain configuration, and the best by the estimate, no two that differ only in how requests wait
       for one another: one round each, one after the other
    2. configurations that differ from the best two in one knob: one round each, with the best so far again
    3. the better half goes on, sweep by sweep, in alternating order, until no other can win by more than the noise

A sweep is a round of every trial that is still in, so that a drift of the machine meets all of them; two trials are
compared over the sweeps that both were in. The default is in every sweep: what was gained is measured beside it.
The same figures always lead to the same next step, so a search that was interrupted repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...values import Figures, Interval
from ..slo import Objective, Slo
from . import judging, knobs
from .estimate import Expected, estimate
from .figures import Round, pooled
from .knobs import Ground
from .service import ServiceTime
from .settings import Settings

MOST_TRIALS, FEWEST_TRIALS = 12, 2
TRIAL_S = 6.5
"""Seconds of the budget for each trial: loading it, its rounds, and its part of the final sweeps."""
FIRST = 7
"""Trials of the first sweep; the rest of them go to the neighbours of the best."""
HALVES = (6, 3)
"""How many go on after each sweep of step 3."""
FEWEST_SWEEPS, MOST_SWEEPS = 5, 16


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
    """This configuration can't serve: why. Ends with its trial, not with the search."""


Measure = Callable[[Trial, int], Round]
"""One round of a trial in a sweep; TrialError where it can't serve."""


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


@dataclass
class Book:
    """All that was measured so far: the one thing that changes during a search."""

    question: Question
    memory: Callable[[Trial], int | None]
    rounds: dict[int, list[Round]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)

    @property
    def spent_s(self) -> float:
        return sum(r.spent_s for rounds in self.rounds.values() for r in rounds)

    @property
    def baseline(self) -> Trial:
        return self.trials[0]

    @property
    def sweeps(self) -> int:
        return max((r.number for rounds in self.rounds.values() for r in rounds), default=0)

    def figures(self, trial: Trial) -> Figures:
        return pooled(self.rounds[trial.id], self.question.slo.quantiles, self.memory(trial))

    def over(self, trial: Trial) -> tuple[float, str]:
        """How many times the worst-kept limit, and which."""
        implied = None
        if self.question.objective != "latency" and self.baseline.id in self.rounds:
            implied = self.figures(self.baseline).p99_us
        return judging.over(self.figures(trial), self.question.slo, implied)

    def scores(self, trial: Trial) -> dict[int, float]:
        """Score by sweep."""
        question, settings = self.question, trial.settings
        cost = float(settings.instances * settings.threads)
        return {
            r.number: judging.score(r, question.objective, question.slo.quantile, cost) for r in self.rounds[trial.id]
        }

    def lead(self, a: Trial, b: Trial) -> Interval:
        """By how much a's merit exceeds b's: a ratio's logarithm, with its 95% interval."""
        mine, others = self.scores(a), self.scores(b)
        common = sorted(mine.keys() & others.keys())
        gap = judging.difference([mine[n] for n in common], [others[n] for n in common])
        fined = judging.merit([0.0], self.over(a)[0]) - judging.merit([0.0], self.over(b)[0])
        return Interval(low=gap.low + fined, high=gap.high + fined)

    def ranked(self, trials: Sequence[Trial]) -> list[Trial]:
        """The best first. Scores are taken relative to the default's of the same sweeps, where it has one."""
        return sorted((t for t in trials if t.id in self.rounds), key=self.merit, reverse=True)

    def merit(self, trial: Trial) -> float:
        """Its scores relative to the default's, less what breaking a limit costs."""
        mine, base = self.scores(trial), self.scores(self.baseline) if self.baseline.id in self.rounds else {}
        relative = [value - base.get(number, 0.0) for number, value in mine.items()]
        return judging.merit(relative, self.over(trial)[0])


@dataclass(frozen=True)
class Found:
    """``ranking``: all that were measured, the best first, what ties by its simplicity; ``why`` says how it ended.
    ``space``: all that could be tried, with what the estimate said of it (ids are 0)."""

    book: Book
    ranking: tuple[Trial, ...]
    why: str
    space: tuple[Trial, ...] = ()


def search(question: Question, entrants: Sequence[Entrant], measure: Measure,
           memory: Callable[[Trial], int | None] = lambda _: None,
           told: Callable[[str], None] = lambda _: None) -> Found:  # fmt: skip
    """Find the best configuration of the best entrant. Where every trial failed, the ranking is empty."""
    book = Book(question, memory)
    space = _space(question, entrants)
    first = _first(question, entrants, space)
    book.trials += first
    _sweep(book, first, measure, told)
    near = _near(book, space, question.trials - len(first))
    if near:
        book.trials += near
        _sweep(book, [book.baseline, *_without(book.ranked(first), book.baseline)[:2], *near], measure, told)
    why, last = _decide(book, measure, told)
    return Found(book, tuple(_by_simplicity(book, last)), why, tuple(space))


def _space(question: Question, entrants: Sequence[Entrant]) -> list[Trial]:
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
        return judging.merit([judging.log(expected.throughput)], beyond)
    if question.objective == "latency":
        return judging.merit([-judging.log(expected.tail_us)], beyond)
    cores = trial.settings.instances * trial.settings.threads
    return judging.merit([-judging.log(cores) + 0.1 * judging.log(expected.throughput)], beyond)


def _first(question: Question, entrants: Sequence[Entrant], space: Sequence[Trial]) -> list[Trial]:
    """The default of the first entrant, the plain configuration, each entrant's best, then the best by the estimate of
    each other shape."""
    ground, lead = question.ground, entrants[0]
    plain = knobs.untuned(ground, question.threads)
    chosen = [(lead, knobs.triton_default(lead.backend, ground))]
    if question.present is not None:
        chosen.append((lead, question.present))
    best_of_each = [next((t for t in space if t.entrant is entrant), None) for entrant in entrants]
    chosen += [(trial.entrant, trial.settings) for trial in best_of_each if trial is not None]
    if (lead, plain) not in chosen:
        chosen.append((lead, plain))
    most = min(FIRST, question.trials) if question.trials > FIRST else question.trials
    chosen += [(trial.entrant, trial.settings) for trial in _apart(space, chosen)]
    unique = [pair for i, pair in enumerate(chosen) if pair not in chosen[:i]][: max(most, FEWEST_TRIALS)]
    return [
        Trial(i + 1, entrant, settings, _expected(question, entrant, settings))
        for i, (entrant, settings) in enumerate(unique)
    ]


def _apart(space: Sequence[Trial], chosen: Sequence[tuple[Entrant, Settings]]) -> list[Trial]:
    """One of each shape that isn't there yet, then the others. How requests wait for one another is what the estimate
    knows least of, and gives equal figures to; the neighbours of the best are for that."""
    shapes = {_shape(entrant, settings) for entrant, settings in chosen}
    new: list[Trial] = []
    for trial in space:
        shape = _shape(trial.entrant, trial.settings)
        if shape not in shapes:
            shapes.add(shape)
            new.append(trial)
    return [*new, *(trial for trial in space if trial not in new)]


def _shape(entrant: Entrant, settings: Settings) -> tuple[str, str, int, int, bool]:
    return (entrant.id, entrant.backend, settings.instances, settings.threads, settings.batching)


def _near(book: Book, space: Sequence[Trial], count: int) -> list[Trial]:
    """Up to ``count`` untried configurations one knob away from the best two, another knob each time, then the next by
    the estimate."""
    tried = [(trial.entrant.id, trial.entrant.backend, trial.settings) for trial in book.trials]
    left = [t for t in space if (t.entrant.id, t.entrant.backend, t.settings) not in tried]
    near: list[Trial] = []
    for best in book.ranked(book.trials)[:2]:
        mine = [t for t in left if t.entrant is best.entrant]
        for step in knobs.neighbours(best.settings, tuple(t.settings for t in mine)):
            near += [t for t in mine if t.settings == step and t not in near]
    wanted = [*near, *(t for t in left if t not in near)][: max(count, 0)]
    start = len(book.trials) + 1
    return [Trial(start + i, t.entrant, t.settings, t.expected) for i, t in enumerate(wanted)]


def _decide(book: Book, measure: Measure, told: Callable[[str], None]) -> tuple[str, list[Trial]]:
    """Sweep on until it is decided: how it ended, and the trials that were still in, which alone can be the best."""
    alive = book.ranked(book.trials)
    for keep in HALVES:
        if _out_of_time(book, len(alive[:keep]) + 1):
            return _out(book), alive
        alive = _halved(book, alive, keep)
        _sweep(book, _with_baseline(book, alive), measure, told)
        alive = book.ranked(alive)
    while book.sweeps < MOST_SWEEPS:
        alive = book.ranked(alive)
        if not alive:
            return "nothing could serve", alive
        leader, rest = alive[0], alive[1:]
        rest = [t for t in rest if book.lead(t, leader).high > judging.MARGIN]
        if not rest and book.sweeps >= FEWEST_SWEEPS:
            return "no other that was tried can win by more than the noise", alive
        if _out_of_time(book, len(rest) + 2):
            return _out(book), alive
        alive = [leader, *rest]
        _sweep(book, _with_baseline(book, alive), measure, told)
    return f"{MOST_SWEEPS} sweeps: what is left can't be told apart here", alive


def _halved(book: Book, alive: Sequence[Trial], keep: int) -> list[Trial]:
    """The best ``keep``, at most half of those that there are (but two); of what is within the margin of the best, the
    simplest."""
    best = book.merit(alive[0]) if alive else 0.0
    close = [t for t in alive[1:] if best - book.merit(t) <= judging.MARGIN]
    order = [*alive[:1], *sorted(close, key=lambda t: t.simplicity), *alive[1 + len(close) :]]
    return order[: min(keep, max(2, (len(alive) + 1) // 2))]


def _with_baseline(book: Book, alive: Sequence[Trial]) -> list[Trial]:
    there = book.baseline.id in book.rounds
    return [*([book.baseline] if there and book.baseline not in alive else []), *alive]


def _without(trials: Sequence[Trial], one: Trial) -> list[Trial]:
    return [trial for trial in trials if trial.id != one.id]


def _sweep(book: Book, trials: Sequence[Trial], measure: Measure, told: Callable[[str], None]) -> None:
    """One round of each; every other sweep goes backwards. A trial that can't serve is out."""
    number = book.sweeps + 1
    order = [trial for trial in trials if trial.id not in book.failed]
    for trial in order if number % 2 else reversed(order):
        told(f"sweep {number}: {trial.words}")
        try:
            book.rounds.setdefault(trial.id, []).append(measure(trial, number))
        except TrialError as failed:
            book.failed[trial.id] = str(failed)
            if not book.rounds.get(trial.id):
                book.rounds.pop(trial.id, None)


def _out_of_time(book: Book, rounds: int) -> bool:
    """Whether so many more rounds would pass the budget, by what rounds without loading have taken."""
    again = [r.spent_s for known in book.rounds.values() for r in known[1:]]
    each = sorted(again)[len(again) // 2] if again else 1.2
    return book.spent_s + rounds * each > book.question.budget_s


def _out(book: Book) -> str:
    return f"the budget of {book.question.budget_s:.0f} s is spent"


def _by_simplicity(book: Book, last: Sequence[Trial]) -> list[Trial]:
    """The best first; what keeps the limits and loses to the best by less than the margin counts as equal to it.

    The best is one of the ``last``, or the default, which was in every sweep: a trial that was given up early has few
    rounds, and with them often luck."""
    ranked = book.ranked(book.trials)
    if not ranked:
        return []
    leader = next((t for t in ranked if t in last or t is book.baseline), ranked[0])
    tied = [t for t in ranked if t is leader or _tied(book, t, leader)]
    first = min(tied, key=lambda t: t.simplicity)
    return [first, *_without(ranked, first)]


def _tied(book: Book, trial: Trial, leader: Trial) -> bool:
    """Measured together often enough, and within the margin of the leader."""
    common = {r.number for r in book.rounds[trial.id]} & {r.number for r in book.rounds[leader.id]}
    lead = book.lead(leader, trial)
    return len(common) >= 3 and (lead.low + lead.high) / 2 <= judging.MARGIN
