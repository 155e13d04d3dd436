"""Each limit that was given, answered: ``p99 3.20 ms of the 5 ms asked``."""

from __future__ import annotations

from collections.abc import Callable

from .. import units
from ..values import Figures, LimitAnswer
from . import scoring
from .slo import Limit, Slo


def answers(figures: Figures, slo: Slo) -> tuple[LimitAnswer, ...]:
    """A line a limit."""
    return tuple(_answer(figures, limit) for limit in slo.limits)


def in_words(answer: LimitAnswer) -> str:
    """With the verdict."""
    return answer.found if answer.met else f"not met: {answer.found}" if answer.met is not None else answer.found


def _answer(figures: Figures, limit: Limit) -> LimitAnswer:
    if limit.quantity == "refused":
        found = f"{figures.refused:.2%} of the requests refused, {limit.bound:.2%} allowed"
        return LimitAnswer(asked=limit.text, found=found, met=figures.refused <= limit.bound)
    value = scoring.figure_of(figures, limit)
    if value is None:
        return LimitAnswer(asked=limit.text, found=f"{limit.text} can't be seen on this server", met=None)
    met = limit.over(value) <= 1
    if limit.quantity == "latency" and figures.samples < (needed := scoring.enough(limit.quantile)):
        found = f"{limit.text} can't be shown: {figures.samples:,} requests were measured, it takes {needed:,}"
        return LimitAnswer(asked=limit.text, found=found, met=False)
    return LimitAnswer(asked=limit.text, found=_SAID[limit.quantity](limit, value), met=met)


def _latency(limit: Limit, us: float) -> str:
    close = 1 < us / limit.bound < 1.01  # three figures would show the limit itself
    shown = f"{us / 1e3:,.5g} ms" if close else units.duration(us)
    return f"p{limit.quantile * 100:g} {shown} of the {units.bound(limit.bound)} asked"


_SAID: dict[str, Callable[[Limit, float], str]] = {
    "latency": _latency,
    "requests": lambda limit, value: f"{units.figures(value)} requests/s, {limit.bound:,.6g} asked",
    "rows": lambda limit, value: f"{units.figures(value)} rows/s, {limit.bound:,.6g} asked",
    "memory": lambda limit, value: f"memory {units.size(round(value))} of the {units.size(round(limit.bound))} asked",
    "cores": lambda limit, value: f"{units.figures(value)} cores of the {limit.bound:g} asked",
}
