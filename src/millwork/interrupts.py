"""What ends a command from outside: Ctrl-C, SIGTERM, SIGHUP and their like are one thing, and an undo isn't cut off.

Each is raised in the main thread as a KeyboardInterrupt, so that what Ctrl-C undoes is undone for all of them. A
publication is :func:`undoing`: the first signal stops it, and what comes later is noted and waits until it is undone.
Light to import: the command line does so first.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
"""What people, service managers, terminals and batch systems end a command with."""


class Stopped(KeyboardInterrupt):
    """The process was asked to end. ``number``: by which signal."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


class _State:
    """``caught``: a command's, which ends by itself. ``raised``: a signal was, in this publication or by this command.
    ``holding``: so many undos are at work. ``begun``: so many publications. ``done``: one is, and what is left of the
    command is to say so. ``held``: the signals that came meanwhile."""

    def __init__(self) -> None:
        self.caught = False
        self.done = False
        self.raised = False
        self.holding = 0
        self.begun = 0
        self.held: list[int] = []


_STATE = _State()


def catch() -> None:
    """Let each signal of :data:`ENDING` stop the command; not one that is ignored (nohup), or that another answers."""
    _STATE.caught, _STATE.raised, _STATE.done = True, False, False
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _came)


def number_of(error: BaseException) -> int:
    """The signal behind a KeyboardInterrupt."""
    return error.number if isinstance(error, Stopped) else int(signal.SIGINT)


def name_of(error: BaseException) -> str:
    """What stopped it, in a word: ``Ctrl-C``, ``SIGTERM``."""
    return _name(number_of(error))


def held() -> bool:
    """Whether somebody asked for the end while something was undone: nothing more is begun then."""
    return bool(_STATE.held)


@contextlib.contextmanager
def undoing() -> Iterator[None]:
    """A publication, or a rollback: what is raised in it is undone within. The first signal is raised; what comes after
    it is held back until the end."""
    if _STATE.begun == 0:
        _STATE.raised = _STATE.done = False
        _STATE.held.clear()
    with _answered():
        _STATE.begun += 1
        try:
            yield
            _STATE.done = _STATE.caught
        finally:
            _STATE.begun -= 1


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """An undo at work: no signal cuts it off."""
    _STATE.holding += 1
    try:
        with _answered():
            yield
    finally:
        _STATE.holding -= 1


@contextlib.contextmanager
def _answered() -> Iterator[None]:
    """Ctrl-C is answered here in Python of the user's, too; a handler of their own is left alone."""
    mine = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if mine:
        signal.signal(signal.SIGINT, _came)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _came(number: int, _frame: FrameType | None) -> None:
    """A person's second Ctrl-C stops the cleaning up, too, where no publication is at stake."""
    if number == signal.SIGHUP:
        _leave_dead_terminals()
    again = _STATE.raised and (_STATE.begun or number != signal.SIGINT)
    if not (_STATE.holding or again or _STATE.done):
        _STATE.raised = True
        raise Stopped(number)
    _STATE.held.append(number)
    if _STATE.begun or _STATE.holding:
        _say(f"\n{_name(number)}: what was begun is being undone first\n")
    elif _STATE.done:
        _say(f"\n{_name(number)}: it is done already\n")


def _leave_dead_terminals() -> None:
    """Nobody reads a terminal that hung up, and who writes to it is refused: what is said goes nowhere from here on."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            poll = select.poll()
            poll.register(descriptor, 0)
            if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), text.encode())


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
