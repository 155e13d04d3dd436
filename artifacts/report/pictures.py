"""Pictures of what precision costs, drawn by matplotlib as SVG for the page: no script, no font, no request.

Colours are the page's own (custom properties), so that light, dark and print are each as the page is. A picture is
made only where it has something to show, and everything in it is in a table too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from ...values import CandidateRecord, Record, Value
from .text import bound, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 5.4, 3.4
"""Inches, of 72 points: so few that a phone shows the words at a size that can be read."""
MOST_LAYERS = 14
SMALLEST = 1e-9
"""Differences below it are drawn there: an axis of logarithms has no 0."""
_INK, _SOFT, _LINE = "#010203", "#040506", "#070809"
_SERIES = ("#0a0b0c", "#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e", "#1f2021")
"""Stand-ins, each for one of the page's custom properties."""
_NAMES = {_INK: "--ink", _SOFT: "--soft", _LINE: "--line"} | {c: f"--series-{i}" for i, c in enumerate(_SERIES)}
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)), (0, (7, 2)))
_MARKERS = "osD^vPX*"
"""Beside the colours, so that nothing is told by colour alone."""

Draw = Callable[["Axes"], None]


class Picture(Value):
    """``svg``: an element to put into the page as it is. ``title``: what it shows; ``foot``: how to read it."""

    key: str
    title: str
    foot: str
    svg: str


def pictures(record: Record) -> tuple[Picture, ...]:
    """Those that decide something, and that the record has figures for; none where matplotlib isn't installed.

    Where every candidate is exact, or as near as float32 sums are, time alone decides, and its chart and table say it.
    """
    if find_spec("matplotlib") is None or not inexact(record):
        return ()
    made = (_tradeoff(record), _errors(record), *_layers(record))
    return tuple(picture for picture in made if picture is not None)


def times(record: Record) -> Picture | None:
    """How long calls take, one by one."""
    return None if find_spec("matplotlib") is None else _times(record)


def missing(record: Record) -> bool:
    """Whether there would be pictures, were matplotlib installed."""
    return find_spec("matplotlib") is None and bool(inexact(record))


def inexact(record: Record) -> tuple[CandidateRecord, ...]:
    """Candidates whose answers may differ from the framework's by more than the rounding of float32 sums: a net in a
    lower precision, and what failed."""
    judged = (candidate for candidate in record.candidates if candidate.parity is not None)
    return tuple(c for c in judged if c.status == "failed" or (not _is_tree(c) and c.precision != "fp32"))


def _is_tree(candidate: CandidateRecord) -> bool:
    return candidate.parity is not None and candidate.parity.leaf_mismatches is not None


def loss(candidate: CandidateRecord) -> tuple[float, str] | None:
    """What a candidate loses, and in which unit: its first metric's distance from the framework's where there are
    labels, its largest difference where not."""
    if candidate.parity is None:
        return None
    metric = candidate.parity.metric
    if metric is not None:
        return abs(metric.candidate - metric.framework), f"difference of {metric.name} from the framework's"
    return candidate.parity.max_abs, "largest difference of an answer"


def place(record: Record, candidate: CandidateRecord) -> int:
    """Which of the series' colours, marks and dashes is a candidate's: the same in every picture."""
    return [candidate.id for candidate in record.candidates].index(candidate.id)


