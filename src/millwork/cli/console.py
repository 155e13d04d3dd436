"""What commands write to: a console on stderr or stdout, and answers on stdout.

Whoever reads either may leave (``| grep -m1``, ``| head``), and what either goes to may be full or closed: the rest of
it is then dropped, and the command goes on to its own end and its own exit code.
"""

from __future__ import annotations

import os
import select
import sys
from typing import IO, Any, cast

import msgspec
import rich.console
import typer
from rich.text import Text

from ..artifacts.report import text
from ..commands.faults import reason
from ..errors import UsageError


class Console(rich.console.Console):
    """rich's, on stderr unless ``stdout``. A string is printed as it is: brackets in it are no markup."""

    def __init__(self, *, stdout: bool = False) -> None:
        super().__init__(stderr=not stdout, markup=False, emoji=False, highlight=False)

    @property
    def file(self) -> IO[str]:
        """As rich has it: the stream that ``sys`` names just now; a disk that is full under it ends nothing."""
        stream = rich.console.Console.file.fget(self)  # type: ignore[attr-defined]
        return cast("IO[str]", _Forgiving(stream)) if self.stderr else stream

    @file.setter
    def file(self, new: IO[str]) -> None:
        rich.console.Console.file.fset(self, new)  # type: ignore[attr-defined]

    def on_broken_pipe(self) -> None:
        _drop(self.file)


class _Forgiving:
    """A stream that drops what can't be written. Of a reader that left it says so, as any other does."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError:
            _drop(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError:
            _drop(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def plain(line: str, style: str = "") -> Text:
    """A line that holds a path, or what a file, a model or a server says: nothing in it steers a terminal, and it stays
    one line."""
    return Text(text.visible(line).replace("\n", " "), style)


def answer(said: str, done: str = "") -> None:
    """What was asked for, on stdout. ``done``: what the command did beside answering, in words: where the answer can't
    be written that is noted; else it is a UsageError."""
    try:
        typer.echo(said)
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        why = unwritten(error)
        if not done:
            raise why from error
        Console().print(plain(f"note: {why.message}; {done}"), soft_wrap=True)


def unwritten(error: OSError) -> UsageError:
    """Why nothing is on stdout; nothing more goes there."""
    _drop(sys.stdout)
    return UsageError(f"stdout can't be written: {reason(error)}", "Send it where there is room.")


def answer_json(value: object, done: str = "") -> None:
    """A value on stdout, as a JSON document; a run's record as RUN_DIR/run.json has it. ``done``: as :func:`answer`
    has it."""
    answer(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), done)


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
