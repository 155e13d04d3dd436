"""Numbers as a person reads them: three figures, and a unit in which they are neither tiny nor huge."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "\u2013"
"""Where there is no figure."""


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


def exact(value: float) -> str:
    """All of a number, with as few digits as say it: -9999999, 0.1, 1e+30."""
    if value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return next((short for digits in range(1, 18) if float(short := f"{value:.{digits}g}") == value), repr(value))


def duration(us: float | None) -> str:
    """Microseconds, in the unit that suits them: 6.3 µs, 412 µs, 26.4 ms, 1.24 s. Calls are timed to a tenth of a
    microsecond at best, so no digit goes below it."""
    if us is None or not math.isfinite(us):
        return NONE
    if us < 99.95:
        return f"{us:.1f} µs"
    if us < 999.5:
        return f"{us:.0f} µs"
    return f"{figures(us / 1e3)} ms" if us < 999_500 else f"{figures(us / 1e6)} s"


def common(times: Iterable[float]) -> str:
    """The unit that suits all of a column: µs, ms, or empty, where each needs its own."""
    known = list(times)
    if max(known, default=0.0) < 9_999.5:
        return "µs"
    return "ms" if min(known) >= 100 else ""


def within(us: float | None, unit: str) -> str:
    """A time without its unit, which the column's head has; with its own, where it has none."""
    if us is None or unit == "":
        return duration(us)
    if unit == "ms":
        return figures(us / 1e3)
    return f"{us:.1f}" if us < 99.95 else f"{us:,.0f}"


def bound(us: float) -> str:
    """A limit in microseconds, as it was given: 5 ms, 2.5 s, 300 µs."""
    size, unit = (1e6, "s") if us >= 1e6 else (1e3, "ms") if us >= 1e3 else (1.0, "µs")
    return f"{us / size:,.6g} {unit}"


def size(count: int) -> str:
    """Bytes in binary units: 512 B, 412 KiB, 1.24 MiB."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{figures(value)} {unit}"
