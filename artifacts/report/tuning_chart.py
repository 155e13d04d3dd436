"""The pictures of a tuning: throughput against the tail with the limit drawn, where the time goes, the load sweep.

Each mark has its number, which the table below explains, so colour carries nothing alone. The drawings themselves are
in ``tuning.html.j2``.
"""

from __future__ import annotations

from ...values import Figures, Headroom, Interval, TrialRecord, Tuning, Value
from .scale import Scale, spanning
from .text import bound, duration
from .text import figures as number

WIDTH = 480
LEFT, RIGHT, TOP, BOTTOM = 74, 460, 26, 266
BAR, BAR_GAP, BAR_LEFT, BAR_RIGHT = 22, 10, 84, 404
MOST_BARS = 5
SWEEP_BOTTOM = 206
ROOM_FOR_WORDS = 90
"""Pixels of a label: nearer to the right edge than this, it stands to the left of its mark."""


class Tick(Value):
    at: float
    label: str


class Dot(Value):
    """One trial. ``word``: best, default, kept, missed."""

    id: int
    x: float
    y: float
    word: str
    title: str
    low: float
    high: float
    to_left: bool


class Trade(Value):
    """Rows a second (up) against the tail (right); ``limit`` is the x of the limit's line, None where there is none."""

    dots: tuple[Dot, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit: float | None
    limit_label: str
    limit_to_left: bool
    tail: str


class Part(Value):
    """A piece of a bar. ``kind``: queue, compute, outside."""

    kind: str
    x: float
    width: float
    label: str


class Bar(Value):
    name: str
    y: float
    total: str
    parts: tuple[Part, ...]


class Split(Value):
    """Where the time of a request goes, a bar a configuration."""

    bars: tuple[Bar, ...]
    height: float


class Point(Value):
    x: float
    y: float
    kept: bool
    title: str


class Sweep(Value):
    """The tail (up) against the rate (right)."""

    points: tuple[Point, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit: float | None


def trade(tuning: Tuning) -> Trade | None:
    """None where nothing was measured."""
    seen = [(trial, trial.figures) for trial in tuning.trials if trial.figures is not None]
    if not seen:
        return None
    limits = [tuning.limit_us] if tuning.limit_us is not None else []
    across = spanning([*(f.tail_us for _, f in seen), *limits], LEFT, RIGHT)
    up = spanning((f.rows_per_s for _, f in seen), BOTTOM, TOP)
    return Trade(
        dots=tuple(_dot(tuning, trial, f, across, up) for trial, f in seen),
        x_ticks=tuple(Tick(at=across.at(v), label=bound(v)) for v in across.ticks()),
        y_ticks=tuple(Tick(at=up.at(v), label=f"{v:,.6g}") for v in up.ticks()),
        limit=across.at(tuning.limit_us) if tuning.limit_us is not None else None,
        limit_label=f"limit {bound(tuning.limit_us)}" if tuning.limit_us is not None else "",
        limit_to_left=tuning.limit_us is not None and across.at(tuning.limit_us) > (LEFT + RIGHT) / 2,
        tail=tail_name(tuning),
    )


def tail_name(tuning: Tuning) -> str:
    """``p99``."""
    return f"p{tuning.quantile * 100:g}"


def split(tuning: Tuning) -> Split | None:
    """The best, the default, and the fastest others."""
    others = sorted(
        (t for t in tuning.trials if t.figures is not None),
        key=lambda t: -(t.figures.rows_per_s if t.figures else 0.0),
    )
    first = [t for t in (tuning.best, tuning.default) if t is not None and t.figures is not None]
    chosen = list({t.id: t for t in (*first, *others)}.values())[:MOST_BARS]
    if not chosen:
        return None
    longest = max(_total(t.figures) for t in chosen if t.figures is not None)
    bars = tuple(_bar(tuning, t, t.figures, i, longest) for i, t in enumerate(chosen) if t.figures is not None)
    return Split(bars=bars, height=len(bars) * (BAR + BAR_GAP) + BAR_GAP)


def sweep(tuning: Tuning) -> Sweep | None:
    """None where the load wasn't swept."""
    room = tuning.headroom
    if room is None or len(room.points) < 2:
        return None
    limits = [tuning.limit_us] if tuning.limit_us is not None else []
    across = spanning((p.rate for p in room.points), LEFT, RIGHT, room=1.05, least=1.5)
    up = spanning([*(p.tail_us for p in room.points), *limits], SWEEP_BOTTOM, TOP)
    points = tuple(_point(room, i, across, up) for i in range(len(room.points)))
    return Sweep(
        points=points,
        line=" ".join(f"{p.x},{p.y}" for p in points),
        x_ticks=tuple(Tick(at=across.at(v), label=f"{v:,.6g}") for v in across.ticks()),
        y_ticks=tuple(Tick(at=up.at(v), label=bound(v)) for v in up.ticks()),
        limit=up.at(tuning.limit_us) if tuning.limit_us is not None else None,
    )


def _dot(tuning: Tuning, trial: TrialRecord, seen: Figures, across: Scale, up: Scale) -> Dot:
    spread = seen.ci.get("tail_us") or Interval(low=seen.tail_us, high=seen.tail_us)
    return Dot(
        id=trial.id,
        x=across.at(seen.tail_us),
        y=up.at(seen.rows_per_s),
        word=word(tuning, trial),
        title=f"{trial.id}: {trial.candidate}, {trial.words}: {number(seen.rows_per_s)} rows/s, "
        f"{tail_name(tuning)} {duration(seen.tail_us)}",
        low=across.at(spread.low),
        high=across.at(spread.high),
        to_left=across.at(seen.tail_us) > RIGHT - ROOM_FOR_WORDS,
    )


def word(tuning: Tuning, trial: TrialRecord) -> str:
    """best, default, missed (a limit), kept, or failed."""
    if trial.figures is None:
        return "failed"
    if tuning.best is not None and trial.id == tuning.best.id:
        return "best"
    if tuning.default is not None and trial.id == tuning.default.id:
        return "default"
    return "missed" if trial.over > 1 else "kept"


def _total(seen: Figures) -> float:
    return max(seen.queue_us + seen.compute_us + seen.outside_us, 1e-9)


def _bar(tuning: Tuning, trial: TrialRecord, seen: Figures, row: int, longest: float) -> Bar:
    width, x = BAR_RIGHT - BAR_LEFT, float(BAR_LEFT)
    parts: list[Part] = []
    for kind, us in (("queue", seen.queue_us), ("compute", seen.compute_us), ("outside", seen.outside_us)):
        long = us / longest * width
        label = f"{us / _total(seen):.0%}" if long > 34 else ""
        parts.append(Part(kind=kind, x=round(x, 2), width=round(long, 2), label=label))
        x += long
    mark = {"best": "" if tuning.met is False else "★ ", "default": "default "}.get(word(tuning, trial), "")
    return Bar(
        name=f"{mark}{trial.id}",
        y=BAR_GAP + row * (BAR + BAR_GAP),
        total=duration(_total(seen)),
        parts=tuple(parts),
    )


def _point(room: Headroom, i: int, across: Scale, up: Scale) -> Point:
    point = room.points[i]
    return Point(
        x=across.at(point.rate),
        y=up.at(point.tail_us),
        kept=point.kept,
        title=f"{number(point.rate)} requests/s: {duration(point.tail_us)}",
    )
