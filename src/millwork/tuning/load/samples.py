"""What one round of load saw: a line a request, kept raw beside its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...storage import opening

SAMPLES_FILE = "samples.npz"
EARLY, LATER = 0.25, 1.05
"""The part of a round that is its beginning; times its length by which an answer counts for it."""
FEW = 5
KEEPS_UP = 0.97
"""So much of what an open loop asked must be answered by then, or all but a few, for the server to have kept up."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Of N requests: ``start_us`` float64 from the beginning of the round (in an open loop the scheduled arrival),
    ``latency_us`` float32 from there to the answer, ``rows`` int32, and ``refused`` bool: an error instead of an
    answer. ``late_us`` float32: how long after its schedule each was sent; the generator's own fault, and in
    ``latency_us``. ``seconds``: how long the round was. ``unanswered``: how many had no answer by the end of the wait
    after it; their latency is what they had waited by then.
    """

    start_us: npt.NDArray[np.float64]
    latency_us: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int32]
    refused: npt.NDArray[np.bool_]
    late_us: npt.NDArray[np.float32]
    seconds: float
    unanswered: int = 0

    @property
    def answered(self) -> npt.NDArray[np.float32]:
        """Latencies of the requests that were answered, or would have been later, microseconds."""
        return self.latency_us[~self.refused]

    @property
    def within(self) -> npt.NDArray[np.bool_]:
        """[N]: what was answered by the end of the round."""
        return ~self.refused & (self.start_us + self.latency_us <= self.seconds * 1e6)

    @property
    def in_time(self) -> npt.NDArray[np.bool_]:
        """[N]: what was answered by the end of the round and a twentieth of it more, and as long after as requests took
        at its beginning, when there was no backlog yet."""
        early = self.latency_us[~self.refused & (self.start_us <= self.seconds * EARLY * 1e6)]
        usual = float(np.median(early)) if len(early) else 0.0
        return ~self.refused & (self.start_us + self.latency_us <= self.seconds * LATER * 1e6 + usual)

    @property
    def share_in_time(self) -> float:
        """The same as a share of what wasn't refused; all, where only a few weren't, which one stall makes late."""
        asked, answered = int((~self.refused).sum()), int(self.in_time.sum())
        return 1.0 if asked - answered <= FEW else answered / asked

    @property
    def kept_up(self) -> bool:
        """Whether the server answered as fast as it was asked."""
        return self.share_in_time >= KEEPS_UP


def save(samples: Samples, path: Path) -> None:
    np.savez(
        path,
        start_us=samples.start_us,
        latency_us=samples.latency_us,
        rows=samples.rows,
        refused=samples.refused,
        late_us=samples.late_us,
        seconds=np.array(samples.seconds),
        unanswered=np.array(samples.unanswered),
    )


def load(path: Path) -> Samples:
    with opening.opened(path) as file, np.load(file, allow_pickle=False) as arrays:
        return Samples(
            start_us=arrays["start_us"],
            latency_us=arrays["latency_us"],
            rows=arrays["rows"],
            refused=arrays["refused"],
            late_us=arrays["late_us"],
            seconds=float(arrays["seconds"]),
            unanswered=int(arrays["unanswered"]) if "unanswered" in arrays.files else 0,
        )
