"""What a long run tells whoever waits for it: a line a stage. The command line's version is in cli/terminal.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from typing import Protocol, TextIO

from .values.record_words import plain

STAGE_WIDTH = 8


class Progress(Protocol):
    """Called in order: ``begin``, any number of ``detail``, ``end``; ``note`` at any time."""

    def begin(self, stage: str, what: str) -> None:
        """A stage starts: ``check``, ``onnx-fp32``."""
        ...

    def detail(self, line: str) -> None:
        """A line of a long stage's own progress, replacing the one before."""
        ...

    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None:
        """The stage is done: what came out, whether it was kept from an earlier run, and whether that is good news."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know, and that isn't an error."""
        ...


class Silent:
    """Says nothing."""

    def begin(self, stage: str, what: str) -> None: ...
    def detail(self, line: str) -> None: ...
    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None: ...
    def note(self, text: str) -> None: ...


class Lines:
    """Plain lines on a stream, one a stage once it has ended. ``live``: the stage that runs stands below them, on a
    line that is written over."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._stream, self._live = stream, live
        self._stage, self._began, self._running = "", 0.0, 0

    def begin(self, stage: str, what: str) -> None:
        self._stage, self._began = plain(stage), time.perf_counter()
        self.detail(what)

    def detail(self, line: str) -> None:
        if self._live:
            text = f"{self._stage:<{STAGE_WIDTH}} {plain(line)}"[: shutil.get_terminal_size().columns - 1]
            self._write(f"{self._cleared()}{text}")
            self._running = len(text)

    def end(self, summary: str, *, cached: bool = False, ok: bool = True) -> None:
        took = "kept" if cached else f"{time.perf_counter() - self._began:.1f} s"
        mark = "" if ok else "FAILED: "
        self._write(f"{self._cleared()}{self._stage:<{STAGE_WIDTH}} {mark}{plain(summary)} ({took})\n")

    def note(self, text: str) -> None:
        self._write(f"{self._cleared()}note: {plain(text)}\n")

    def close(self) -> None:
        """Take the running stage's line away, however the run ended."""
        self._write(self._cleared())

    def _cleared(self) -> str:
        """Blanks over the line, not a terminal's own codes: a notebook knows only the carriage's return."""
        width, self._running = self._running, 0
        return f"\r{' ' * width}\r" if width else ""

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
            self._stream.write(text)
            self._stream.flush()


def watched() -> Lines | Silent:
    """Lines where a person watches: in a notebook, or on a terminal; elsewhere nothing."""
    if in_notebook():
        return Lines(sys.stdout, live=True)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return shown() if terminal else Silent()


def shown() -> Lines:
    """Lines on stderr, or in a notebook; a log has no line that is written over."""
    if in_notebook():
        return Lines(sys.stdout, live=True)
    log = os.environ.get("CI", "").lower() not in ("", "0", "false") or os.environ.get("TERM") == "dumb"
    return Lines(sys.stderr, live=sys.stderr.isatty() and not log)


def in_notebook() -> bool:
    """Whether IPython runs this for a notebook, not for a terminal."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None
    return shell is not None and type(shell).__name__ != "TerminalInteractiveShell"
