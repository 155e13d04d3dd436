"""The search: an estimate says what to try, sweeps of short rounds say what is better, and noise says when to stop.

    1. the default, what the estimate ranks first (however little time there is), the plain configuration, and the
       next by the estimate, no two that differ only in how requests wait for one another: one round each, in turn
    2. configurations that differ from the best two in one knob: one round each, with the best so far again
    3. the better half goes on, sweep by sweep, in alternating order, until no other can win by more than the noise

A sweep is a round of every trial that is still in, so that a drift of the machine meets all of them; two trials are
compared over the sweeps that both were in. The default is in every sweep: what was gained is measured beside it.
The same figures always lead to the same next step, so a search that was interrupted repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..values import Figures, Interval
from . import scoring, trials
from .figures import Round, pooled
from .trials import SearchProblem, ServedCandidate, Trial, TrialError

HALVES = (6, 3)
"""How many go on after each sweep of step 3."""
NEAR_LIMIT = 1.15
"""Times a limit that the first rounds of a trial may be over it, and it isn't given up for that yet: a tail of few
rounds is uncertain by as much."""
FEWEST_SWEEPS, MOST_SWEEPS = 5, 16


Measure = Callable[[Trial, int], Round]
"""One round of a trial in a sweep; TrialError where it can't serve."""


