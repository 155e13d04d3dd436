"""What tuning found, in a terminal: the default and the best side by side, where the time goes, the head-room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..artifacts.report import text

if TYPE_CHECKING:
    from ..values import Record, TrialRecord, Tuning

HEADS = ("rows/s", "p50", "p99", "rows a call")


def tuning_table(record: Record) -> RenderableType:
    """Nothing where nothing was measured."""
    tuning = record.tuning
    if tuning is None or tuning.best is None:
        return Text()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("configuration", overflow="fold")
    for head in HEADS:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_row(*_line(tuning.best, "closest: " if tuning.met is False else "★ "))
    if tuning.default is not None and tuning.default.id != tuning.best.id:
        table.add_row(*_line(tuning.default, "default: "))
    return Group(table, Text(), *(Text(text.one_line(line), style="dim") for line in _told(tuning)))


def _line(trial: TrialRecord, mark: str) -> tuple[Text, ...]:
    name = Text(mark + text.one_line(f"{trial.candidate}, {trial.words}"), style="" if mark == "default: " else "bold")
    figures = trial.figures
    if figures is None:
        return (name, *(Text(text.NONE) for _ in HEADS))
    cells = (
        text.figures(figures.rows_per_s),
        text.duration(figures.p50_us),
        text.duration(figures.p99_us),
        text.figures(figures.batch_rows),
    )
    return (name, *(Text(cell) for cell in cells))


def _told(tuning: Tuning) -> list[str]:
    measured = sum(trial.figures is not None for trial in tuning.trials)
    found = text.tried(measured, tuning.considered)
    found = f"closest: {found}" if tuning.met is False else f"★ is {found}"
    lines = [
        f"{found} in {text.seconds(tuning.seconds)}: {tuning.why}",
        f"on {tuning.server} under {tuning.traffic}",
        f"where the time goes: {tuning.limited_by}",
    ]
    room = tuning.headroom
    if room is not None and room.rate is not None:
        beyond = f", breaks at {room.breaks_at:,.0f}" if room.breaks_at else ""
        lines.append(f"head-room: keeps {room.limit} up to {room.rate:,.0f} requests/s{beyond}")
    return lines
