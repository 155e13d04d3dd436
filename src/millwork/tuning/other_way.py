"""The other way to serve: by our Triton backend where a stock Triton gets its python backend, and the reverse.

It isn't searched for. The best that is to be published is measured once more, beside the other way with the same
settings and with those that the estimate likes best, in rounds that follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..values import Figures, Interval, OtherWay
from . import explain, trials
from .figures import Round
from .search import SearchState
from .trials import SearchProblem, ServedCandidate, Trial, TrialError

ROUNDS, FEWEST = 4, 2
"""Of each of the two; a second form of the other way gets one. Fewer where they take more than their share."""
SHARE = 0.3
"""Of the budget, beside it."""


@dataclass(frozen=True)
class Other:
    """The other way's trial, what it did, and how it compares."""

    trial: Trial
    figures: Figures
    way: OtherWay


def measured(
    problem: SearchProblem,
    state: SearchState,
    winner: Trial,
    aside: Sequence[ServedCandidate],
    measure: Callable[[Trial, int], Round],
) -> Other | None:
    """The best of ``aside``, which may not win, beside the ``winner``. None where there is none, or none can serve.
    ``state`` stays as it is."""
    tried = _tried(problem, state, winner, aside)
    if not tried:
        return _of_the_search(state, winner)
    rounds = {name: list(known) for name, known in state.rounds.items()}
    own = replace(state, rounds=rounds, failed=dict(state.failed), trials=[*state.trials, *tried], _figures={})
    for done in range(ROUNDS):
        if done >= FEWEST and own.spent_s - state.spent_s > SHARE * problem.budget_s:
            break
        number = own.sweeps + 1
        serving = [trial for trial in tried if trial.id not in own.failed]
        if not serving:
            return None
        for trial in [winner, *serving] if number % 2 else [*reversed(serving), winner]:
            try:
                own.rounds.setdefault(trial.id, []).append(measure(trial, number))
            except TrialError as error:
                own.fail(trial, error)
        if winner.id in own.failed:
            return None
        tried = own.ranked([trial for trial in serving if trial.id not in own.failed])[:1]
    return _compared(own, winner, tried[0]) if tried else None


def _tried(problem: SearchProblem, state: SearchState, winner: Trial, aside: Sequence[ServedCandidate]) -> list[Trial]:
    """With the winner's settings, if it is the same candidate, and the best by the estimate."""
    pairs = [(one, winner.settings) for one in aside if one.id == winner.candidate.id]
    pairs += [(one.candidate, one.settings) for one in trials.space(problem, aside)[:1]]
    unique = [pair for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    first = 1 + max((trial.id for trial in state.trials), default=0)
    return [Trial(first + i, candidate, settings) for i, (candidate, settings) in enumerate(unique)]


def _of_the_search(state: SearchState, winner: Trial) -> Other | None:
    """The winner's candidate by its other Triton backend, if the search has measured that in the same rounds."""
    name, backend = winner.candidate.id, winner.candidate.backend
    same = [t for t in state.trials if t.candidate.id == name and t.candidate.backend != backend]
    there = [t for t in state.ranked(same) if explain.ratio(state, t, winner) is not None]
    return _compared(state, winner, there[0]) if there else None


def _compared(state: SearchState, winner: Trial, other: Trial) -> Other | None:
    found = explain.ratio(state, other, winner)
    if found is None:
        return None
    beyond, limit = state.missed(other)
    problem = state.problem
    way = OtherWay(
        triton_backend=other.candidate.backend,
        candidate=other.candidate.id,
        times=found[0],
        interval=Interval(low=found[1].low, high=min(found[1].high, LARGEST)),
        objective=problem.objective,
        limit=problem.slo.words if problem.slo.limits else "",
        over=min(beyond, LARGEST) if limit else 0.0,
    )
    return Other(other, state.figures(other), way)


LARGEST = 1e6
"""A ratio that is larger is this much in the record: JSON has no infinity."""
