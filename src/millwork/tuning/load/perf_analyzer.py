"""perf_analyzer: NVIDIA's own client, for a closed loop of one batch size. Its raw times are read, not its averages.

It measures three windows and wants them to agree; here it is told to accept any (``-s``), since rounds are repeated
and compared by us. ``--profile-export-file`` has the time of every request.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ...errors import PublicationError
from ...storage import wire
from ...storage.opening import read_limited
from .samples import Samples
from .tensors import Tensors, perf_analyzer_json

WINDOWS = 3
"""What it takes at least before it calls a figure stable."""
WARM_UP = 0.1
"""Share of the time, at the beginning, that isn't counted: its connections are made in it."""
START_S = 20.0


class _Request(msgspec.Struct):
    timestamp: int
    response_timestamps: tuple[int, ...] = ()


class _Experiment(msgspec.Struct):
    requests: tuple[_Request, ...]
    window_boundaries: tuple[int, ...]


class _Profile(msgspec.Struct):
    experiments: tuple[_Experiment, ...]


@dataclass(frozen=True)
class PerfAnalyzer:
    """``program``: its path; ``libraries``: the folders of what it is linked with."""

    program: str
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class ClosedLoop:
    """``clients`` threads that each send ``batch`` rows when their last request is answered, for ``seconds``."""

    batch: int
    clients: int
    seconds: float


def closed_loop(tool: PerfAnalyzer, url: str, model: str, tensors: Tensors, load: ClosedLoop, folder: Path) -> Samples:
    """The model under the load. PublicationError where the tool has no figures. ``folder``: for its files."""
    given, profile = folder / "requests.json", folder / "profile.json"
    given.write_bytes(perf_analyzer_json(tensors, load.batch))
    options = {
        "-m": model,
        "-i": "grpc",
        "-u": url.removeprefix("grpc://"),
        "-b": str(load.batch),
        "--concurrency-range": str(load.clients),
        "-p": str(max(int(load.seconds * 1000 / WINDOWS), 20)),
        "-r": str(WINDOWS),
        "-s": "9999",
        "--input-data": str(given),
        "--profile-export-file": str(profile),
    }
    command = [tool.program, *(word for option in options.items() for word in option)]
    done = _run(command, tool.libraries, START_S + 6 * load.seconds)
    if done.returncode or not profile.exists():
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise PublicationError(
            f"perf_analyzer ended with exit status {done.returncode}: {lines[-1] if lines else 'no word'}"
        )
    found = wire.decode(read_limited(profile), _Profile).experiments[0]
    given.unlink()
    profile.unlink()
    return _samples(found, load.batch)


def _run(command: Sequence[str], libraries: tuple[str, ...], limit_s: float) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep)
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
            env={**os.environ, "LD_LIBRARY_PATH": path},
        )
    except subprocess.TimeoutExpired as error:
        raise PublicationError(f"perf_analyzer gave no figures within {error.timeout:.0f} s") from error


def _samples(found: _Experiment, batch: int) -> Samples:
    began, ended = found.window_boundaries[0], found.window_boundaries[-1]
    began += int((ended - began) * WARM_UP)
    starts = np.array([request.timestamp for request in found.requests], np.int64)
    ends = np.array(
        [request.response_timestamps[-1] if request.response_timestamps else 0 for request in found.requests]
    )
    inside = (ends > began) & (ends <= ended)
    starts, ends = starts[inside], ends[inside]
    return Samples(
        start_us=(starts - began) / 1e3,
        latency_us=((ends - starts) / 1e3).astype(np.float32),
        rows=np.full(len(starts), batch, np.int32),
        refused=np.zeros(len(starts), np.bool_),
        late_us=np.zeros(len(starts), np.float32),
        seconds=(ended - began) / 1e9,
    )
