"""What became of each version: one small object a version, beside the repository, changed by conditional puts only.

    uploading   its number is taken; nobody serves it
    committing  whole, read back and equal; config.pbtxt may name it any moment, or does and it isn't verified yet
    finished    it serves, or has served, and was verified as far as its publisher asked
    withdrawn   given up: its objects go. No way leads out of this one

Whoever changes a record first wins: a publisher that was taken for dead learns it from its own next put.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from ....errors import PublicationError
from ....storage import wire
from ....values import Value
from ..standard import Noted
from .address import Place
from .store import Store, Tag

State = Literal["uploading", "committing", "finished", "withdrawn"]


class VersionRecord(Value):
    """``before``: the version that served when this one was committed, and ``config_before`` the config.pbtxt that it
    served by (None: none did). ``digest``: of the bundle's content. ``token``: makes each text of a record its own.
    ``since``: ISO 8601, UTC. ``config_sha256``: of the version's own config.pbtxt; ``signer``: whose key signed it.
    """

    version: int
    state: State
    digest: str
    manifest_sha256: str
    pid: int
    host: str
    since: str
    token: str
    before: int | None = None
    config_before: bytes | None = None
    config_sha256: str = ""
    signer: str = ""

    @property
    def noted(self) -> Noted:
        """What is known of the version as it was published."""
        return Noted(manifest_sha256=self.manifest_sha256, config_sha256=self.config_sha256, signer=self.signer)

    @property
    def who(self) -> str:
        return f"process {self.pid} on {self.host}"


class Held(NamedTuple):
    """A record, and the state of its object that a change replaces."""

    record: VersionRecord
    tag: Tag


def reserve(store: Store, place: Place, version: int, digest: str, manifest_sha256: str) -> Held | None:
    """Take a version's number; None where somebody has it."""
    record = VersionRecord(
        version=version,
        state="uploading",
        digest=digest,
        manifest_sha256=manifest_sha256,
        pid=os.getpid(),
        host=socket.gethostname(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        token=secrets.token_hex(8),
    )
    if not store.create(place.record(version), msgspec.json.encode(record)):
        return None
    return _still(held(store, place, version), record)


def held(store: Store, place: Place, version: int) -> Held | None:
    """The record of a version, to be changed; None where there is none."""
    found = store.read(place.record(version))
    return None if found is None else Held(_decoded(place, version, found.content), found.tag)


def changed(store: Store, place: Place, now: Held, **changes: object) -> Held | None:
    """The record with these ``changes``; None where somebody changed it first."""
    record = msgspec.structs.replace(now.record, token=secrets.token_hex(8), **changes)
    if not store.swap(place.record(record.version), msgspec.json.encode(record), now.tag):
        return None
    return _still(held(store, place, record.version), record)


def numbers(store: Store, place: Place) -> list[int]:
    """The numbers that were ever taken."""
    names = (re.fullmatch(r"([1-9][0-9]*)\.json", path.rpartition("/")[2]) for path in store.sizes(place.records))
    return sorted(int(name[1]) for name in names if name is not None)


def read_all(store: Store, place: Place, above: int = 0) -> dict[int, VersionRecord]:
    """Every record of the model, by version; only of those ``above`` a number, where one is given."""
    paths = {place.record(number): number for number in numbers(store, place) if number > above}
    return {paths[path]: _decoded(place, paths[path], text) for path, text in store.read_all(paths).items()}


def settled(store: Store, place: Place) -> int:
    """Up to here every version is finished, or given up and its objects are gone: no state leads out of either, so
    nobody needs to look there again. 0 where nothing is noted."""
    found = store.read(place.settled)
    try:
        return 0 if found is None else max(wire.decode(found.content, int), 0)
    except msgspec.DecodeError:
        return 0


def settle(store: Store, place: Place, number: int) -> None:
    """Note it. Publishers at the same time may write in any order: a lower number than could be is looked at again."""
    content = msgspec.json.encode(number)
    now = store.read(place.settled)
    if now is None:
        store.create(place.settled, content)
    else:
        store.swap(place.settled, content, now.tag)


def _still(now: Held | None, record: VersionRecord) -> Held | None:
    """What was read back after a put, unless somebody has changed it in between."""
    return now if now is not None and now.record == record else None


def _decoded(place: Place, version: int, content: bytes) -> VersionRecord:
    try:
        return wire.decode(content, VersionRecord)
    except msgspec.DecodeError as error:
        raise PublicationError(
            f"{place.address.bucket_url}/{place.record(version)}: not a record of millwork: {error}",
            "If you know what it is, remove it: millwork then treats its version as one that it didn't publish.",
        ) from error
