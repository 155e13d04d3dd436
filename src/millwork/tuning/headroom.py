"""How much more traffic would the winner bear: the rate at which its tail breaks the limit, by a load sweep.

Open loop, the same batch sizes. Rates grow until one breaks the limit, then the gap is halved. Where no latency limit
was said, a tail of three times the one under the tuned traffic counts as one, and so does what isn't answered in time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..values import Headroom, LoadPoint
from . import figures
from .load.samples import KEEPS_UP, Samples
from .slo import Slo

GROWTH = 1.3
MOST_POINTS = 8
HALVINGS = 2
STRETCH = 3.0
"""Times the tail under the tuned traffic, where the user said no limit."""
LATE_US = 1000.0
"""Requests that our own generator sends later than this (median) say that it is at its end, not the server."""

Ask = Callable[[float, int], Samples | None]
"""A round at a rate (requests a second), by its number; None where there is no more time."""


def sweep(ask: Ask, slo: Slo, start: float, tail_us: float) -> Headroom | None:
    """From ``start`` requests a second on; ``tail_us``: the winner's under the tuned traffic. None where not one round
    could be had."""
    bound = slo.latency.bound if slo.latency is not None else STRETCH * tail_us
    points: list[LoadPoint] = []
    low, high, rate = 0.0, 0.0, start
    saturated = False
    for number in range(MOST_POINTS):
        seen = ask(rate, number)
        if seen is None:
            break
        point = _point(seen, slo, rate, bound)
        points.append(point)
        if point.kept:
            low = max(low, rate)
        else:
            high = rate if not high else min(high, rate)
            saturated = saturated or float(np.median(seen.late_us)) > LATE_US
        if low and high and high / low < GROWTH ** (0.5**HALVINGS) * 1.001:
            break
        rate = (low * high) ** 0.5 if low and high else (rate * GROWTH if low else rate / GROWTH**2)
    if not points:
        return None
    words = slo.latency.text if slo.latency is not None else f"p99 below {bound / 1e3:.3g} ms, {STRETCH:g} times now's"
    return Headroom(
        points=tuple(sorted(points, key=lambda point: point.rate)),
        rate=low or None,
        breaks_at=high or None,
        limit=words,
        client_bound=saturated,
    )


def _point(seen: Samples, slo: Slo, rate: float, bound: float) -> LoadPoint:
    answered = seen.answered
    inside = float(seen.in_time.sum() / max(len(seen.latency_us), 1))
    p50, tail = (float(np.quantile(answered, q)) for q in (0.5, slo.quantile))
    kept = tail <= bound and inside >= KEEPS_UP
    refused = float(seen.refused.mean())
    return LoadPoint(
        rate=round(rate, 3),
        answered=round(figures.rate(seen), 3),
        p50_us=p50,
        tail_us=tail,
        kept=kept and refused <= slo.refused,
    )
