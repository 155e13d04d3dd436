"""A logarithmic axis: values to pixels, and where its ticks lie."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ...values import Value

STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))
"""Where ticks may lie in a decade, the coarsest first."""
FEWEST_TICKS = 3


class Scale(Value):
    """From ``low`` at pixel ``start`` to ``high`` at pixel ``end``, which may be the smaller one."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixels."""
        inside = min(max(value, self.low), self.high)
        share = (math.log(inside) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> tuple[float, ...]:
        """Round values along the axis."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        inside: list[float] = []
        for steps in STEPS:
            values = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in values if self.low <= value <= self.high]
            if len(inside) >= FEWEST_TICKS:
                break
        return tuple(inside)


def spanning(values: Iterable[float], start: float, end: float, room: float = 1.15, least: float = 2.0) -> Scale:
    """An axis that holds all ``values`` (above 0) with some room, and spans a factor of ``least`` or more."""
    known = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(known) / room, max(known) * room
    short = math.sqrt(max(1.0, least / (high / low)))
    return Scale(low=low / short, high=high * short, start=start, end=end)
