"""Ctrl-C, SIGTERM and their like before there is anything to stop: while the command line is imported, which takes a
good part of a second.

Python would print the stack of whatever module it was reading.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from ..interrupts import ENDING, catch

PROGRAMS = ("millwork", "optimize")


def guarded() -> None:
    """Leave at once, with one word, until :func:`begun`; in programs of ours only, and not for what is ignored.

    And have the three standard streams, whatever was closed: another file would get their numbers, and what is said
    there.
    """
    if _name() not in PROGRAMS:
        return
    _open_standard()
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _leave)


def _open_standard() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(number), "w"))


def begun(*, step: bool = False) -> None:
    """The command begins: what stops it is undone from here on. A ``step`` ends as its signal ends it, and its parent
    says what that means."""
    for number in ENDING:
        if signal.getsignal(number) is _leave:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if not step:
        catch()


def _leave(number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, b"\nstopped\n")
    finally:
        os._exit(128 + number)


def _name() -> str:
    return os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 -- pathlib is among what takes long
