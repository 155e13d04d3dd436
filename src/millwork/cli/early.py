"""Ctrl-C before there is anything to stop: while the command line is imported, which takes a good part of a second.

Python would print the stack of whatever module it was reading.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

PROGRAMS = ("millwork", "optimize")


def guarded() -> None:
    """Leave at Ctrl-C, with one word, until :func:`begun`; in programs of ours only, where Ctrl-C isn't ignored.

    And have the three standard streams, whatever was closed: another file would get their numbers, and what is said
    there.
    """
    if _name() in PROGRAMS:
        _open_standard()
    if _name() in PROGRAMS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _open_standard() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(number), "w"))


def begun() -> None:
    """The command begins: Ctrl-C is its own again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"\nstopped\n")
    os._exit(130)


def _name() -> str:
    return os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 -- pathlib is among what takes long
