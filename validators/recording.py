"""Recorded traffic: when requests came, and how many rows each had.

    .csv            columns ``time`` (seconds, or ISO 8601) and, optionally, ``batch``
    .jsonl          one object a line with the same two fields
    .json           a trace of Triton's own (``--trace-config``): REQUEST_START is the arrival; the batch is the
                    first dimension of an input's shape where TENSORS were traced
    anything else   an access log in the common format

Where a file's clock has whole seconds only, as an access log's has, arrivals are spread evenly within each. A file
without batch sizes has requests of one row, and that is said.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..storage import opening

FEWEST = 20
"""Requests; fewer say nothing about a traffic."""
MOST = 5_000_000
LARGEST = 4 << 30
LARGEST_BATCH = 1 << 20
TABLES = (".csv", ".jsonl", ".json")
"""Whose clocks may be finer than seconds."""
NO_BATCHES = "it has no batch sizes, so each request is one row"
_LOGGED = re.compile(r"\[(\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4})\]")

Entry = tuple[float, int | None]
"""Seconds, and rows where the file says so."""


@dataclass(frozen=True, eq=False)
class Recording:
    """``seconds`` float64 [N] from the first arrival on, ascending; ``batch`` int32 [N] rows of each request."""

    seconds: npt.NDArray[np.float64]
    batch: npt.NDArray[np.int32]
    assumed: str = ""

    @property
    def rate(self) -> float:
        """Requests a second, on average."""
        return len(self.seconds) / self.length

    @property
    def length(self) -> float:
        """Seconds: to the last arrival, and as long after it as one is from the next on average."""
        return float(self.seconds[-1]) * len(self.seconds) / max(len(self.seconds) - 1, 1)


def read(path: Path) -> Recording:
    """The arrivals in ``path``; UsageError where it has none that can be read."""
    try:
        entries = [entry for _, entry in zip(range(MOST), _entries(path), strict=False)]
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
        csv.Error,
    ) as error:
        raise UsageError(
            f"--traffic {path}: {_reason(error)}",
            "See docs/reference/traffic-and-limits.md for what a recording holds.",
        ) from error
    if len(entries) < FEWEST:
        raise UsageError(f"--traffic {path}: it has {len(entries)} requests; expected {FEWEST} or more")
    seconds = np.array([entry[0] for entry in entries], np.float64)
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    if not np.isfinite(seconds).all() or (seconds[-1] <= seconds[0] and path.suffix in TABLES):
        raise UsageError(f"--traffic {path}: all its requests have the same time")
    seconds = _spread(seconds)
    seconds -= seconds[0]
    rows = np.array([entry[1] or 1 for entry in entries], np.int64)[order]
    if rows.min() < 1 or rows.max() > LARGEST_BATCH:
        raise UsageError(f"--traffic {path}: it has a request of {rows.max() if rows.min() >= 1 else rows.min()} rows")
    known = any(entry[1] is not None for entry in entries)
    return Recording(seconds=seconds, batch=rows.astype(np.int32), assumed="" if known else NO_BATCHES)


def shares(found: Recording, most: int) -> list[tuple[int, float]]:
    """Batch sizes and their shares; more than ``most`` sizes are grouped, each group by its largest."""
    sizes, counts = np.unique(found.batch, return_counts=True)
    groups = np.array_split(np.arange(len(sizes)), min(most, len(sizes)))
    return [(int(sizes[group[-1]]), float(counts[group].sum() / len(found.batch))) for group in groups]


def busiest(found: Recording, seconds: float) -> Recording:
    """The stretch of ``seconds`` with the most rows in it, from its own beginning."""
    total = np.concatenate([[0], np.cumsum(found.batch)])
    ends = np.searchsorted(found.seconds, found.seconds + seconds)
    first = int(np.argmax(total[ends] - total[:-1]))
    part = slice(first, int(ends[first]))
    return Recording(seconds=found.seconds[part] - found.seconds[first], batch=found.batch[part])


def _entries(path: Path) -> Iterator[Entry]:
    with io.TextIOWrapper(opening.opened(path, LARGEST), encoding="utf-8") as file:
        if path.suffix == ".csv":
            yield from _table(csv.DictReader(file))
        elif path.suffix == ".jsonl":
            yield from _table(json.loads(line) for line in file if line.strip())
        elif path.suffix == ".json":
            yield from _triton(json.load(file))
        else:
            yield from _logged(file)


def _table(lines: Iterable[dict[str, Any]]) -> Iterator[Entry]:
    for line in lines:
        batch = line.get("batch")
        yield _time(line["time"]), None if batch in (None, "") else int(str(batch))


def _time(value: Any) -> float:
    """Seconds, from a number or ISO 8601."""
    try:
        return float(value)
    except ValueError:
        return datetime.fromisoformat(str(value)).timestamp()


def _triton(trace: list[dict[str, Any]]) -> Iterator[Entry]:
    """A trace is a list of parts; those of one request have its ``id``."""
    began: dict[int, float] = {}
    rows: dict[int, int] = {}
    for part in trace:
        for stamp in part.get("timestamps", ()):
            if stamp["name"] == "REQUEST_START":
                began[part["id"]] = stamp["ns"] * 1e-9
        if part.get("activity") == "TENSOR_QUEUE_INPUT":
            shape = str(part["tensor"]["shape"])
            rows.setdefault(part["id"], int(shape.partition(",")[0]))
    for name, seconds in began.items():
        yield seconds, rows.get(name)


def _logged(lines: Iterable[str]) -> Iterator[Entry]:
    """An access log's arrivals."""
    stamps = (found[1] for line in lines if (found := _LOGGED.search(line)))
    for stamp in stamps:
        yield datetime.strptime(stamp, "%d/%b/%Y:%H:%M:%S %z").timestamp(), None


def _spread(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ascending times of a clock that has whole seconds only, spread evenly within each; any others as they are."""
    if not np.array_equal(seconds, np.round(seconds)):
        return seconds
    _, first, count = np.unique(seconds, return_index=True, return_counts=True)
    place = np.arange(len(seconds)) - np.repeat(first, count)
    return np.asarray(seconds + (place + 0.5) / np.repeat(count, count))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"not a recording: {error}"
