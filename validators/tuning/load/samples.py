"""What one round of load saw: a line a request, kept raw beside its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLES_FILE = "samples.npz"


@dataclass(frozen=True, eq=False)
class Samples:
    """Of N requests: ``start_us`` float64 from the beginning of the round (in an open loop the scheduled arrival),
    ``latency_us`` float32 from there to the answer, ``rows`` int32, and ``refused`` bool: an error instead of an
    answer. ``late_us`` float32: how long after its schedule each was sent; the generator's own fault, and in
    ``latency_us``. ``seconds``: how long the round was.
    """

    start_us: npt.NDArray[np.float64]
    latency_us: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int32]
    refused: npt.NDArray[np.bool_]
    late_us: npt.NDArray[np.float32]
    seconds: float

    @property
    def answered(self) -> npt.NDArray[np.float32]:
        """Latencies of the requests that were answered, microseconds."""
        return self.latency_us[~self.refused]


def save(samples: Samples, path: Path) -> None:
    np.savez(
        path, start_us=samples.start_us, latency_us=samples.latency_us, rows=samples.rows, refused=samples.refused,
        late_us=samples.late_us, seconds=np.array(samples.seconds),
    )  # fmt: skip


def load(path: Path) -> Samples:
    with np.load(path, allow_pickle=False) as arrays:
        return Samples(
            start_us=arrays["start_us"], latency_us=arrays["latency_us"], rows=arrays["rows"],
            refused=arrays["refused"], late_us=arrays["late_us"], seconds=float(arrays["seconds"]),
        )  # fmt: skip
