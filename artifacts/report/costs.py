"""The table by precision: what each candidate costs and what it buys, a line each, and what one should know of it."""

from __future__ import annotations

from ...values import CandidateRecord, Latency, Metric, Record, Value
from . import text
from .verdict import standing

MANY_ULPS = 256
"""More than this, and a reader asks how that can be equal."""


class Cell(Value):
    """``sort``: what a column is sorted by, where the words aren't it; ``small``: a second line."""

    words: str
    sort: float | None = None
    small: str = ""


class Line(Value):
    id: str
    word: str
    cells: tuple[Cell, ...]


class Costs(Value):
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


def costs(record: Record) -> Costs | None:
    """Candidates that were built and judged; None where there are none."""
    candidates = [candidate for candidate in record.candidates if candidate.parity is not None]
    if not candidates:
        return None
    batch = next((candidate.latency[0].batch for candidate in candidates if candidate.latency), None)
    names = list(dict.fromkeys(metric.name for candidate in candidates for metric in _metrics(candidate)))
    timed = (f"p50, batch {batch}", f"p99, batch {batch}", "rows/s") if batch is not None else ()
    counted = [time.gpu_us for candidate in candidates if (time := _timed(candidate, batch)) is not None]
    on_gpu = any(value is not None for value in (*counted, *(candidate.gpu_bytes for candidate in candidates)))
    gpu = (f"GPU time, batch {batch}", "GPU memory") if on_gpu else ()
    precision = () if one_precision(record) else ("precision",)
    heads = (*precision, *timed, *gpu, "size", "memory", "largest difference", "decision flips", *names)
    return Costs(
        heads=heads, lines=tuple(_line(record, candidate, batch, names, on_gpu=on_gpu) for candidate in candidates)
    )


def one_precision(record: Record) -> str:
    """The precision that all judged candidates have; empty where they differ, or there are none."""
    known = {candidate.precision for candidate in record.candidates if candidate.parity is not None}
    return known.pop() if len(known) == 1 else ""


def many_ulps(record: Record) -> str:
    """What a large number of units in the last place means beside a small difference; empty where there is none."""
    passed = [c for c in record.candidates if c.status == "passed" and c.parity is not None]
    found = max(passed, key=lambda c: c.parity.max_ulp if c.parity else 0, default=None)
    if found is None or found.parity is None or found.parity.max_ulp <= MANY_ULPS:
        return ""
    return (
        f"{text.ulps(found.parity.max_ulp)} of {found.id} with a largest difference of "
        f"{text.difference(found.parity.max_abs)}: an answer near 0, such as the smaller of two probabilities, has a "
        "tiny last place. What must hold is the tolerance."
    )


def findings(record: Record) -> tuple[str, ...]:
    """What the plain form of a precision would have done, each once."""
    found = (candidate.parity.finding for candidate in record.candidates if candidate.parity is not None)
    return tuple(dict.fromkeys(said for said in found if said))


def _line(record: Record, candidate: CandidateRecord, batch: int | None, names: list[str], *, on_gpu: bool) -> Line:
    parity = candidate.parity
    if parity is None:
        raise ValueError(f"{candidate.id} wasn't judged")
    time = _timed(candidate, batch)
    metrics = {metric.name: metric for metric in _metrics(candidate)}
    cells = (
        *(() if one_precision(record) else (Cell(words=candidate.precision),)),
        *(() if batch is None else _times(time)),
        *((_gpu_time(time), _size(candidate.gpu_bytes)) if on_gpu else ()),
        _size(candidate.bytes),
        _size(candidate.memory_bytes),
        Cell(words=text.difference(parity.max_abs), sort=parity.max_abs),
        Cell(words=text.whole(parity.decision_flips), sort=float(parity.decision_flips)),
        *(_metric(metrics.get(name)) for name in names),
    )
    return Line(id=candidate.id, word=standing(record, candidate).word, cells=cells)


def _timed(candidate: CandidateRecord, batch: int | None) -> Latency | None:
    return next((found for found in candidate.latency if found.batch == batch), None)


def _gpu_time(time: Latency | None) -> Cell:
    """The GPU's own time of a call, and that of its copies, where they are counted apart."""
    if time is None or time.gpu_us is None:
        return Cell(words=text.NONE)
    copies = "copies included" if time.copies_us is None else f"and {text.duration(time.copies_us)} of copies"
    return Cell(words=text.duration(time.gpu_us), sort=time.gpu_us, small=copies)


def _size(count: int | None) -> Cell:
    return Cell(words=text.NONE) if count is None else Cell(words=text.size(count), sort=float(count))


def _times(time: Latency | None) -> tuple[Cell, ...]:
    if time is None:
        return (Cell(words=text.NONE),) * 3
    return (
        Cell(words=text.duration(time.p50_us), sort=time.p50_us, small=text.interval(time.ci.get("p50_us"))),
        Cell(
            words=text.duration(time.p99_us),
            sort=time.p99_us,
            small=text.interval(time.ci.get("p99_us")),
        ),
        Cell(words=text.figures(time.rows_per_s), sort=time.rows_per_s),
    )


def _metric(metric: Metric | None) -> Cell:
    """The candidate's, and by how much it differs from the framework's."""
    if metric is None:
        return Cell(words=text.NONE)
    low, high = metric.difference.low, metric.difference.high
    same = low == high == 0
    return Cell(
        words=f"{metric.candidate:.4f}",
        sort=metric.candidate,
        small="as the framework" if same else f"{low:+.1e} to {high:+.1e}",
    )


def _metrics(candidate: CandidateRecord) -> tuple[Metric, ...]:
    parity = candidate.parity
    if parity is None:
        return ()
    return parity.metrics or (() if parity.metric is None else (parity.metric,))
