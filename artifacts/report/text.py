"""Numbers and names as a person reads them, the same in the page, in Markdown and in the terminal."""

from __future__ import annotations

import math

from ...values import Interval

NONE = "\u2013"
"""Where there is no figure."""
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


def tried(measured: int, considered: int) -> str:
    """Of how many something is the best: what was tried of what there is."""
    if measured >= considered:
        return f"the best of all {measured}" if measured > 1 else "the only one there is"
    return f"the best of the {measured} of {considered} tried"


def one_line(text: str) -> str:
    """``text`` on one line, for a table's cell."""
    return " ".join(visible(text).split())


def figures(value: float) -> str:
    """Three significant figures, thousands apart: 7.84, 11.8, 1,240."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    digits = 2 - math.floor(math.log10(abs(rounded)))  # 9.996 is 10.0, not 10.00
    return f"{rounded:,.{max(digits, 0)}f}"


def micros(us: float | None) -> str:
    """Microseconds without their unit; calls are timed to a tenth at best, so no digit goes below it."""
    if us is None:
        return NONE
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"


def interval(found: Interval | None) -> str:
    """A 95% interval of microseconds: 11.7 to 11.9."""
    return "" if found is None else f"{micros(found.low)} to {micros(found.high)}"


def size(count: int) -> str:
    """Bytes in binary units: 512 B, 412 KiB, 1.24 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{figures(value)} {unit}"


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
