"""What a model's objects say: which version serves, what is there, and what served before. Nothing here changes any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from ....errors import ModelError, PublicationError, UsageError
from ....storage import wire
from ....triton import config as triton_config
from ....values import Manifest
from ... import manifest as manifests
from ..base import VersionEntry
from ..terms import NOBODY, Incumbent
from . import records
from .address import Place, number_in
from .records import VersionRecord
from .store import Store, Tag

TRIES = 20
"""How often what serves is read again where it was replaced while it was read."""
NOT_PUBLISHED = ("uploading", "withdrawn")
"""The states of versions that nobody may serve."""


class Served(NamedTuple):
    """config.pbtxt as it is: its text, its object's state, and the version that a client gets who names none."""

    text: str
    tag: Tag
    version: int | None


def served_now(store: Store, place: Place) -> Served | None:
    """What serves, or None where there is no config.pbtxt; :class:`ModelError` where it can't be read. Read again where
    what it names was taken back in between."""
    for _ in range(TRIES):
        now = _served_now(store, place)
        if now is None or now.version is not None:
            break
        again = store.read(place.config)
        if again is not None and again.tag == now.tag:
            break
    return now


def _served_now(store: Store, place: Place) -> Served | None:
    found = store.read(place.config)
    if found is None:
        return None
    try:
        text = found.content.decode()
        there = folders(store.sizes(place.model), place)
        return Served(text, found.tag, max(triton_config.served(text, there), default=None))
    except (ModelError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{place.address.bucket_url}/{place.config}: {error}", "Correct the file, or give another --name."
        ) from error


def incumbent(store: Store, place: Place, now: Served | None) -> Incumbent:
    """What serves now, and would be replaced."""
    if now is None or now.version is None:
        return NOBODY
    held = records.held(store, place, now.version)
    signed = held is not None and held.record.signer != ""
    return Incumbent(
        version=now.version,
        manifest=read_manifest(store, place, now.version),
        config=now.text,
        signed=signed or store.read(f"{place.version(now.version)}/{manifests.SIGNATURE_FILE}") is not None,
    )


def folders(paths: Iterable[str], place: Place) -> list[int]:
    """The numbers of the version folders that have any of these objects, ascending."""
    return sorted({number for path in paths if (number := number_in(path, place.model)) is not None})


def versions(store: Store, place: Place) -> list[VersionEntry]:
    """The versions that are published or were, ascending."""
    there = folders(store.sizes(place.model), place)
    known = records.read_all(store, place)
    served = served_now(store, place) if there else None
    shown = [number for number in there if number not in known or known[number].state not in NOT_PUBLISHED]
    texts = store.read_all(f"{place.version(number)}/{manifests.MANIFEST_FILE}" for number in shown)
    return [
        VersionEntry(
            version=number,
            served=served is not None and number == served.version,
            manifest=_manifest(texts.get(f"{place.version(number)}/{manifests.MANIFEST_FILE}")),
        )
        for number in shown
    ]


def find(store: Store, place: Place, version: int | None) -> int:
    """``version``, or the one that serves; :class:`UsageError` where there is none."""
    served: Served | None = None
    for _ in range(TRIES):
        served = served_now(store, place) if version is None else None
        there = [entry.version for entry in versions(store, place)]
        if served is None or served.version in there or _is(store, place, served):
            break
    if not there:
        raise UsageError(
            f"{place.address.url}: there is no model called {place.name!r} in this repository",
            "Check --repository and --name.",
        )
    number = version if version is not None else served.version if served is not None else None
    if number not in there or number is None:
        asked = "no version serves" if number is None else f"there is no version {number}"
        raise UsageError(
            f"{place.name}: {asked} in this repository", f"The versions here: {', '.join(map(str, there))}."
        )
    return number


def _is(store: Store, place: Place, served: Served) -> bool:
    now = served_now(store, place)
    return now is not None and now.tag == served.tag


def download(store: Store, place: Place, version: int, into: Path) -> Path:
    """Every object of a version as a file in ``into``/N; the folder.

    A path that leads out of it is refused (:class:`ModelError`): who may write the bucket chooses the keys.
    """
    folder = into / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = place.version(version)
    for key in store.sizes(prefix):
        path = key.removeprefix(f"{prefix}/")
        if not manifests.stays_inside(folder, path):
            raise ModelError(f"{place.address.bucket_url}/{key}: {path!r} is outside the version's folder")
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            store.download(key, to)
        except FileNotFoundError as error:
            raise PublicationError(
                f"{place.address.bucket_url}/{key} was deleted while version {version} was being read", "Try again."
            ) from error
    return folder


class Before(NamedTuple):
    """What served before a version: its number, where it is one of the folders, and its config.pbtxt."""

    version: int | None
    config: str


def before(record: VersionRecord, known: Mapping[int, VersionRecord]) -> Before | None:
    """What served before ``record``'s version and may serve again; None where nothing did.

    A version in between that was never finished is passed over: nobody knows that it is right.
    """
    while record.config_before is not None and record.before != record.version:
        earlier = known.get(record.before) if record.before is not None else None
        if earlier is None or earlier.state == "finished":
            return Before(record.before, triton_config.unstamped(record.config_before.decode()))
        record = earlier
    return None


def config_before(version: int, known: Mapping[int, VersionRecord]) -> bytes | None:
    """The config.pbtxt that ``version`` served by when it was last replaced, as the records have it."""
    later = [known[number] for number in sorted(known, reverse=True) if known[number].before == version]
    if not later or (text := later[0].config_before) is None:
        return None
    return triton_config.unstamped(text.decode()).encode()


def read_manifest(store: Store, place: Place, version: int) -> Manifest | None:
    """The manifest of a version, None where it has none that can be read."""
    found = store.read(f"{place.version(version)}/{manifests.MANIFEST_FILE}")
    return None if found is None else _manifest(found.content)


def own_files(store: Store, place: Place, version: int) -> list[str]:
    """The objects of a version."""
    return list(store.sizes(place.version(version)))


def _manifest(content: bytes | None) -> Manifest | None:
    try:
        return None if content is None else wire.decode(content, Manifest)
    except msgspec.DecodeError:
        return None
