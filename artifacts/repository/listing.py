"""What a repository holds; nothing here takes a lock or changes anything."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError, PublicationError, UsageError
from ...storage import permissions
from ...storage.files import broken_link, refusal
from ...storage.opening import read_limited
from ...values import Manifest
from .. import manifest as manifests
from . import ledger as ledgers
from .base import VersionEntry
from .layout import LONGEST_CONFIG, MEND_LINK, TRIES, Place, config_bytes, locate, served_now, version_folders
from .terms import NOBODY, Incumbent


def versions(repository: Path, name: str) -> list[VersionEntry]:
    """The model's versions, ascending; empty where there is no such model."""
    place = locate(repository, name)
    served = _served_now(place)
    return [
        VersionEntry(
            version=number,
            served=number == served,
            folder=place.version(number),
            manifest=_manifest(place.version(number)),
        )
        for number in version_folders(place)
    ]


def served_version(repository: Path, name: str) -> int | None:
    """The version that a client gets who names none, by config.pbtxt; None where nothing serves."""
    return _served_now(locate(repository, name))


def find_version(repository: Path, name: str, version: int | None = None) -> Path:
    """The folder of ``version``, or of the one that serves; :class:`UsageError` where there is none."""
    place = locate(repository, name)
    number, there = _named(place, version)
    if not place.model.is_dir() or not there:
        raise UsageError(
            f"{place.root}: there is no model called {name!r} in this repository", "Check --repository and --name."
        )
    if number not in there:
        if number is not None and (astray := broken_link(place.version(number))):
            raise UsageError(astray, MEND_LINK)
        asked = "no version serves" if number is None else f"there is no version {number}"
        raise UsageError(
            f"{name}: {asked} in this repository", f"The versions here: {', '.join(str(number) for number in there)}."
        )
    return place.version(number)


def _named(place: Place, version: int | None) -> tuple[int | None, list[int]]:
    """``version`` or the one that serves, and the versions that are there; read again where another serves by then."""
    for _ in range(TRIES):
        number = _served_now(place) if version is None and place.model.is_dir() else version
        there = version_folders(place)
        if version is not None or number in there or _served_now(place) == number:
            break
    return number, there


def unreadable(repository: Path, name: str, version: int) -> str:
    """Who may read the repository, and can't read this version, in words; empty where there is nobody."""
    place = locate(repository, name)
    like = permissions.of(place.root)
    try:
        above = (permissions.unreadable_part(path, like) for path in (place.model, place.config))
        return next(filter(None, above), "") or permissions.unreadable(place.version(version), like)
    except OSError as error:
        return refusal(error, place.version(version))


def incumbent(place: Place, version: int | None = None) -> Incumbent:
    """What serves now, or ``version`` where that will serve again before anything else does."""
    number = _served_now(place) if version is None else version
    if number is None:
        return NOBODY
    try:
        return _incumbent(place, number, config_bytes(place) if version is None else None)
    except OSError as error:
        raise PublicationError(refusal(error, place.version(number)), "Let this user read it.") from error


def _incumbent(place: Place, number: int, text: bytes | None) -> Incumbent:
    folder = place.version(number)
    if text is None and (folder / manifests.CONFIG_FILE).is_file():
        text = read_limited(folder / manifests.CONFIG_FILE, LONGEST_CONFIG)
    return Incumbent(
        version=number,
        manifest=_manifest(folder),
        config=(text or b"").decode(errors="replace"),
        signed=(folder / manifests.SIGNATURE_FILE).is_file() or number in ledgers.read(place).signers,
    )


def _served_now(place: Place) -> int | None:
    try:
        return served_now(place)
    except OSError as error:
        raise ModelError(refusal(error, place.config)) from error


def _manifest(folder: Path) -> Manifest | None:
    try:
        return manifests.read(folder)
    except ModelError:
        return None
