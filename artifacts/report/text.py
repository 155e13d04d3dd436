"""Numbers and names as a person reads them, the same in the page, in Markdown and in the terminal."""

from __future__ import annotations

from ...units import NONE, bound, common, duration, figures, size, within
from ...values import Interval

__all__ = [
    "NONE",
    "bound",
    "common",
    "difference",
    "duration",
    "figures",
    "interval",
    "one_line",
    "seconds",
    "size",
    "span",
    "ulps",
    "visible",
    "whole",
    "within",
]

LARGEST = 1e300
"""A difference above this stands for one that no float holds (see ``validators.parity``)."""
ONE_IS_NAN = 2**32
"""The distance in units in the last place where only one of two answers is NaN."""


def visible(text: str) -> str:
    """``text`` with all that can't be seen or would steer a terminal (escapes, text direction) spelled out.

    Newlines and tabs stay. A name comes from a model file, which anyone may have written.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


RATIOS = {
    "throughput": "the rows/s of Triton's default",
    "latency": "as fast as Triton's default",
    "cost": "as cheap as Triton's default",
}
"""What a tuned configuration's gain is a ratio of, by objective."""


def tried(measured: int, considered: int) -> str:
    """Of how many something is the best: what was tried of what there is."""
    if measured >= considered:
        return f"the best of all {measured}" if measured > 1 else "the only configuration there is"
    return f"the best of the {measured} of {considered} tried"


def one_line(text: str) -> str:
    """``text`` on one line, for a table's cell."""
    return " ".join(visible(text).split())


def span(low: float, high: float) -> str:
    """Two times, the unit once where it is the same: 11.7 to 11.9 µs."""
    begin, end = duration(low), duration(high)
    number, _, unit = begin.partition(" ")
    return f"{number if end.endswith(f' {unit}') else begin} to {end}"


def interval(found: Interval | None) -> str:
    """A 95% interval of a time: 11.7 to 11.9 µs."""
    return "" if found is None else span(found.low, found.high)


def seconds(value: float) -> str:
    """0.42 s, 12.3 s, 2 min 05 s."""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 60} min {whole % 60:02d} s"


def difference(value: float) -> str:
    """How far answers are apart: 0, 6e-08."""
    return "not finite" if value > LARGEST else f"{value:.2g}"


def ulps(count: int) -> str:
    """Units in the last place of float32."""
    return "NaN" if count >= ONE_IS_NAN else f"{count:,}"


def whole(count: int | None) -> str:
    return NONE if count is None else f"{count:,}"