def unbeaten(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The Pareto front of (time, loss), both better when smaller: from the fastest, each that loses less than all
    faster ones."""
    front: list[tuple[float, float]] = []
    for time, lost in sorted(places):
        if not front or lost < front[-1][1]:
            front.append((time, lost))
    return front


def _tradeoff(record: Record) -> Picture | None:
    candidates = [
        candidate
        for candidate in record.candidates
        if candidate.status == "passed" and candidate.latency and loss(candidate)
    ]
    if len(candidates) < 2 or not any(candidate in inexact(record) for candidate in candidates):
        return None
    batch = candidates[0].latency[0].batch
    points = [
        (candidate, next(t.p50_us for t in candidate.latency if t.batch == batch), loss(candidate))
        for candidate in candidates
    ]
    unit = next(found[1] for _, _, found in points if found is not None)

    def draw(axes: Axes) -> None:
        places: list[tuple[float, float]] = []
        for candidate, p50, found in points:
            i = place(record, candidate)
            value = max(found[0] if found else 0.0, SMALLEST)
            places.append((p50, value))
            axes.plot(
                [p50],
                [value],
                linestyle="none",
                marker=_MARKERS[i % len(_MARKERS)],
                markersize=8,
                color=_SERIES[i % len(_SERIES)],
                label=candidate.id,
            )
        best = unbeaten(places)
        axes.plot(
            [x for x, _ in best], [y for _, y in best], drawstyle="steps-post", color=_SOFT, linewidth=1.0, zorder=1
        )
        _logarithmic(axes, "x")
        _logarithmic(axes, "y")
        axes.xaxis.set_major_formatter(_time)
        axes.set_xlabel(f"p50 of a batch of {batch}: left is faster")
        axes.set_ylabel(f"{_wrapped(unit)}:\nlower is closer")
        axes.margins(0.15)
        _legend(axes)

    return Picture(
        key="tradeoff",
        title="Time and difference of each candidate",
        foot=f"Each candidate that passed. The line joins those that no other candidate beats in both. "
        f"A difference below {SMALLEST:g} is drawn at {SMALLEST:g}.",
        svg=_svg("tradeoff", draw),
    )


def _errors(record: Record) -> Picture | None:
    candidates = [
        candidate
        for candidate in record.candidates
        if candidate.parity and candidate.parity.errors and candidate.parity.errors[-1] > 0
    ]
    if not candidates:
        return None

    def draw(axes: Axes) -> None:
        for candidate in candidates:
            errors = candidate.parity.errors if candidate.parity is not None else ()
            _steps(axes, place(record, candidate), [max(min(error, 1e30), SMALLEST) for error in errors], candidate.id)
        _logarithmic(axes, "x")
        axes.set_xlabel("largest difference of an answer, row by row")
        _shares(axes, "share of the rows with\nat most this difference")

    return Picture(
        key="errors",
        title="How far answers are off",
        foot="A curve further left is closer to the framework. Candidates with bit-identical answers aren't drawn.",
        svg=_svg("errors", draw),
    )


def _times(record: Record) -> Picture | None:
    candidates = [candidate for candidate in record.candidates if candidate.latency and candidate.latency[0].quantiles]
    if not candidates:
        return None
    batch = candidates[0].latency[0].batch

    def draw(axes: Axes) -> None:
        for candidate in candidates:
            found = next((time for time in candidate.latency if time.batch == batch and time.quantiles), None)
            if found is not None:
                _steps(axes, place(record, candidate), list(found.quantiles), candidate.id)
        _logarithmic(axes, "x")
        axes.xaxis.set_major_formatter(_time)
        axes.set_xlabel(f"time of one call of {batch} row{'s' if batch > 1 else ''}")
        _shares(axes, "share of the calls with\nat most this time")

    return Picture(
        key="times",
        title="How long calls take",
        foot="In process, with the candidates interleaved. The right end of a curve is the slowest call.",
        svg=_svg("times", draw),
    )


def _layers(record: Record) -> list[Picture]:
    return [_layer_costs(candidate) for candidate in record.candidates if candidate.layers]


def _layer_costs(candidate: CandidateRecord) -> Picture:
    costs = sorted(candidate.layers, key=lambda cost: -cost.error)[:MOST_LAYERS]

    def draw(axes: Axes) -> None:
        names = [_short(cost.name) + (" (kept fp32)" if cost.kept else "") for cost in costs][::-1]
        values = [cost.error for cost in costs][::-1]
        kept = [cost.kept for cost in costs][::-1]
        bars = axes.barh(range(len(values)), values, color=_SERIES[0], height=0.7)
        for bar, high in zip(bars, kept, strict=True):
            if high:
                bar.set_hatch("///")
                bar.set_facecolor("none")
                bar.set_edgecolor(_SERIES[0])
        axes.set_yticks(range(len(values)), names)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("error with this layer alone lowered")

    left = f" The {len(candidate.layers) - len(costs)} others cost less." if len(candidate.layers) > len(costs) else ""
    return Picture(
        key=f"layers-{candidate.id}",
        title=f"What each layer of {candidate.id} costs",
        foot="Root mean square error of the answers over their standard deviation, on rows that nothing was calibrated "
        f"on.{left}",
        svg=_svg(f"layers-{candidate.id}", draw, height=max(1.2 + 0.28 * len(costs), 1.8)),
    )


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Ticks as plain numbers (``0.01``, ``1e-06``), some of them within a decade where there are few."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = sorted(axis.get_data_interval())
    axis.set_major_locator(LogLocator(subs=(1.0,) if high > 30 * max(low, 1e-300) else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _steps(axes: Axes, i: int, values: Sequence[float], label: str) -> None:
    share = [k / (len(values) - 1) for k in range(len(values))]
    axes.plot(
        values,
        share,
        drawstyle="steps-post",
        color=_SERIES[i % len(_SERIES)],
        linestyle=_DASHES[i % len(_DASHES)],
        linewidth=1.8,
        label=label,
    )


def _time(us: float, _: object) -> str:
    return bound(us)


def _shares(axes: Axes, what: str) -> None:
    axes.set_ylim(0, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_ylabel(what)
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3,
        labelcolor=_INK,
        fontsize=10,
        columnspacing=1.2,
        handletextpad=0.5,
        borderaxespad=0.2,
    )


def _short(name: str) -> str:
    """A node's name in a graph, without what all of them begin with; its end is what tells it from others."""
    plain = visible(name).removeprefix("net/").removeprefix("node_")
    return plain if len(plain) <= 20 else f"…{plain[-19:]}"


def _wrapped(unit: str) -> str:
    return unit.replace(" of ", "\nof ", 1)


def _svg(key: str, draw: Draw, *, height: float = HEIGHT) -> str:
    """An ``<svg>`` element in the page's own colours and fonts."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": key,
        "font.family": "sans-serif",
        "font.size": 10.0,
        "text.color": _INK,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _SOFT,
        "xtick.color": _SOFT,
        "ytick.color": _SOFT,
        "xtick.labelcolor": _SOFT,
        "ytick.labelcolor": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _LINE,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "hatch.color": _SERIES[0],
    }
    out = io.StringIO()
    with rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(out.getvalue(), key)


def _themed(svg: str, key: str) -> str:
    """Without the prolog, scaled by the page; every colour a custom property; every id the picture's own."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for colour, name in _NAMES.items():
        body = body.replace(colour, f"var({name})")
    own = re.sub(r"[^a-z0-9]+", "-", key.lower())
    body = re.sub(r'\bid="', f'id="{own}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{own}-", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 class="picture"', body, count=1)
    return re.sub(r"font: [^;\"]*?(\d+(?:\.\d+)?)px[^;\"]*", r"font: \1px system-ui, sans-serif", body)
