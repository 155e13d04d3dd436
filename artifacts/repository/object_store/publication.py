"""Publish a bundle into an object store, where nothing can be renamed and nobody holds a lock.

    reserve   a new number by a create-only put of its record
    upload    every file below <name>/<N>/; each is read back, and its hash compared
    commit    one put of config.pbtxt, on the condition that it is as it was when the version was made ready
    verify    as everywhere; if it raises, the configuration before is put back on the same condition
    finish    the record says so

Whoever else publishes the model meanwhile makes the condition fail. The one that failed takes a higher number where
the other's is higher, so that the version that serves only goes up, and tries again. Every text of config.pbtxt has
a line of its own (:func:`triton_config.stamped`): an ETag is a hash of the content, and without that line a
configuration that was put back would look as if nothing had happened; with it, a put whose answer was lost is known
again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .... import interrupts
from ....errors import MillworkError, ModelError, PublicationError
from ....storage.files import sha256_file
from ....storage.scratch import folder as scratch_folder
from ....triton import config as triton_config
from ... import manifest as manifests
from ... import signing
from ...bundle import Bundle, content_digest
from ..base import Restored, Sign, Verify
from ..terms import RefusedError, Terms, UnsignedError, judge, require_expected
from . import kept, listing, pinning, records, sending, sound
from .address import Place
from .listing import Served
from .pinning import stamp
from .records import Held, VersionRecord
from .said import explain, nothing_serves, still_serves
from .store import LostAnswerError, Store, StoreError

ROUNDS = 200
"""How often others may come first before a publisher gives up."""

CLOCK_S = 1.1
"""A store's clock has whole seconds: a server that has loaded an object can't see that it was replaced in the same."""

GRACE = timedelta(minutes=15)
"""How long an unfinished version that others have passed is taken for one at work."""

STRAY = timedelta(days=1)
"""How long the publisher of a version that was given up may go on sending its files: they are looked for as long."""


def publish(
    store: Store,
    place: Place,
    bundle: Bundle,
    verify: Verify | None,
    restored: Restored | None,
    sign: Sign | None,
    terms: Terms,
    grace: timedelta = GRACE,
) -> tuple[int, tuple[str, ...]]:
    """The version that serves ``bundle`` now, and what to say of what it replaced. :class:`PublicationError` where it
    can't; what served before still does, unless the message says that this couldn't be learned."""
    digest = content_digest(bundle.manifest, bundle.config)
    notes: tuple[str, ...] = ()
    try:
        with scratch_folder("publish") as staged:
            now = listing.served_now(store, place)
            _require_read(place, now, terms)
            if now is not None and now.version is not None and not _signed_as_asked(store, place, now.version, sign):
                now = None  # what serves isn't what is asked for
            same = _served_with(store, place, now, digest)
            if same is not None:
                if verify is not None:
                    _asked(place, store, same, verify)
                return same, ()
            sending.stage(bundle, staged / "version")
            transaction = _adopted(store, place, now, digest)
            if transaction is None:
                _judged(store, place, listing.served_now(store, place), bundle, terms, sign)  # before anything is sent
                transaction, notes = _committed(store, place, bundle, staged / "version", digest, sign, terms)
    except OSError as error:  # this machine's disk
        raise PublicationError(f"{place.name}: publishing failed: {error}; nothing was committed") from error
    try:
        if verify is not None:
            verify(transaction.record.version)
        told = _noted(store, place, transaction)
    except BaseException as error:
        with interrupts.held_back():
            raise undone(store, place, transaction, error, restored) from error
    return transaction.record.version, (*notes, *(told or _swept(store, place, grace)))


def _noted(store: Store, place: Place, transaction: Held) -> tuple[str, ...]:
    """Note that the version is finished. It serves, and was verified as far as that was asked: a store that refuses the
    note takes nothing of that back, so it is said. PublicationError where another publication has replaced it."""
    version = transaction.record.version
    try:
        if _finished(store, place, transaction):
            return ()
    except StoreError as error:
        said = f"version {version} serves, but that it is finished couldn't be noted: {error.message}. Publish the same"
        return (f"{said} again once the store takes it: until then others take it for one that was never verified",)
    raise PublicationError(f"another publication replaced version {version} at the same time")


def _swept(store: Store, place: Place, grace: timedelta) -> tuple[str, ...]:
    """Remove what others left; what can't be removed now is said, and the next publication sweeps."""
    try:
        sweep(store, place, grace)
    except PublicationError as error:
        return (f"what killed publishers left couldn't be removed: {error.message}",)
    return ()


def _require_read(place: Place, now: Served | None, terms: Terms) -> None:
    """RefusedError where another version serves than was read, or by another configuration."""
    if now is None:
        require_expected(place.name, None, terms)
    else:
        require_expected(place.name, now.version, terms, now.text)


