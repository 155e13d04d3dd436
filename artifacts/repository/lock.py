"""One publisher of a model at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ...errors import PublicationError
from ...storage import opening, permissions, wire
from ...storage.files import refusal
from ...values import Value
from .flock import FileLock, LockTimeoutError
from .layout import Place, begin_work, end_work

LOOK_S = 1.0
"""How often who waits looks for whom."""

LONGEST_S = 6 * 3600.0
"""How long anybody waits in all: one holder may follow another."""


class Holder(Value):
    """Who holds a lock, for who waits. ``since``: ISO 8601, UTC. ``takes``: seconds that its server may take."""

    pid: int
    host: str
    since: str
    takes: float = 0.0

    @property
    def words(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


def _nobody(_: str) -> None:
    """Where nobody is told."""


@dataclass(frozen=True)
class Waiting:
    """``seconds``: how long another publisher is waited for, beside what its server may take. ``takes``: seconds that
    our own may, which is written down for others. ``say``: told for whom we wait."""

    seconds: float = 60.0
    takes: float = 0.0
    say: Callable[[str], None] = _nobody


USUAL = Waiting()


@contextlib.contextmanager
def hold(place: Place, waiting: Waiting = USUAL) -> Iterator[None]:
    """Hold the model's lock. Who waits says for whom, as long as that one may take; then :class:`PublicationError`.

    The lock is the operating system's (flock), so it is free the moment its holder dies.
    """
    lock = FileLock(place.lock)
    try:
        permissions.touch(place.lock, place.notes_access)
        _acquire(lock, place, waiting)
    except OSError as error:
        raise PublicationError(f"the lock can't be taken: {refusal(error, place.lock)}") from error
    try:
        begin_work(place)
        _sign(place, waiting.takes)
        yield
    finally:
        with contextlib.suppress(OSError):
            place.holder.unlink(missing_ok=True)
        end_work(place)
        lock.release()


@contextlib.contextmanager
def hold_if_free(place: Place) -> Iterator[bool]:
    """Hold the lock if nobody does, without waiting; says whether it is held."""
    lock = FileLock(place.lock)
    try:
        permissions.touch(place.lock, place.notes_access)
        lock.acquire(timeout=0)
    except (LockTimeoutError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def holder(place: Place) -> str:
    """Who publishes the model now, in words; empty where nobody does. Changes nothing."""
    try:
        taken = FileLock(place.lock).is_taken()
    except OSError:  # no lock was ever made, or this user may not look
        return ""
    return _words(_read(place)) if taken else ""


def _acquire(lock: FileLock, place: Place, waiting: Waiting) -> None:
    began = time.monotonic()
    until, seen, said = began + waiting.seconds, None, False
    while True:
        left = min(until, began + LONGEST_S) - time.monotonic()
        try:
            lock.acquire(timeout=min(LOOK_S, max(left, 0.0)))
        except LockTimeoutError as error:
            now = _read(place)
            if now != seen or not said:
                seen, said = now, True
                takes = 0.0 if now is None else now.takes
                until = time.monotonic() + waiting.seconds + takes
                if waiting.seconds + takes > 0:
                    waiting.say(
                        f"waiting for {_words(now)}, who publishes {place.name}: up to {waiting.seconds + takes:.0f} s"
                    )
            if time.monotonic() >= min(until, began + LONGEST_S):
                raise PublicationError(
                    f"{place.name} in {place.root} is being published by {_words(now)}; waited "
                    f"{time.monotonic() - began:.0f} s; nothing was changed",
                    "Wait until that process ends, and publish again.",
                ) from error
        else:
            return


def _sign(place: Place, takes: float) -> None:
    """The sidecar is a courtesy: a full disk mustn't stop a publication that needs none."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        place.holder.unlink(missing_ok=True)  # another publisher's, who was killed
        permissions.touch(place.holder, place.notes_access)
        holder = Holder(pid=os.getpid(), host=socket.gethostname(), since=now, takes=takes)
        opening.write(place.holder, msgspec.json.encode(holder))


def _read(place: Place) -> Holder | None:
    try:
        return wire.decode(opening.read_limited(place.holder), Holder)
    except (OSError, msgspec.DecodeError):
        return None


def _words(holder: Holder | None) -> str:
    return "another process" if holder is None else holder.words