@dataclass
class SearchState:
    """All that was measured so far: the one thing that changes during a search."""

    problem: SearchProblem
    memory: Callable[[Trial], int | None]
    rounds: dict[int, list[Round]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    lost_s: float = 0.0
    """What trials that failed took."""
    _figures: dict[tuple[int, int], Figures] = field(default_factory=dict)

    @property
    def spent_s(self) -> float:
        return self.lost_s + sum(r.spent_s for rounds in self.rounds.values() for r in rounds)

    @property
    def baseline(self) -> Trial:
        return self.trials[0]

    @property
    def sweeps(self) -> int:
        return max((r.number for rounds in self.rounds.values() for r in rounds), default=0)

    def fail(self, trial: Trial, error: TrialError) -> None:
        """It is out."""
        self.failed[trial.id] = str(error)
        self.lost_s += error.spent_s

    def figures(self, trial: Trial) -> Figures:
        known = (trial.id, len(self.rounds[trial.id]))
        if known not in self._figures:
            self._figures[known] = pooled(self.rounds[trial.id], self.problem.slo.quantiles, self.memory(trial))
        return self._figures[known]

    def over(self, trial: Trial, *, hopeful: bool = False) -> tuple[float, str]:
        """How many times the worst-kept limit, and which: the user's, and a p99 no worse than the default's."""
        implied = None
        if self.problem.objective != "latency" and self.baseline.id in self.rounds:
            implied = self.figures(self.baseline).p99_us
        return scoring.over(self.figures(trial), self.problem.slo, implied, hopeful=hopeful)

    def missed(self, trial: Trial) -> tuple[float, str]:
        """The same of the user's limits alone."""
        return scoring.over(self.figures(trial), self.problem.slo)

    def keeps(self, trial: Trial) -> bool:
        """Whether all limits are kept."""
        return self.over(trial)[0] <= 1

    def scores(self, trial: Trial) -> dict[int, float]:
        """Score by sweep."""
        problem, settings = self.problem, trial.settings
        cost = float(settings.instances * settings.threads)
        return {
            r.number: scoring.score(r, problem.objective, problem.slo.quantile, cost) for r in self.rounds[trial.id]
        }

    def lead(self, a: Trial, b: Trial) -> Interval:
        """By how much a's merit exceeds b's: a ratio's logarithm, with its 95% interval, which at its high end takes
        a's latencies for as low as theirs has them."""
        mine, others = self.scores(a), self.scores(b)
        common = sorted(mine.keys() & others.keys())
        gap = scoring.difference([mine[n] for n in common], [others[n] for n in common])
        owed = scoring.merit([0.0], self.over(b)[0])
        low, high = (scoring.merit([0.0], self.over(a, hopeful=hopeful)[0]) - owed for hopeful in (False, True))
        return Interval(low=gap.low + low, high=gap.high + high)

    def ranked(self, trials: Sequence[Trial], near: float = 1.0) -> list[Trial]:
        """Those that can serve: first what keeps the limits, or is over one by no more than ``near`` times, then the
        rest, the best of each first. What was in no sweep with the default, where that serves, comes last."""
        able = [t for t in trials if self._serves(t)]
        base = self.scores(self.baseline).keys() if self._serves(self.baseline) else set()

        def place(trial: Trial) -> tuple[bool, bool, float]:
            alone = bool(base) and not base & self.scores(trial).keys()
            return alone, self.over(trial)[0] > near, -self.merit(trial)

        return sorted(able, key=place)

    def _serves(self, trial: Trial) -> bool:
        return trial.id in self.rounds and trial.id not in self.failed

    def merit(self, trial: Trial) -> float:
        """Its scores relative to the default's of the same sweeps, if that serves; less what breaking a limit costs."""
        mine = self.scores(trial)
        base = self.scores(self.baseline) if self._serves(self.baseline) else {}
        relative = [value - base[number] for number, value in mine.items() if number in base]
        return scoring.merit(relative or list(mine.values()), self.over(trial)[0])


@dataclass(frozen=True)
class Found:
    """``ranking``: all that were measured, the best first, what ties by its simplicity; ``why`` says how it ended.
    ``space``: all that could be tried, with what the estimate said of it (ids are 0)."""

    state: SearchState
    ranking: tuple[Trial, ...]
    why: str
    space: tuple[Trial, ...] = ()


def search(
    problem: SearchProblem,
    candidates: Sequence[ServedCandidate],
    measure: Measure,
    memory: Callable[[Trial], int | None] = lambda _: None,
    detail: Callable[[str], None] = lambda _: None,
) -> Found:
    """Find the best configuration of the best candidate. Where every trial failed, the ranking is empty."""
    state = SearchState(problem, memory)
    space = trials.space(problem, candidates)
    first = trials.first(problem, candidates, space)
    state.trials += first
    _sweep(state, first, measure, detail, at_least=2 + (problem.present is not None))
    ranked = state.ranked(first)
    near = trials.near(space, first, ranked[:2], problem.trials - len(first))
    if near:
        state.trials += near
        _sweep(state, [state.baseline, *_without(ranked, state.baseline)[:2], *near], measure, detail)
    why, last = _decide(state, measure, detail)
    return Found(state, tuple(_by_simplicity(state, last)), why, tuple(space))


def _decide(state: SearchState, measure: Measure, detail: Callable[[str], None]) -> tuple[str, list[Trial]]:
    """Sweep on until it is decided: how it ended, and the trials that were still in, which alone can be the best."""
    alive = state.ranked(state.trials, NEAR_LIMIT)
    for keep in HALVES:
        if _out_of_time(state, len(alive[:keep]) + 1):
            return _out(state), alive
        alive = _halved(state, alive, keep)
        _sweep(state, _with_baseline(state, alive), measure, detail)
        alive = state.ranked(alive, NEAR_LIMIT)
    while state.sweeps < MOST_SWEEPS:
        alive = state.ranked(alive) or state.ranked(state.trials)[: HALVES[-1]]  # all that were in have failed since
        if not alive:
            return "no configuration could serve", alive
        leader, rest = alive[0], alive[1:]
        rest = [t for t in rest if _may_win(state, t, leader)]
        if not rest and state.sweeps >= FEWEST_SWEEPS:
            return "no other configuration can win by more than the noise", alive
        if _out_of_time(state, len(rest) + 2):
            return _out(state), alive
        alive = [leader, *rest]
        _sweep(state, _with_baseline(state, alive), measure, detail)
    return f"{MOST_SWEEPS} sweeps: noise on this machine hides the differences that are left", alive


def _may_win(state: SearchState, trial: Trial, leader: Trial) -> bool:
    """Whether more rounds could put the trial before the leader: by its merit, and within the limits if that is."""
    hopeless = state.keeps(leader) and state.over(trial, hopeful=True)[0] > 1
    return not hopeless and state.lead(trial, leader).high > scoring.MARGIN


def _halved(state: SearchState, alive: Sequence[Trial], keep: int) -> list[Trial]:
    """The best ``keep``, at most half of those that there are (but two); of what is within the margin of the best, the
    simplest. One that keeps the limits is always among them, if any does."""
    best = state.merit(alive[0]) if alive else 0.0
    close = [t for t in alive[1:] if abs(best - state.merit(t)) <= scoring.MARGIN]
    order = [*alive[:1], *sorted(close, key=lambda t: t.simplicity), *(t for t in alive[1:] if t not in close)]
    kept = order[: min(keep, max(2, (len(alive) + 1) // 2))]
    keepers = [t for t in order if state.keeps(t)]
    return kept if not keepers or any(t in kept for t in keepers) else [*kept[:-1], keepers[0]]


def _with_baseline(state: SearchState, alive: Sequence[Trial]) -> list[Trial]:
    there = state.baseline.id in state.rounds
    return [*([state.baseline] if there and state.baseline not in alive else []), *alive]


def _without(trials: Sequence[Trial], one: Trial) -> list[Trial]:
    return [trial for trial in trials if trial.id != one.id]


def _sweep(
    state: SearchState,
    trials: Sequence[Trial],
    measure: Measure,
    detail: Callable[[str], None],
    at_least: int = 0,
) -> None:
    """One round of each; every other sweep goes backwards. A trial that can't serve is out. Once one was
    measured, and ``at_least`` so many were asked, it ends where the budget does."""
    number = state.sweeps + 1
    order = [trial for trial in trials if trial.id not in state.failed]
    for asked, trial in enumerate(order if number % 2 else reversed(order)):
        if asked >= at_least and state.rounds and state.spent_s > state.problem.budget_s:
            return
        detail(f"sweep {number}: {trial.words}")
        try:
            seen = measure(trial, number)
        except TrialError as failed:
            state.fail(trial, failed)
        else:
            state.rounds.setdefault(trial.id, []).append(seen)


def _out_of_time(state: SearchState, rounds: int) -> bool:
    """Whether so many more rounds would pass the budget, by what rounds without loading have taken."""
    again = [r.spent_s for known in state.rounds.values() for r in known[1:]]
    each = sorted(again)[len(again) // 2] if again else 1.2
    return state.spent_s + rounds * each > state.problem.budget_s


def _out(state: SearchState) -> str:
    return f"the budget of {state.problem.budget_s:.0f} s is spent"


def _by_simplicity(state: SearchState, last: Sequence[Trial]) -> list[Trial]:
    """The best first; what keeps the limits and loses to the best by less than the margin counts as equal to it.

    The best is one of the ``last``, or the default, which was in every sweep: a trial that was given up early has few
    rounds, and with them often luck. Unless it keeps the limits, and none of them does."""
    ranked = state.ranked(state.trials)
    if not ranked:
        return []
    leader = next((t for t in ranked if t in last or t is state.baseline), ranked[0])
    if not state.keeps(leader) and state.keeps(ranked[0]):
        leader = ranked[0]
    tied = [t for t in ranked if t is leader or (_tied(state, t, leader) and state.keeps(t) >= state.keeps(leader))]
    first = min(tied, key=lambda t: t.simplicity)
    return [first, *_without(ranked, first)]


def _tied(state: SearchState, trial: Trial, leader: Trial) -> bool:
    """Measured together often enough, and within the margin of the leader."""
    common = {r.number for r in state.rounds[trial.id]} & {r.number for r in state.rounds[leader.id]}
    lead = state.lead(leader, trial)
    return len(common) >= 3 and (lead.low + lead.high) / 2 <= scoring.MARGIN