def _judged(
    store: Store, place: Place, now: Served | None, bundle: Bundle, terms: Terms, sign: Sign | None
) -> tuple[str, ...]:
    """What to say of what the bundle replaces; refused where it may not replace that."""
    _require_read(place, now, terms)
    return judge(listing.incumbent(store, place, now), bundle, terms, signs=sign is not None)


def _finished(store: Store, place: Place, transaction: Held) -> bool:
    """Whether the version's record says, by us or by whoever publishes the same content at the same time, that it is
    finished; False where it was given up."""
    held: Held | None = transaction
    while held is not None and held.record.digest == transaction.record.digest:
        if held.record.state == "finished" or records.changed(store, place, held, state="finished") is not None:
            return True
        held = records.held(store, place, transaction.record.version)
        if held is not None and held.record.state not in ("committing", "finished"):
            return False
    return False


def _signed_as_asked(store: Store, place: Place, version: int, sign: Sign | None) -> bool:
    return sign is None or store.read(f"{place.version(version)}/{manifests.SIGNATURE_FILE}") is not None


def undone(
    store: Store, place: Place, transaction: Held, error: BaseException, restored: Restored | None
) -> PublicationError:
    """Put back what served before, if ``transaction``'s version serves, and take its objects away; what to tell."""
    reason, hint = explain(error)
    failed = f"{place.name}: publishing failed: {reason}"
    try:
        now = listing.served_now(store, place)
        held = records.held(store, place, transaction.record.version)
        if held is not None and held.record.state == "finished":
            return PublicationError(
                f"{failed}; but another publisher of the same content has finished it: {still_serves(now)}", hint
            )
        committed = now is not None and now.version == transaction.record.version
        if committed and now is not None:
            if restored is not None:
                time.sleep(CLOCK_S)
            kept.keep(store, place, now, withdrawn=True)
            _put_back(store, place, now, transaction.record)
        _withdraw(store, place, transaction)
        serves = listing.served_now(store, place)
    except (MillworkError, OSError) as second:
        return PublicationError(
            f"{failed}; the undo failed too: {getattr(second, 'message', second)}; version "
            f"{transaction.record.version} may serve, and isn't known to be right",
            "Fix that, then roll back or publish again; millwork verify tells what serves.",
        )
    if committed and restored is not None:
        try:
            restored(None if serves is None else serves.version)
        except Exception as second:  # noqa: BLE001 -- the caller's own code; the objects are right by now
            failed += f"; the server couldn't be made to load that version again ({explain(second)[0]})"
    return PublicationError(f"{failed}; {still_serves(serves)}", hint)


def sweep(store: Store, place: Place, grace: timedelta = GRACE) -> list[int]:
    """Remove the objects of versions that will never serve; their numbers.

    A version is one of those when a higher one has been committed and its own publisher didn't finish it: its next
    put on a condition fails. One that is younger than ``grace`` is left alone. What is settled isn't looked at again.
    """
    now = listing.served_now(store, place)
    served = now.version if now is not None and now.version is not None else 0
    there = listing.folders(store.sizes(place.model), place)
    settled = records.settled(store, place)
    gone, open_ones = [], []
    known = records.read_all(store, place, above=settled)
    for number, record in known.items():
        begun = datetime.fromisoformat(record.since)
        passed = number < served and record.state in ("uploading", "committing")
        if passed and datetime.now(UTC) - begun >= grace:
            held = records.held(store, place, number)
            if held is None or held.record != record or records.changed(store, place, held, state="withdrawn") is None:
                open_ones.append(number)
                continue
        elif record.state != "withdrawn":
            open_ones += [] if record.state == "finished" else [number]
            continue
        if number in there:
            store.delete(listing.own_files(store, place, number))
            gone.append(number)
        if datetime.now(UTC) - begun < STRAY:
            open_ones.append(number)
    done = min([number - 1 for number in open_ones], default=max(known, default=settled))
    if done > settled:
        records.settle(store, place, done)
    return gone


def _adopted(store: Store, place: Place, now: Served | None, digest: str) -> Held | None:
    """The version that serves and whose publisher was killed before it was verified, where it has this content."""
    if now is None or now.version is None:
        return None
    held = records.held(store, place, now.version)
    if held is None or held.record.state != "committing" or held.record.digest != digest:
        return None
    if sound.problems(store, place, now.version, held.record.noted):
        return None
    return records.changed(store, place, held)


