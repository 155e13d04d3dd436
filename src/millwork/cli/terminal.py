"""What a person sees of a run in a terminal: a line a stage, the table of candidates, how it ended, and errors.

All of it goes to the console that is given, which is stderr's: stdout is for ``--json``. Names and reasons come out
of model files, so they are never read as markup, and nothing in them reaches the terminal as a control character.
"""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ..artifacts.report import HTML_FILE, text
from ..artifacts.report.verdict import MARKS, Outcome, limits, verdict
from .candidates_table import candidates_table

if TYPE_CHECKING:
    from ..errors import MillworkError
    from ..values import Record

__all__ = ["TerminalProgress", "candidates_table", "outcome", "print_error", "served"]

STAGE_WIDTH = 8
"""Columns for a stage's name: the longest of ours is ``measure``."""

STYLES: dict[Outcome, str] = {
    "verified": "green", "unverified": "yellow", "ready": "green", "measured": "green", "nothing": "red",
}  # fmt: skip


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────


class TerminalProgress:
    """:class:`millwork.progress.Progress` on a console; as a context, it takes its spinner away however a run ends.

    On a terminal a spinner shows the stage that runs and is replaced by its line; elsewhere, and in CI, each stage
    is one plain line when it has ended.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal and not _in_ci()
        self._spinner: Status | None = None
        self._stage = ""
        self._what = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage:
            self.end("stopped" if isinstance(error, KeyboardInterrupt) else self._what, ok=False)

    def begin(self, stage: str, what: str) -> None:
        self._stop()
        self._stage, self._what, self._began = _plain(stage), _plain(what), time.perf_counter()
        if self._live:
            self._spinner = Status(self._running(self._what), console=self._console, spinner_style="cyan")
            self._spinner.start()

    def detail(self, line: str) -> None:
        if self._spinner is not None:
            self._spinner.update(self._running(_plain(line)))

    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None:
        took = time.perf_counter() - self._began
        self._stop()
        if self._live:
            self._console.print(_done(self._stage, _plain(summary), took, cached, ok))
        else:
            time_or_kept = "kept" if cached else text.seconds(took)
            mark = "" if ok else "FAILED: "
            self._line(f"{self._stage:<{STAGE_WIDTH}} {mark}{_plain(summary)} ({time_or_kept})")
        self._stage = ""

    def note(self, text: str) -> None:
        if self._live:
            self._console.print(_hanging(Text("note:", style="yellow"), Text(_plain(text))))
        else:
            self._line(f"note: {_plain(text)}")

    def _line(self, line: str) -> None:
        """One line, however long: a log isn't wrapped. Without colours, whatever the environment forces on rich."""
        self._console.print(Text(line), soft_wrap=True)

    def _running(self, what: str) -> Text:
        """The spinner's line, cut where the terminal ends: a spinner over two lines leaves traces."""
        line = Text.assemble((f"{self._stage:<{STAGE_WIDTH}} ", "bold"), what)
        line.truncate(max(self._console.width - 3, 1), overflow="ellipsis")
        return line

    def _stop(self) -> None:
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None


def _done(stage: str, summary: str, took: float, cached: bool, ok: bool) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=1)
    grid.add_column(width=STAGE_WIDTH)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    mark = Text("✓", style="green") if ok else Text("✗", style="red")
    grid.add_row(mark, Text(stage, style="bold"), Text(summary), Text("kept" if cached else text.seconds(took), "dim"))
    return grid


def _in_ci() -> bool:
    """Logs of a CI system aren't terminals, even where one says so."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


# ── how it ended ──────────────────────────────────────────────────────────────────────────────────────────


def outcome(record: Record) -> RenderableType:
    """The last lines: the verdict, the report, and what one would do next."""
    from ..artifacts.report import sections

    found = verdict(record)
    style = STYLES[found.outcome]
    repository = _near(record.publication.repository) if record.publication else ""
    rows: list[tuple[str, tuple[str, ...]]] = [("limit", (limit,)) for limit in limits(record)]
    if record.publication is not None:
        rows.append(("published", (f"{repository}/{record.publication.name}",)))
    if record.run_dir:
        rows.append(("report", (str(Path(_near(record.run_dir)) / HTML_FILE),)))
    run_dir = _near(record.run_dir) if record.run_dir else ""
    if client := sections.client_file(record, run_dir):
        rows.append(("client", (client,)))
    rows += [(command.purpose, command.words) for command in sections.commands(record, repository, run_dir)]
    return Group(
        _hanging(Text(MARKS[found.outcome], style=f"bold {style}"), Text(text.visible(found.sentence), style="bold")),
        *([Padding(Text(text.visible(found.because)), (0, 0, 0, 2))] if found.because else []),
        *_served(record, indent=2),
        *(_hanging(Text(f"  {term:<12}", style="dim"), _Words(words)) for term, words in rows),
    )


def served(record: Record) -> RenderableType:
    """By what the winner is served, and the lines that bring another way, to be copied."""
    return Group(*_served(record, indent=0))


def _served(record: Record, indent: int) -> list[RenderableType]:
    from ..artifacts.report.served_by import served_by

    found = served_by(record)
    if found is None:
        return []
    lines = [Text(text.visible(line), overflow="fold", no_wrap=True) for line in found.dockerfile]
    said = [Padding(Text(text.visible(words)), (0, 0, 0, indent)) for words in (found.sentence, found.lead) if words]
    return [*said, *(Padding(line, (0, 0, 0, indent + 2)) for line in lines)]


class _Words:
    """A command or a path that can be copied: where it doesn't fit, a backslash goes on to the next line."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = tuple(_plain(word) for word in words)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines: list[str] = []
        for word in self._words:
            if lines and len(lines[-1]) + len(word) + 3 <= options.max_width:
                lines[-1] += f" {word}"
            else:
                lines.append(f"  {word}" if lines else word)
        yield Text(" \\\n".join(lines), overflow="fold")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def _near(path: str) -> str:
    """``path`` as one would type it here: relative where it lies in the current folder."""
    given, here = Path(path), Path.cwd()
    if not given.is_absolute() or not given.is_relative_to(here):
        return path
    inner = str(given.relative_to(here))
    return inner if "/" in inner or inner.startswith(".") else f"./{inner}"


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────


def print_error(console: Console, error: MillworkError) -> None:
    """``error: message`` and the hint below it. A line's own indent is kept; no path or word is broken."""
    lines = [line.rstrip() for line in text.visible(error.message).splitlines() if line.strip()] or ["unknown"]
    for i, line in enumerate(_wrapped(console, f"error: {lines[0]}")):
        shown = Text(line)
        if i == 0:
            shown.stylize("bold red", 0, len("error:"))
        console.print(shown, soft_wrap=True)
    for line in lines[1:]:
        console.print(Text("\n".join(_wrapped(console, line))), soft_wrap=True)
    for line in text.visible(error.hint).splitlines():
        console.print(Text("\n".join(_wrapped(console, line)), style="dim"), soft_wrap=True)


def _wrapped(console: Console, line: str) -> list[str]:
    """Wrapped at words on a terminal, what is too long for a line left whole; not wrapped at all elsewhere."""
    if not console.is_terminal:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line.lstrip(),
        max(console.width, 20),
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


# ── text ──────────────────────────────────────────────────────────────────────────────────────────────────


def _plain(words: str) -> str:
    """On one line, with no control characters."""
    return text.one_line(words)


def _hanging(mark: Text, body: RenderableType) -> Table:
    """``body`` beside ``mark``: lines after the first start below the first."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, body)
    return grid
