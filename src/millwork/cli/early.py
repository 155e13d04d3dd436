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
    """Leave at Ctrl-C, with one word, until :func:`begun`; in programs of ours only, where Ctrl-C isn't ignored."""
    if _name() in PROGRAMS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def begun() -> None:
    """The command begins: Ctrl-C is its own again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"\nstopped\n")
    os._exit(130)


def _name() -> str:
    return os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119 -- pathlib is among what takes long