def _committed(
    store: Store, place: Place, bundle: Bundle, folder: Path, digest: str, sign: Sign | None, terms: Terms
) -> tuple[Held, tuple[str, ...]]:
    """The version once config.pbtxt names it, and what to say of what it replaced, which is judged before each attempt:
    the put is made on the condition that it serves still. What isn't committed is taken away again."""
    transaction: Held | None = None
    whole = False
    try:
        for _ in range(ROUNDS):
            if transaction is None:
                pinning.pinned(store, place)  # before there is another folder, which could be the latest
                transaction = _reserved(store, place, bundle, digest)
                sending.upload(store, place, bundle, folder, transaction.record.version, sign)
            base = pinning.pinned(store, place)
            notes = _judged(store, place, base, bundle, terms, sign)
            ready = _ready(store, place, folder, transaction, base)
            if ready is not None:
                transaction, whole = ready, True
                told = kept.keep(store, place, base)
                above = records.read_all(store, place, above=transaction.record.version)
                if not _passed(transaction.record, base, above) and _commit(
                    store, place, bundle, transaction.record.version, base
                ):
                    return transaction, (*notes, *told)
                above = records.read_all(store, place, above=transaction.record.version)
                if not _passed(transaction.record, listing.served_now(store, place), above):
                    continue
                _withdraw(store, place, transaction)
            transaction, whole = None, False
        raise PublicationError(f"other publishers were faster, {ROUNDS} times in a row", "Publish again.")
    except (RefusedError, UnsignedError):
        if transaction is not None:
            with interrupts.held_back(), contextlib.suppress(MillworkError, OSError):  # the next publication sweeps
                _withdraw(store, place, transaction)
        raise
    except LostAnswerError as error:
        if not whole:
            raise nothing_serves(store, place, error) from error
        raise PublicationError(
            f"{place.name}: publishing failed: {error.message}; the version is complete, but it isn't known whether "
            "it serves",
            "Check with millwork verify. To finish it, publish the same model again.",
        ) from error
    except BaseException as error:
        if transaction is None:
            raise nothing_serves(store, place, error) from error
        with interrupts.held_back():
            raise undone(store, place, transaction, error, None) from error


def _ready(store: Store, place: Place, folder: Path, transaction: Held, base: Served | None) -> Held | None:
    """The record of a version that is whole, and may be committed in place of ``base``; None where it was changed."""
    return records.changed(
        store,
        place,
        transaction,
        state="committing",
        before=None if base is None else base.version,
        config_before=None if base is None else base.text.encode(),
        config_sha256=sha256_file(folder / manifests.CONFIG_FILE),
        signer=signing.signed_by(folder),
    )


def _reserved(store: Store, place: Place, bundle: Bundle, digest: str) -> Held:
    """A number above every one that is there or was ever taken."""
    for _ in range(ROUNDS):
        taken = [*listing.folders(store.sizes(place.model), place), *records.numbers(store, place)]
        held = records.reserve(store, place, 1 + max(taken, default=0), digest, bundle.manifest_sha256)
        if held is not None:
            return held
    raise PublicationError(f"others took each number first, {ROUNDS} times in a row", "Publish again.")


def _passed(record: VersionRecord, base: Served | None, known: Mapping[int, VersionRecord]) -> bool:
    """Whether a higher version was committed, or is about to be: then this number's time is over."""
    if base is not None and base.version is not None and base.version > record.version:
        return True
    return any(other > record.version and known[other].state != "uploading" for other in known)


def _commit(store: Store, place: Place, bundle: Bundle, version: int, base: Served | None) -> bool:
    """The one put that makes the version serve; False where somebody else's came first."""
    content = stamp(triton_config.with_version(bundle.config, version), version).encode()
    if base is None:
        return store.create(place.config, content)
    return store.swap(place.config, content, base.tag)


def _put_back(store: Store, place: Place, now: Served, record: VersionRecord) -> None:
    """The configuration before ``record``'s version, if that still serves."""
    earlier = listing.before(record, records.read_all(store, place))
    if earlier is None:
        store.delete([place.config])
    else:
        store.swap(place.config, stamp(earlier.config, earlier.version).encode(), now.tag)


def _withdraw(store: Store, place: Place, transaction: Held) -> None:
    """Give the version up, and take its objects away; not while config.pbtxt names it."""
    version = transaction.record.version
    held = records.held(store, place, version)
    if held is not None and held.record.state not in ("withdrawn", "finished"):
        records.changed(store, place, held, state="withdrawn")
    now = listing.served_now(store, place)
    if now is None or now.version != version:
        store.delete(listing.own_files(store, place, version))


def _served_with(store: Store, place: Place, now: Served | None, digest: str) -> int | None:
    """The version that serves, if it was finished, and its content is the bundle's and is intact."""
    if now is None or now.version is None:
        return None
    manifest = listing.read_manifest(store, place, now.version)
    held = records.held(store, place, now.version)
    if manifest is None or held is None or held.record.state != "finished":
        return None
    try:
        same = content_digest(manifest, now.text) == digest
    except ModelError:
        return None
    return now.version if same and not sound.problems(store, place, now.version, held.record.noted) else None


def _asked(place: Place, store: Store, version: int, verify: Verify) -> None:
    """Verify a version that served before: it stays, whatever comes out."""
    try:
        verify(version)
    except BaseException as error:
        reason, hint = explain(error)
        serves = still_serves(listing.served_now(store, place))
        raise PublicationError(f"{place.name}: publishing failed: {reason}; {serves}", hint) from error
