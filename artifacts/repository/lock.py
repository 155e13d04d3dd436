"""One publisher of a model at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from ...errors import PublicationError
from ...storage import opening, permissions, wire
from ...storage.files import refusal
from ...values import Value
from .flock import FileLock, LockTimeoutError
from .layout import Place, begin_work, end_work


class Holder(Value):
    """Who holds a lock, for the message to whoever waited in vain. ``since``: ISO 8601, UTC."""

    pid: int
    host: str
    since: str


@contextlib.contextmanager
def hold(place: Place, timeout: float) -> Iterator[None]:
    """Hold the model's lock. After ``timeout`` seconds of waiting, :class:`PublicationError` says who holds it.

    The lock is the operating system's (flock), so it is free the moment its holder dies.
    """
    lock = FileLock(place.lock)
    try:
        permissions.touch(place.lock, place.notes_access)
        lock.acquire(timeout=timeout)
    except LockTimeoutError as error:
        raise PublicationError(
            f"{place.name} in {place.root} is being published by {_holder(place)}; waited {timeout:g} s",
            "Wait until that process ends, and publish again.",
        ) from error
    except OSError as error:
        raise PublicationError(f"the lock can't be taken: {refusal(error, place.lock)}") from error
    try:
        begin_work(place)
        _sign(place)
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


def _sign(place: Place) -> None:
    """The sidecar is a courtesy: a full disk mustn't stop a publication that needs none."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        place.holder.unlink(missing_ok=True)  # another publisher's, who was killed
        permissions.touch(place.holder, place.notes_access)
        holder = Holder(pid=os.getpid(), host=socket.gethostname(), since=now)
        opening.write(place.holder, msgspec.json.encode(holder))


def _holder(place: Place) -> str:
    try:
        holder = wire.decode(opening.read_limited(place.holder), Holder)
    except (OSError, msgspec.DecodeError):
        return "another process"
    return f"process {holder.pid} on {holder.host} since {holder.since}"
