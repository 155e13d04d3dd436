"""What commands write to: a console on stderr or stdout, and answers on stdout.

Whoever reads either may leave (``| grep -m1``, ``| head``): the rest of it is then dropped, and the command goes on to
its own end and its own exit code.
"""

from __future__ import annotations

import os
import select
import sys
from typing import IO

import msgspec
import rich.console
import typer
from rich.text import Text

from ..artifacts.report import text


class Console(rich.console.Console):
    """rich's, on stderr unless ``stdout``. A string is printed as it is: brackets in it are no markup."""

    def __init__(self, *, stdout: bool = False) -> None:
        super().__init__(stderr=not stdout, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        _drop(self.file)


def plain(line: str, style: str = "") -> Text:
    """A line that holds a path, or what a file, a model or a server says: nothing in it steers a terminal, and it stays
    one line."""
    return Text(text.visible(line).replace("\n", " "), style)


def answer(said: str) -> None:
    """What was asked for, on stdout."""
    try:
        typer.echo(said)
    except BrokenPipeError:
        _drop(sys.stdout)


def answer_json(value: object) -> None:
    """A value on stdout, as a JSON document; a run's record as RUN_DIR/run.json has it."""
    answer(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def reader_left() -> bool:
    """Whether nobody reads stdout or stderr any more; what is still written to it is then dropped."""
    left = [stream for stream in (sys.stdout, sys.stderr) if _closed(stream)]
    for stream in left:
        _drop(stream)
    return bool(left)


def _closed(stream: IO[str]) -> bool:
    waiting = select.poll()
    try:
        waiting.register(stream.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # none there, closed, or not a file of the system's
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))


def _drop(stream: IO[str]) -> None:
    """To nowhere from here on, for every writer of this process; what is buffered, too, which an exit would flush."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
