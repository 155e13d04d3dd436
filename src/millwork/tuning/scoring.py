"""Is it within the limits, how good is it, and can it be told from another: figures to decisions.

A trial's score in a round is a logarithm, so that differences are ratios. What breaks a limit ranks behind all that
keep the limits; among those that break one, it costs ten times what it is over. Two trials are compared by the
differences of the same rounds, which were measured one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from ..values import Figures, Interval
from .figures import Round, row_rate
from .load.samples import KEEPS_UP
from .slo import Limit, Objective, Slo

PENALTY = 10.0
MARGIN = 0.02
"""A difference of less than 2% isn't worth a less simple configuration, nor more trials."""
TRIM = 0.2
SLACK = 1.05
"""Where no latency limit is said, p99 may be this much of the default's: its own noise."""

NONE_REFUSED = "none may be refused"
THE_RATE = "the rate"
"""What is asked in an open loop, whatever else is: a server that falls behind answers later and later."""

_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
"""Student's t, two-sided 95%, by degrees of freedom from 1 on."""


def enough(quantile: float) -> int:
    """So many requests have one beyond the quantile with 95%: with fewer, a limit of it may seem kept by luck."""
    return math.ceil(math.log(0.05) / math.log(quantile))


def unshown(figures: Figures, slo: Slo) -> tuple[str, int, int] | None:
    """A limit of a latency that too few requests were measured for: its text, how many were and how many it takes."""
    lacking = [
        limit for limit in slo.limits if limit.quantity == "latency" and figures.samples < enough(limit.quantile)
    ]
    worst = max(lacking, key=lambda limit: limit.quantile, default=None)
    return None if worst is None else (worst.text, figures.samples, enough(worst.quantile))


def over(figures: Figures, slo: Slo, implied_us: float | None = None, *, hopeful: bool = False) -> tuple[float, str]:
    """How many times the worst-kept limit ``figures`` are (1 and below: all are kept), and which limit that is.

    ``implied_us``: a p99 not to be exceeded where the user said no latency limit. ``hopeful``: latencies are as low as
    their interval has them.
    """
    if hopeful:
        figures = _hopeful(figures)
    seen = [(limit, figure_of(figures, limit)) for limit in slo.limits]
    found = [(limit.over(value), limit.text) for limit, value in seen if value is not None]
    if figures.refused > slo.refused:
        said = next((limit.text for limit in slo.limits if limit.quantity == "refused"), NONE_REFUSED)
        found.append((1 + figures.refused - slo.refused, said))
    if figures.in_time < KEEPS_UP:
        found.append((KEEPS_UP / max(figures.in_time, 1e-3), THE_RATE))
    if implied_us is not None and slo.latency is None:
        found.append((figures.p99_us / (implied_us * SLACK), "p99 no worse than the default's"))
    return max(found, default=(0.0, ""))


def score(round_: Round, objective: Objective, tail: float, cost: float) -> float:
    """One round's figure of merit, larger is better. ``cost``: cores where CPU time can't be seen."""
    samples, cpu = round_.samples, round_.server.cpu_us
    if objective == "throughput":
        return log(row_rate(samples))
    if objective == "latency":
        return -log(float(np.quantile(samples.answered, tail)))
    return -log(cpu if cpu is not None else cost)


def merit(scores: Sequence[float], beyond: float) -> float:
    """The score of all rounds, less what breaking a limit costs."""
    fine = math.log(max(beyond, 1.0)) if math.isfinite(beyond) else 50.0
    return trimmed(scores)[0] - PENALTY * fine


def log(value: float) -> float:
    """The logarithm of a figure that may be 0."""
    return math.log(max(value, 1e-9))


def difference(a: Sequence[float], b: Sequence[float]) -> Interval:
    """a - b over the same rounds: the 95% interval of the trimmed mean; unbounded with fewer than two rounds."""
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    if len(gaps) < 2:
        return Interval(low=-math.inf, high=math.inf)
    mean, error, freedom = trimmed(gaps)
    half = _t(freedom) * error
    return Interval(low=mean - half, high=mean + half)


def trimmed(values: Sequence[float]) -> tuple[float, float, int]:
    """A mean, its standard error, and its degrees of freedom, without a fifth of the values at each end: a machine that
    is busy for a moment spoils one round, and mustn't decide. Yuen's: the error from the winsorized values."""
    ordered = np.sort(np.asarray(values, np.float64))
    cut = int(len(ordered) * TRIM)
    kept = ordered[cut : len(ordered) - cut]
    if len(ordered) < 2:
        return float(kept.mean()), math.inf, 1
    winsorized = np.clip(ordered, kept[0], kept[-1])
    error = float(winsorized.std(ddof=1)) / ((1 - 2 * cut / len(ordered)) * math.sqrt(len(ordered)))
    return float(kept.mean()), error, max(len(kept) - 1, 1)


def _t(freedom: int) -> float:
    return _T[freedom - 1] if freedom <= len(_T) else 2.0


def _hopeful(figures: Figures) -> Figures:
    """The same, all latencies less by what the tail's interval has below it."""
    low = figures.ci["tail_us"].low if "tail_us" in figures.ci else figures.tail_us
    less = low / figures.tail_us if figures.tail_us > 0 else 1.0
    quantiles = {name: value * less for name, value in figures.quantiles.items()}
    return msgspec.structs.replace(figures, quantiles=quantiles, p99_us=figures.p99_us * less)


def figure_of(figures: Figures, limit: Limit) -> float | None:
    """The figure that a limit is about; None where it couldn't be seen."""
    values: dict[str, float | None] = {
        "latency": figures.quantiles.get(f"{limit.quantile:g}"),
        "requests": figures.requests_per_s,
        "rows": figures.rows_per_s,
        "cores": figures.cores,
        "memory": None if figures.memory_bytes is None else float(figures.memory_bytes),
        "refused": None,
    }
    return values[limit.quantity]
