"""The same in an object store, by the versions' records: nobody holds a lock there."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import psutil

from ..cut_off import Unfinished
from . import listing, records
from .address import Place
from .records import VersionRecord
from .store import Store


def found(store: Store, place: Place, grace: timedelta) -> Unfinished | None:
    """The version that config.pbtxt names, where its record doesn't say that it is finished; else the highest that
    somebody is at. ``grace``: how long a publisher elsewhere is taken to be at work."""
    now = listing.served_now(store, place)
    served = None if now is None else now.version
    known = records.read_all(store, place)
    if served in known and served is not None and known[served].state != "finished":
        return _told(known[served], grace, committed=True)
    begun = [n for n, record in known.items() if record.state in ("uploading", "committing") and n > (served or 0)]
    return _told(known[max(begun)], grace, committed=False) if begun else None


def _told(record: VersionRecord, grace: timedelta, *, committed: bool) -> Unfinished:
    if record.host == socket.gethostname():
        at_work = psutil.pid_exists(record.pid)
    else:
        at_work = datetime.now(UTC) - datetime.fromisoformat(record.since) < grace
    by = f"{record.who} since {record.since}" if at_work else ""
    return Unfinished(version=record.version, committed=committed, by=by, before=record.before)
