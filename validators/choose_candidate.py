"""Which candidate wins: the fastest on the traffic beyond noise; else the simpler of those that tie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np

from .. import units
from ..values import Interval, Value, Winner
from .latency import Samples, slower_by
from .traffic import Share

MARGIN = 1.02
"""A difference of less than 2% isn't worth a less simple candidate."""
RESOLUTION_US = 0.5
"""Nor is one of less than half a microsecond a request, where Triton's part is more than a hundred. Two copies of one
artifact differ by some percent of a call of microseconds for as long as they are loaded, by where they lie in memory:
in one run of benchmarks/aa.py on a busy machine 30 of 400 such pairs were declared different by the margin alone. (In
later runs none was, with this or without.)"""


class Choice(Value):
    """The winner, and for each other candidate why it lost. ``times``: microseconds of a request on the traffic, in
    process, the fastest first."""

    winner: Winner
    lost: dict[str, str]
    times: dict[str, float] = msgspec.field(default_factory=dict)


FEW, FEW_TIMES = 3, 4.0
"""How many go on to the real server, and how many times the fastest's time one may take: the hop to the model costs the
same for all, so what is slower in process is less so there."""


def best_few(choice: Choice, most: int = FEW) -> tuple[str, ...]:
    """The winner, then the fastest others that may yet win on the server."""
    limit = FEW_TIMES * min(choice.times.values())
    near = [name for name, time in choice.times.items() if time <= limit and name != choice.winner.id]
    return (choice.winner.id, *near[: max(most - 1, 0)])


def choose(
    ranks: Mapping[str, int],
    samples: Sequence[Samples],
    traffic: Sequence[Share],
    not_named: Collection[str] = (),
) -> Choice:
    """The choice among the candidates that passed parity (at least one), by the time of one request on the traffic.

    ``ranks``: of each candidate by its id, the smaller the simpler and more portable. ``not_named``: those that are
    less precise than the model, in a precision that nobody named: they aren't chosen where there is another.
    """
    by_id = {name: {s.batch: s for s in samples if s.id == name} for name in ranks}
    times = {name: sum(share.share * _median(by_id[name][share.batch]) for share in traffic) for name in ranks}
    able = [name for name in ranks if name not in not_named] or list(ranks)
    fastest = min(able, key=lambda name: times[name])
    behind = {name: _slower(by_id[fastest], by_id[name], traffic) for name in ranks if name != fastest}
    least = max(MARGIN, 1 + RESOLUTION_US / max(times[fastest], 1e-9))
    tied = [name for name in able if name != fastest and behind[name][1].low < least]
    winner = min([fastest, *tied], key=lambda name: ranks[name])
    lost = {name: _why_lost(name, winner, fastest, behind, tied) for name in able if name != winner}
    lost |= {name: _not_named(name, fastest, behind) for name in ranks if name not in able}
    behind = {name: behind[name] for name in able if name != fastest}
    times = {name: times[name] for name in able}
    return Choice(
        winner=Winner(id=winner, why=_why_won(winner, fastest, tied, behind, times)),
        lost=lost,
        times=dict(sorted(times.items(), key=lambda pair: pair[1])),
    )


def _median(samples: Samples) -> float:
    return float(np.median(samples.us))


def _slower(a: Mapping[int, Samples], b: Mapping[int, Samples], traffic: Sequence[Share]) -> tuple[float, Interval]:
    """How many times a's time for the traffic b takes. Each batch size's ratio counts by the time a spends on it."""
    ratios = [slower_by(a[share.batch], b[share.batch]) for share in traffic]
    weights = [share.share * _median(a[share.batch]) for share in traffic]
    total = sum(weights)
    mean = [
        sum(w * value for w, value in zip(weights, column, strict=True)) / total
        for column in ([r for r, _ in ratios], [i.low for _, i in ratios], [i.high for _, i in ratios])
    ]
    return mean[0], Interval(low=mean[1], high=mean[2])


def _why_lost(
    loser: str,
    winner: str,
    fastest: str,
    behind: Mapping[str, tuple[float, Interval]],
    tied: Sequence[str],
) -> str:
    if loser == fastest:
        return f"its lead over {winner} is within noise, and {winner} is simpler"
    ratio, interval = behind[loser]
    spread = f"{ratio:.2f}x {fastest}'s time on this traffic ({interval.low:.2f} to {interval.high:.2f})"
    return f"a tie, and {winner} is simpler: {spread}" if loser in tied else spread


def _not_named(loser: str, fastest: str, behind: Mapping[str, tuple[float, Interval]]) -> str:
    ratio, interval = behind[loser]
    return (
        f"{ratio:.2f}x {fastest}'s time on this traffic ({interval.low:.2f} to {interval.high:.2f}); "
        "it is less precise, so it is chosen only if --precision names it"
    )


def _why_won(
    winner: str,
    fastest: str,
    tied: Sequence[str],
    behind: Mapping[str, tuple[float, Interval]],
    times: Mapping[str, float],
) -> str:
    if not behind:
        return "the only candidate that passed"
    if winner != fastest:
        return f"simpler than {fastest}, whose lead is within noise"
    if tied:
        return f"no slower than {', '.join(tied)} and simpler"
    second = min(behind, key=lambda name: behind[name][0])
    each = f"{units.duration(times[winner])} a call, in process"
    return f"{behind[second][0]:.2f} times as fast as {second} on this traffic, beyond noise ({each})"
