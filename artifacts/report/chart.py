"""The chart of p50 by batch size: where each mark goes. The drawing itself is ``chart.html.j2``.

One panel a batch size, one row a candidate, all on one logarithmic axis: candidates are often tens of times apart,
and the last few percent are what a choice is about. Every mark is labelled, so colour carries nothing alone.
"""

from __future__ import annotations

import math

from ...values import Interval, Latency, Record, Value
from .text import bound, duration, interval
from .verdict import missed

WIDTH, ROW, HEADING, GAP, FOOT = 480, 24, 24, 14, 44
LEFT, RIGHT = 172, 404
"""Pixels, so few that a phone shows words that can be read: the drawing's width, heights of its parts, and the axis's
ends."""
LONGEST_NAME = 19
STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))
"""Where ticks may lie in a decade, the coarsest first."""


class Mark(Value):
    """One candidate at one batch size. ``low`` and ``high`` are the whisker's ends."""

    name: str
    title: str
    label: str
    winner: bool
    x: float
    y: float
    low: float
    high: float


class Panel(Value):
    batch: int
    y: float
    marks: tuple[Mark, ...]


class Tick(Value):
    x: float
    label: str


class Chart(Value):
    """``top`` and ``bottom`` are where grid lines start and end; ``left`` and ``right`` the axis."""

    width: int
    height: float
    top: float
    bottom: float
    left: float
    right: float
    ticks: tuple[Tick, ...]
    panels: tuple[Panel, ...]


class Axis(Value):
    """A logarithmic axis from ``low`` to ``high`` microseconds."""

    low: float
    high: float

    def x(self, us: float) -> float:
        """Pixels from the left."""
        share = (math.log(max(us, self.low)) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return round(LEFT + share * (RIGHT - LEFT), 2)


def chart(record: Record) -> Chart | None:
    """The chart, or None where nothing was measured."""
    timed = [(candidate.id, line) for candidate in record.candidates for line in candidate.latency if line.p50_us > 0]
    if not timed:
        return None
    axis = _axis([line for _, line in timed])
    panels: list[Panel] = []
    y = 4.0
    for batch in sorted({line.batch for _, line in timed}):
        rows = [(name, line) for name, line in timed if line.batch == batch]
        marks = tuple(
            _mark(name, line, record, axis, y + HEADING + ROW * (i + 0.5)) for i, (name, line) in enumerate(rows)
        )
        panels.append(Panel(batch=batch, y=y + HEADING - 8, marks=marks))
        y += HEADING + ROW * len(rows) + GAP
    return Chart(
        width=WIDTH, height=y + FOOT, top=4, bottom=y, left=LEFT, right=RIGHT, ticks=_ticks(axis), panels=tuple(panels)
    )


def _mark(name: str, line: Latency, record: Record, axis: Axis, y: float) -> Mark:
    spread = line.ci.get("p50_us") or Interval(low=line.p50_us, high=line.p50_us)
    within = f" (95% interval {interval(spread)})" if "p50_us" in line.ci else ""
    return Mark(
        name=name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…",
        title=f"{name}, batch {line.batch:,}: p50 {duration(line.p50_us)}{within}",
        label=duration(line.p50_us),
        winner=record.winner is not None and record.winner.id == name and not missed(record),
        x=axis.x(line.p50_us),
        y=y,
        low=axis.x(spread.low),
        high=axis.x(spread.high),
    )


def _axis(lines: list[Latency]) -> Axis:
    """Some room at both ends, and at least a factor of three in all, so that a tie looks like one."""
    spreads = [line.ci.get("p50_us") or Interval(low=line.p50_us, high=line.p50_us) for line in lines]
    low = max(min(spread.low for spread in spreads), 1e-3) / 1.15
    high = max(spread.high for spread in spreads) * 1.15
    short = math.sqrt(max(1.0, 3 / (high / low)))
    return Axis(low=low / short, high=high * short)


def _ticks(axis: Axis) -> tuple[Tick, ...]:
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for steps in STEPS:
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if axis.low <= value <= axis.high]
        if len(inside) >= 3:
            break
    return tuple(Tick(x=axis.x(value), label=bound(value)) for value in inside)
