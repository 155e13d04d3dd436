"""A run's record in a line, and as a small HTML table: what Python and a notebook show of it.

Names and reasons come out of model files: nothing in them is markup, or steers a terminal.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .record import CandidateRecord, Record

LONGEST = 160
"""Characters of one text in a line."""

_CELL = "text-align:left;vertical-align:top"


def line(record: Record) -> str:
    """``<Record churn: published version 3 in ./models, verified; winner onnx-fp32; 5 candidates, 4 passed; …>``."""
    passed = sum(candidate.status == "passed" for candidate in record.candidates)
    count = len(record.candidates)
    parts = [
        outcome(record),
        f"winner {_cut(record.winner.id)}" if record.winner is not None else "",
        f"{count} candidate{'' if count == 1 else 's'}, {passed} passed",
        f"report {_cut(record.run_dir)}/report.html" if record.run_dir else "",
    ]
    return f"<Record {_name(record)}: {'; '.join(part for part in parts if part)}>"


def outcome(record: Record) -> str:
    """How the run ended."""
    if record.publication is not None:
        found = record.publication
        verified = "verified" if found.verified else "not verified on a server"
        return f"published version {found.version} in {_cut(found.repository)}, {verified}"
    if record.stopped:
        return f"nothing published: {_cut(record.stopped.splitlines()[0])}"
    return "nothing published (dry run)" if record.winner is not None else "nothing published"


def table(record: Record) -> str:
    """The same with a row for each candidate."""
    head = "".join(f'<th style="{_CELL}">{word}</th>' for word in ("candidate", "verdict", *_batches(record), ""))
    rows = "".join(f"<tr>{_row(record, candidate)}</tr>" for candidate in record.candidates)
    where = f"<div>report: <code>{_html(record.run_dir)}/report.html</code></div>" if record.run_dir else ""
    return (
        f"<div><strong>{_html(_name(record))}</strong>: {_html(outcome(record))}</div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{where}"
    )


def _row(record: Record, candidate: CandidateRecord) -> str:
    won = record.winner is not None and record.winner.id == candidate.id
    latency = {found.batch: found for found in candidate.latency}
    times = [f"{latency[b].p50_us:,.1f}" if b in latency else "" for b in _sizes(record)]
    cells = [candidate.id, "winner" if won else candidate.status, *times, _cut(candidate.reason)]
    return "".join(f'<td style="{_CELL}">{_html(cell)}</td>' for cell in cells)


def _sizes(record: Record) -> list[int]:
    return sorted({found.batch for candidate in record.candidates for found in candidate.latency})


def _batches(record: Record) -> list[str]:
    return [f"p50 µs, batch {size:,}" for size in _sizes(record)]


def _name(record: Record) -> str:
    name = record.publication.name if record.publication is not None else record.model.path or record.model.framework
    return _cut(name)


def plain(text: str) -> str:
    """On one line, with all that can't be seen spelled out."""
    one = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in one)


def _cut(text: str) -> str:
    seen = plain(text)
    return seen if len(seen) <= LONGEST else f"{seen[: LONGEST - 1]}…"


def _html(text: str) -> str:
    return html.escape(_cut(text))
