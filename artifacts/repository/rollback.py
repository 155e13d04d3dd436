"""Let an earlier version serve again, and no other.

It is one rename of config.pbtxt: the version's folders all stay, so a rollback can be rolled forward by its number. A
killed rollback has happened or hasn't, and the version it goes to has served before; so nothing is journaled.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from ... import interrupts
from ...errors import ModelError, PublicationError, UsageError
from ...storage.files import broken_link, refusal
from ...values import Publication
from .. import manifest as manifests
from . import kept, listing, standard
from . import ledger as ledgers
from . import transaction as transactions
from .base import Restored, Verify
from .layout import MEND_LINK, Place, config_bytes, locate, prepare, served_by, served_now, version_folders
from .lock import USUAL, Waiting, hold
from .publication import explain, no_step, serves_now, settle, still_serves
from .terms import ANY, Terms, noted_back, require_expected
from .transaction import Step


def rollback(
    repository: Path,
    name: str,
    to: int | None = None,
    *,
    verify: Verify | None = None,
    restored: Restored | None = None,
    terms: Terms = ANY,
    waiting: Waiting = USUAL,
    step: Step = no_step,
) -> Publication:
    """Let version ``to`` serve; without it the one that served before the present one.

    If ``verify`` raises, the present configuration is put back, ``restored`` called, and :class:`PublicationError`
    raised. A publication that was killed before its verification is undone first, and without ``to`` that is the
    rollback. :class:`UsageError` for a model or a version that isn't there.
    """
    place = locate(repository, name)
    if not place.model.is_dir():
        raise UsageError(
            f"{place.root}: there is no model called {name!r} in this repository", "Check --repository and --name."
        )
    prepare(place)
    with interrupts.undoing(), hold(place, waiting):
        _require_expected(place, to, terms)
        try:
            with interrupts.held_back():
                undone = settle(place, restored, step)
            transactions.sweep(place)
            present = served_now(place)
        except OSError as error:
            why = f"an interrupted publication can't be undone: {refusal(error)}"
            raise PublicationError(f"{name}: {why}; {serves_now(place)}") from error
        target = _target(place, to, present, undone=undone)
        _require_sound(place, target)
        config, notes = _config_of(place, target) if target != present else (config_bytes(place) or b"", ())
        notes = (*noted_back(listing.incumbent(place), listing.incumbent(place, target)), *notes)
        _switch(place, target, config, verify, restored, step)
    folder = place.version(target)
    ours = (folder / manifests.MANIFEST_FILE).is_file()
    return Publication(
        repository=str(place.root),
        name=name,
        version=target,
        manifest_sha256=manifests.sha256(folder) if ours else "",
        verified=verify is not None,
        notes=notes,
    )


def _require_expected(place: Place, to: int | None, terms: Terms) -> None:
    """Refused where another version serves than was read, before what a killed publisher left is undone; but where
    ``to`` serves already."""
    try:
        serves = served_now(place)
    except ModelError as error:
        raise PublicationError(error.message, error.hint) from error
    if to is None or serves != to:
        require_expected(place.name, serves, terms)


def _target(place: Place, to: int | None, present: int | None, *, undone: bool) -> int:
    """The version to go to; UsageError where nothing says which."""
    target = to
    if target is None:
        target = present if undone else _before(place, present)
    if target is None:
        raise UsageError(
            f"{place.name}: no version served{'' if present is None else f' before version {present}'}",
            f"The versions here: {_listed(place)}. Name one with --version.",
        )
    return target


def _before(place: Place, present: int | None) -> int | None:
    """The version that served before ``present`` by the ledger; where it doesn't say, the next lower one of ours."""
    if present is None:
        return None
    there = version_folders(place)
    noted = ledgers.read(place).before.get(present)
    if noted in there:
        return noted
    lower = [v for v in there if v < present and (place.version(v) / manifests.CONFIG_FILE).is_file()]
    return max(lower, default=None)


def _require_sound(place: Place, version: int) -> None:
    """UsageError for a version that isn't there; PublicationError for one that millwork published and that isn't as it
    was then."""
    if version not in version_folders(place):
        if astray := broken_link(place.version(version)):
            raise UsageError(astray, MEND_LINK)
        raise UsageError(
            f"{place.name}: there is no version {version} in this repository", f"The versions here: {_listed(place)}."
        )
    folder = place.version(version)
    ledger = ledgers.read(place)
    if version not in ledger.manifests and not (folder / manifests.MANIFEST_FILE).exists():
        return  # somebody else's: nobody knows how it was
    transactions.drop_bytecode(place, version)
    if told := standard.problems(folder, place.name, version, ledgers.noted(ledger, version), inert=True):
        why = "; ".join(told[: standard.SHOWN])
        raise PublicationError(
            f"{place.name}: version {version} can't serve again: {why}; {still_serves(place)}",
            f"Roll back to another version. The versions here: {_listed(place)}.",
        )


def _config_of(place: Place, version: int) -> tuple[bytes, tuple[str, ...]]:
    """The config.pbtxt that lets ``version`` serve, and what to say of it."""
    config, notes = kept.serving(ledgers.read(place), place, version)
    folder = place.version(version)
    if config is None:
        raise UsageError(f"{folder}: there is no config.pbtxt that serves this version")
    if max(served_by(place, config, version_folders(place)), default=None) != version:
        raise PublicationError(f"{folder}: no configuration serves version {version}; {still_serves(place)}")
    return config, notes


def _switch(
    place: Place,
    target: int,
    config: bytes,
    verify: Verify | None,
    restored: Restored | None,
    step: Step,
) -> None:
    present = config_bytes(place)
    transactions.mend(place, target)
    try:
        if config != present:
            step("keep the configuration that serves now")
            _keep(place, present)
            transactions.reserve_config(place, present)
            step("rename config.pbtxt into place")
            transactions.put_config(place, config)
        if verify is not None:
            step("verify")
            verify(target)
    except BaseException as error:
        with interrupts.held_back():
            raise _back(place, target, present, error, restored) from error
    finally:
        with contextlib.suppress(OSError):  # what can't be removed now, the next publisher sweeps
            transactions.remove(place.staging)


def _keep(place: Place, present: bytes | None) -> None:
    """Note the configuration that is about to be replaced, where it isn't a version's own."""
    ledger = ledgers.read(place)
    noted = kept.keeping(ledger, place, served_now(place), present)
    if noted != ledger:
        ledgers.write(place, noted)


def _back(
    place: Place, target: int, present: bytes | None, error: BaseException, restored: Restored | None
) -> PublicationError:
    reason, hint = explain(error, place)
    failed = f"{place.name}: rollback to version {target} failed: {reason}"
    try:
        if _put_back(place, present) and restored is not None:
            restored(served_now(place))
    except Exception as second:  # noqa: BLE001 -- the caller's own code among it: said, not lost
        why, _ = explain(second, place)
        return PublicationError(f"{failed}; the undo failed too: {why}; {serves_now(place)}", hint)
    return PublicationError(f"{failed}; {still_serves(place)}", hint)


def _put_back(place: Place, present: bytes | None) -> bool:
    """Whether there was anything to put back. Tried once more if it fails: a disk that refused one call may take the
    next."""
    if config_bytes(place) == present:
        return False
    try:
        transactions.restore_config(place, present)
    except OSError:
        transactions.restore_config(place, present)
    return True


def _listed(place: Place) -> str:
    return ", ".join(str(version) for version in version_folders(place)) or "none"
