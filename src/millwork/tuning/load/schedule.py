"""When requests of an open loop arrive, and how many rows each has: the same for every trial of a round."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...storage.files import sha256_file
from ...validators import recording
from ...validators.traffic import Traffic

STREAM = 4096
"""Batch sizes of a closed loop, drawn beforehand and taken in turn."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """``seconds`` float64 [N] ascending from the beginning of the round; ``batch`` int32 [N] rows. ``length``: seconds
    in which so many arrive at the traffic's rate."""

    seconds: npt.NDArray[np.float64]
    batch: npt.NDArray[np.int32]
    length: float


def arrivals(traffic: Traffic, seconds: float, seed: int) -> Schedule:
    """Arrivals of ``seconds``: Poisson at the traffic's rate, or the recording's busiest stretch as it was.

    Of a Poisson stream the rate's own number of arrivals, at least one: given their number they come at random moments,
    each as likely as any other. So a round offers what was asked for, and not a few percent more or less. It is as long
    as makes that whole, but no longer than ``seconds`` to the last arrival.
    """
    if traffic.recording:
        if sha256_file(Path(traffic.recording)) != traffic.sha256:
            raise UsageError(f"{traffic.recording}: the recording was changed while the run went on", "Run it again.")
        recorded = recording.read(Path(traffic.recording))
        part = recording.busiest(recorded, seconds)
        return Schedule(seconds=part.seconds, batch=part.batch, length=min(seconds, recorded.length))
    if traffic.rate is None:
        raise ValueError("a closed loop has no schedule")
    rng = np.random.default_rng(seed)
    count = max(round(traffic.rate * seconds), 1)
    length = count / traffic.rate
    times = np.sort(rng.uniform(0.0, min(length, seconds), count))
    return Schedule(seconds=times, batch=sizes(traffic, count, rng), length=length)


def sizes(traffic: Traffic, count: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """``count`` batch sizes in the traffic's shares."""
    shares = np.array([share.share for share in traffic.shares])
    return rng.choice(np.array(traffic.batches, np.int32), count, p=shares / shares.sum()).astype(np.int32)
