"""Rounds of load pooled into figures, and into one line: where did the time go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import units
from ..validators.latency import quantile
from ..values import Figures, Interval
from .load.load_steps import ServerTime
from .load.samples import Samples


@dataclass(frozen=True, eq=False)
class Round:
    """One round of one trial: what the client saw, and the server's counters for it. ``number`` pairs it with the same
    round of the others. ``spent_s``: what it took in all, loading included."""

    number: int
    samples: Samples
    server: ServerTime
    generator: str
    spent_s: float


def pooled(rounds: Sequence[Round], quantiles: Sequence[float], memory: int | None) -> Figures:
    """All rounds together; ``quantiles``: those that the limits are about, the first one the tail. Rates are medians
    over rounds, so that one round on a busy machine doesn't set them."""
    latency = np.sort(np.concatenate([r.samples.answered for r in rounds]).astype(np.float64))
    p50, p50_ci = quantile(latency, 0.5)
    p99, p99_ci = quantile(latency, 0.99)
    value, tail_ci = quantile(latency, quantiles[0])
    rates = np.array([rate(r.samples) for r in rounds])
    rows = np.array([row_rate(r.samples) for r in rounds])
    intervals = {"p50_us": p50_ci, "p99_us": p99_ci, "tail_us": tail_ci, "rows_per_s": _spread(rows)}
    sent = sum(len(r.samples.latency_us) for r in rounds)
    mean = float(latency.mean())
    queue, compute = (
        _mean(rounds, "queue_us"),
        sum(_mean(rounds, f"{part}_us") for part in ("input", "infer", "output")),
    )
    cpu = [r.server.cpu_us for r in rounds if r.server.cpu_us is not None]
    return Figures(
        requests_per_s=float(np.median(rates)),
        rows_per_s=float(np.median(rows)),
        p50_us=p50,
        p90_us=quantile(latency, 0.9)[0],
        p99_us=p99,
        tail_us=value,
        mean_us=mean,
        samples=len(latency),
        rounds=len(rounds),
        ci={name: found for name, found in intervals.items() if found is not None},
        quantiles={f"{q:g}": quantile(latency, q)[0] for q in quantiles},
        refused=sum(int(r.samples.refused.sum()) for r in rounds) / max(sent, 1),
        batch_rows=float(np.median([r.server.rows for r in rounds])),
        queue_us=queue,
        compute_us=compute,
        outside_us=max(mean - queue - compute, 0.0),
        cores=float(np.median(rates) * np.median(cpu) * 1e-6) if cpu else None,
        memory_bytes=memory,
        in_time=float(np.median([r.samples.share_in_time for r in rounds])),
    )


def rate(samples: Samples) -> float:
    """Requests answered a second. A server that keeps up with an open loop answers at its rate."""
    return float(_counted(samples).sum() / samples.seconds)


def row_rate(samples: Samples) -> float:
    """Rows answered a second."""
    return float(samples.rows[_counted(samples)].sum() / samples.seconds)


def _counted(samples: Samples) -> npt.NDArray[np.bool_]:
    """What a round's throughput is made of: all answers, or those that came within it where the server fell behind."""
    return ~samples.refused if samples.kept_up else samples.within


def where_it_goes(figures: Figures) -> str:
    """``41% waiting in the server's queue, 35% computing (12.3 rows a call), 24% on the way``."""
    total = max(figures.queue_us + figures.compute_us + figures.outside_us, 1e-9)
    shares = [round(100 * part / total) for part in (figures.queue_us, figures.compute_us, figures.outside_us)]
    return (
        f"of {units.duration(figures.mean_us)} a request, {shares[0]}% waiting in the server's queue, "
        f"{shares[1]}% computing ({figures.batch_rows:,.3g} rows a call), {shares[2]}% in transit (gRPC, client)"
    )


def limiting(figures: Figures, cores: int) -> str:
    """What keeps it from being faster: the part that takes most, and whether the machine is full."""
    parts = {
        "waiting in the server's queue": figures.queue_us,
        "computing": figures.compute_us,
        "transit between client and model (gRPC, client)": figures.outside_us,
    }
    largest = max(parts, key=lambda name: parts[name])
    full = figures.cores is not None and figures.cores > 0.7 * cores
    busy = f"; the server keeps {figures.cores:.1f} of {cores} cores busy" if full else ""
    return f"{largest}: {where_it_goes(figures)}{busy}"


def _mean(rounds: Sequence[Round], name: str) -> float:
    """Mean over requests of a server's time; each round counts by its requests."""
    weights = [max(r.server.requests, 1) for r in rounds]
    return float(np.average([getattr(r.server, name) for r in rounds], weights=weights))


def _spread(values: npt.NDArray[np.float64]) -> Interval | None:
    """The median's 95% interval over rounds, by a bootstrap; None with fewer than three."""
    if len(values) < 3:
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return Interval(low=float(low), high=float(high))
