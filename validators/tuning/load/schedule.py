"""When requests of an open loop arrive, and how many rows each has: the same for every trial of a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import recording
from ...traffic import Traffic

STREAM = 4096
"""Batch sizes of a closed loop, drawn beforehand and taken in turn."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """``seconds`` float64 [N] ascending from the beginning of the round; ``batch`` int32 [N] rows."""

    seconds: npt.NDArray[np.float64]
    batch: npt.NDArray[np.int32]


def arrivals(traffic: Traffic, seconds: float, seed: int) -> Schedule:
    """Arrivals of ``seconds``: Poisson at the traffic's rate, or the recording's busiest stretch as it was."""
    if traffic.recording:
        part = recording.busiest(recording.read(Path(traffic.recording)), seconds)
        return Schedule(seconds=part.seconds, batch=part.batch)
    if traffic.rate is None:
        raise ValueError("a closed loop has no schedule")
    rng = np.random.default_rng(seed)
    count = int(traffic.rate * seconds + 6 * np.sqrt(traffic.rate * seconds) + 10)
    times = np.cumsum(rng.exponential(1 / traffic.rate, count))
    times = times[times < seconds]
    return Schedule(seconds=times, batch=sizes(traffic, len(times), rng))


def sizes(traffic: Traffic, count: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """``count`` batch sizes in the traffic's shares."""
    shares = np.array([share.share for share in traffic.shares])
    return rng.choice(np.array(traffic.batches, np.int32), count, p=shares / shares.sum()).astype(np.int32)
