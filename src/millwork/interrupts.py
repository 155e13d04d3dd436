"""Signals that end a command: Ctrl-C, SIGTERM, SIGHUP. All are one exception, so what undoes one undoes all.

hear()   SIGTERM and SIGHUP raise, as Ctrl-C does
held()   while something is undone none is heard: what is half undone helps nobody
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAIT = b"\nstill undoing what was begun: a moment\n"


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's ended the command. ``number``: which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def hear() -> None:
    """Let SIGTERM and SIGHUP raise :class:`Stopped` in the main thread. One that is ignored, as by nohup, stays so."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def words(error: KeyboardInterrupt) -> str:
    """What happened, for a message."""
    return f"stopped by {signal.Signals(error.number).name}" if isinstance(error, Stopped) else "interrupted"


def code(error: KeyboardInterrupt) -> int:
    """The exit code of a command that it ended: 128 and the signal's number, as a shell has it."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """None of them is heard for the while, nor afterwards; whoever sends one is told to wait. In another thread than
    the main one nothing changes: none is heard there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    were = {number: signal.getsignal(number) for number in ENDING}
    heard = [number for number, handler in were.items() if callable(handler)]
    try:
        for number in heard:
            signal.signal(number, _told)
        yield
    finally:
        for number in heard:
            signal.signal(number, were[number])


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped(number)


def _told(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, _WAIT)
