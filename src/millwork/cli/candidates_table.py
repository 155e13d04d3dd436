"""The table of candidates in a terminal: parity, p50 and p99 by batch size, size, and how each did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..artifacts.report import text
from ..artifacts.report.verdict import standing

if TYPE_CHECKING:
    from ..values import CandidateRecord, Latency, Record

WORD_STYLES = {
    "winner": "bold green",
    "closest": "bold yellow",
    "failed": "red",
    "error": "red",
    "lost": "",
    "passed": "",
    "unsupported": "dim",
}


def candidates_table(record: Record) -> RenderableType:
    """Every candidate with its figures, then why each lost or failed. Fits 80 columns, and 60."""
    if not record.candidates:
        return Text("no candidates", style="dim")
    return Group(_Figures(record), Text(), _reasons(record))


class _Figures:
    """The first layout that fits: a column a batch size, else a line a batch size, else without the files' size."""

    def __init__(self, record: Record) -> None:
        self._layouts = (_by_column(record), _by_line(record), _by_line(record, narrow=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unbounded = options.update(width=1000)
        widths = (Measurement.get(console, unbounded, layout).maximum for layout in self._layouts)
        fitting = (layout for layout, width in zip(self._layouts, widths, strict=True) if width <= options.max_width)
        yield next(fitting, self._layouts[-1])


def _by_column(record: Record) -> Table:
    """One line a candidate, one column a batch size."""
    batches = _batches(record)
    columns = {
        batch: _aligned([_line_of(c, batch) for c in record.candidates], _unit(record, batch)) for batch in batches
    }
    table = _table([*(f"batch {batch:,}\np50 / p99 {_unit(record, batch)}".rstrip() for batch in batches), "size"])
    for i, candidate in enumerate(record.candidates):
        figures = [columns[batch][i] for batch in batches]
        table.add_row(*_who(record, candidate), *figures, _size(candidate), _verdict(record, candidate))
    return table


def _by_line(record: Record, *, narrow: bool = False) -> Table:
    """One line a candidate and batch size: for many sizes, or a narrow terminal, where the files' size is left out."""
    table = _table(["batch", "p50", "p99", *([] if narrow else ["size"])], gap=1 if narrow else 2)
    for candidate in record.candidates:
        before = _who(record, candidate)
        after = [*([] if narrow else [_size(candidate)]), _verdict(record, candidate)]
        first, *rest = [_figures(line) for line in candidate.latency] or [("", "", "")]
        table.add_row(*before, *first, *after)
        for figures in rest:
            table.add_row(*("" for _ in before), *figures)
    return table


def _table(heads: Iterable[str], gap: int = 2) -> Table:
    """An empty table with a column to the right for each of ``heads``, between the name and parity, and the verdict."""
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("candidate", overflow="fold")
    table.add_column("parity", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    return table


def _figures(line: Latency) -> tuple[str, str, str]:
    return f"{line.batch:,}", text.duration(line.p50_us), text.duration(line.p99_us)


def _who(record: Record, candidate: CandidateRecord) -> tuple[Text, Text]:
    winner = standing(record, candidate).word == "winner"
    return Text(text.one_line(candidate.id), style="bold" if winner else ""), _parity(candidate)


def _parity(candidate: CandidateRecord) -> Text:
    if candidate.parity is None:
        return Text(text.NONE, style="dim")
    if candidate.status == "failed":
        return Text("differs", style="red")
    # Not in ULP: where a framework computes the smaller of two probabilities as 1 - p, thousands of them are exact.
    return Text("exact" if candidate.parity.max_ulp == 0 else f"≤ {text.difference(candidate.parity.max_abs)}")


def _size(candidate: CandidateRecord) -> Text:
    return Text(text.size(candidate.bytes) if candidate.bytes else text.NONE)


def _verdict(record: Record, candidate: CandidateRecord) -> Text:
    word = standing(record, candidate).word
    return Text(f"★ {word}" if word == "winner" else word, style=WORD_STYLES[word])


def _reasons(record: Record) -> Table:
    """Why each lost, failed or isn't supported; why the winner won is the outcome's to say."""
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(max_width=24, overflow="fold")
    grid.add_column(ratio=1, overflow="fold", style="dim")
    for candidate in record.candidates:
        if candidate.reason:
            grid.add_row(Text(text.one_line(candidate.id)), Text(text.one_line(candidate.reason)))
    return grid


def _batches(record: Record) -> list[int]:
    return sorted({line.batch for candidate in record.candidates for line in candidate.latency})


def _line_of(candidate: CandidateRecord, batch: int) -> Latency | None:
    return next((line for line in candidate.latency if line.batch == batch), None)


def _pair(line: Latency, unit: str) -> tuple[str, str]:
    """p50 and p99, a unit of their own once where it is the same."""
    p50, p99 = text.within(line.p50_us, unit), text.within(line.p99_us, unit)
    number, _, own = p50.partition(" ")
    return (number if own and p99.endswith(f" {own}") else p50), p99


def _unit(record: Record, batch: int) -> str:
    """The unit of a batch size's column; empty where each time has its own."""
    lines = [line for candidate in record.candidates if (line := _line_of(candidate, batch)) is not None]
    return text.common(us for line in lines for us in (line.p50_us, line.p99_us) if us is not None)


def _aligned(lines: Iterable[Latency | None], unit: str) -> list[Text]:
    """``p50 / p99`` of one batch size, the strokes below one another."""
    pairs = [None if line is None else _pair(line, unit) for line in lines]
    left, right = (max((len(pair[i]) for pair in pairs if pair), default=0) for i in (0, 1))
    return [Text("" if pair is None else f"{pair[0]:>{left}} / {pair[1]:>{right}}") for pair in pairs]
