"""Let an earlier version serve again: its configuration is put back by one put on a condition."""

from __future__ import annotations

from collections.abc import Mapping

from .... import interrupts
from ....errors import PublicationError, UsageError
from ....triton import config as triton_config
from ... import manifest as manifests
from .. import standard
from ..base import Restored, Verify
from ..terms import NOBODY, Terms, noted_back, require_expected
from . import kept, listing, records, sound
from .address import Place
from .listing import Served
from .pinning import stamp
from .records import VersionRecord
from .said import explain, still_serves
from .store import Store


def rollback(
    store: Store, place: Place, to: int | None, verify: Verify | None, restored: Restored | None, terms: Terms
) -> tuple[int, tuple[str, ...]]:
    """The version that serves now, ``to`` or the one that served before the present one, and what to say of it.

    If ``verify`` raises, the present configuration is put back, and :class:`PublicationError` raised; so it is where
    somebody publishes at the same moment. :class:`UsageError` for a version that isn't there.
    """
    there = listing.folders(store.sizes(place.model), place)
    if not there:
        raise UsageError(
            f"{place.address.url}: there is no model called {place.name!r} in this repository",
            "Check --repository and --name.",
        )
    now = listing.served_now(store, place)
    if to is None or now is None or now.version != to:
        require_expected(place.name, None if now is None else now.version, terms)
    known = records.read_all(store, place)
    there = [n for n in there if n not in known or known[n].state == "finished" or (now and n == now.version)]
    target = _target(place, now, known, there, to)
    _require_sound(store, place, target, now, known)
    text, notes = kept.serving(store, place, target, known)
    if now is not None and target == now.version:
        text, notes = now.text, ()
    if text is None:
        raise UsageError(f"{place.name}: there is no config.pbtxt that serves version {target}")
    if max(triton_config.served(text, there), default=None) != target:
        raise PublicationError(
            f"{place.name}: there is no config.pbtxt that serves version {target}; {still_serves(now)}"
        )
    if now is None or target != now.version:
        aim = listing.incumbent(store, place, Served(text, now.tag, target)) if now is not None else NOBODY
        notes = (*noted_back(listing.incumbent(store, place, now), aim), *notes, *kept.keep(store, place, now))
        _switch(store, place, now, text, target)
    if verify is not None:
        try:
            verify(target)
        except BaseException as error:
            with interrupts.held_back():
                raise _back(store, place, now, target, error, restored) from error
    return target, notes


def _target(
    place: Place, now: Served | None, known: Mapping[int, VersionRecord], there: list[int], to: int | None
) -> int:
    """The version to go to."""
    listed = f"The versions here: {', '.join(map(str, there))}."
    if to is not None:
        if to not in there:
            raise UsageError(f"{place.name}: there is no version {to} that can serve", listed)
        return to
    present = (
        max(there, default=None) if now is None else now.version
    )  # without a configuration Triton takes the latest
    record = known.get(present) if present is not None else None
    earlier = None if record is None else listing.before(record, known)
    if earlier is not None and earlier.version in there and earlier.version is not None:
        return earlier.version
    lower = [number for number in there if present is not None and number < present]
    lower = [n for n in lower if n in known and known[n].state == "finished"] if record is None else []
    if not lower:
        said = "" if present is None else f" before version {present}"
        raise UsageError(f"{place.name}: no version served{said}", f"{listed} Name one with --version.")
    return lower[-1]


def _require_sound(
    store: Store, place: Place, version: int, now: Served | None, known: Mapping[int, VersionRecord]
) -> None:
    """PublicationError where a version that millwork published isn't as it was then."""
    if version not in known and store.read(f"{place.version(version)}/{manifests.MANIFEST_FILE}") is None:
        return  # somebody else's: nobody knows how it was
    noted = known[version].noted if version in known else standard.NOTHING
    if told := sound.problems(store, place, version, noted):
        raise PublicationError(
            f"{place.name}: version {version} can't serve again: {'; '.join(told[: standard.SHOWN])}; "
            f"{still_serves(now)}",
            "Roll back to another version.",
        )


def _switch(store: Store, place: Place, now: Served | None, text: str, target: int) -> None:
    content = stamp(text, target).encode()
    done = store.create(place.config, content) if now is None else store.swap(place.config, content, now.tag)
    if not done:
        raise PublicationError(
            f"{place.name}: another version was published at the same time; "
            f"{still_serves(listing.served_now(store, place))}",
            "Check which version serves now, and roll back again if you still want to.",
        )


def _back(
    store: Store, place: Place, was: Served | None, target: int, error: BaseException, restored: Restored | None
) -> PublicationError:
    reason, hint = explain(error)
    failed = f"{place.name}: rollback to version {target} failed: {reason}"
    try:
        now = listing.served_now(store, place)
        if was is not None and now is not None and now.version == target != was.version:
            store.swap(place.config, stamp(was.text, was.version).encode(), now.tag)
            if restored is not None:
                restored(was.version)
        serves = listing.served_now(store, place)
    except Exception as second:  # noqa: BLE001 -- the caller's own code among it: said, not lost
        return PublicationError(f"{failed}; the undo failed too: {explain(second)[0]}", hint)
    return PublicationError(f"{failed}; {still_serves(serves)}", hint)
