"""One publication, step by step, each of which may be the last one that a process lives to take.

    stage     everything into the state folder, synced; then the ledger says what is under way
    commit    one rename for a new model; else the version's folder by rename, then config.pbtxt by rename
    finish    the ledger says it is done
    undo      config.pbtxt as it was, the version's folder out by rename; from any point, and again if killed

Until config.pbtxt names it, no server looks at the new folder: the configuration before names its version
(one that isn't ours and says "the latest" is replaced by its pinned twin first).
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...errors import ModelError, PublicationError
from ...storage import opening, permissions
from ...storage.files import atomic_write, fsync_folder, fsync_tree, sha256_file
from ...triton import config as triton_config
from .. import manifest as manifests
from .. import signing
from ..bundle import Bundle
from . import kept
from . import ledger as ledgers
from .base import Sign
from .layout import NOT_YET, WORK, Place, config_bytes, highest, is_new, served_by, unreadable_for, version_folders
from .ledger import Transaction
from .lock import hold_if_free
from .names import is_name

Step = Callable[[str], None]
"""Called with a few words before each change of the file system: where a test kills the publisher."""

_PINNED = "pinned.pbtxt"
_RESERVES = ("reserve.pbtxt", "original.pbtxt")
_FIRST = "first.pbtxt"


def stage(place: Place, bundle: Bundle, digest: str, step: Step, sign: Sign | None = None) -> Transaction:
    """Copy the bundle to the state folder under its new version, check the copy, and put it in the ledger."""
    ledger = ledgers.read(place)
    version = 1 + max(highest(place), ledger.high_water)
    folder = place.staging / str(version)
    step("make the staging folder")
    folder.mkdir(parents=True)
    _own_folder(place, place.staging)
    _own_folder(place, place.trash)
    for path in (*(entry.path for entry in bundle.manifest.files), manifests.MANIFEST_FILE):
        step(f"copy {path}")
        _copy(bundle.folder, folder, path)
    if manifests.sha256(folder) != bundle.manifest_sha256:
        raise ModelError(
            f"{bundle.folder / manifests.MANIFEST_FILE}: the manifest has changed since the bundle was made"
        )
    manifests.read_intact(folder)
    config = triton_config.with_version(bundle.config, version).encode()
    transaction = _transaction(place, bundle, digest, version)
    step("write config.pbtxt")
    opening.write(folder / manifests.CONFIG_FILE, config)
    if sign is not None:
        step("sign")
        sign(folder)
    transaction = msgspec.structs.replace(
        transaction, config_sha256=manifests.sha256_of(config), signer=signing.signed_by(folder)
    )
    opening.write(place.staging / manifests.CONFIG_FILE, config)
    if transaction.pinned is not None and transaction.pinned != transaction.original:
        opening.write(place.staging / _PINNED, transaction.pinned)
    if transaction.first and place.inside:
        opening.write(place.staging / _FIRST, NOT_YET)
    if not transaction.first:
        reserve_config(place, transaction.pinned, transaction.original)
    step("let those read it who read the repository")
    share(place, place.staging)
    step("sync the staged files")
    fsync_tree(place.staging)
    step("write the ledger")
    ledgers.write(place, msgspec.structs.replace(ledger, high_water=version, transaction=transaction))
    return transaction


def commit(place: Place, transaction: Transaction, step: Step) -> None:
    """Make the staged version the one that serves."""
    if transaction.first and not place.inside:
        step("rename the model's folder into the repository")
        place.staging.rename(place.model)
        step("sync the repository")
        fsync_folder(place.root)
        return
    if transaction.first:
        step("let no server guess the new model's configuration")
        _rename_in(place.staging / _FIRST, place.config)
    if (place.staging / _PINNED).exists():
        step("pin the version that serves now")
        _rename_in(place.staging / _PINNED, place.config)
    _require_unedited(place, transaction)
    step("rename the version's folder into the model's")
    _rename_in(place.staging / str(transaction.version), place.version(transaction.version))
    step("rename config.pbtxt into place")
    _rename_in(place.staging / manifests.CONFIG_FILE, place.config)


def _require_unedited(place: Place, transaction: Transaction) -> None:
    """PublicationError where somebody has edited config.pbtxt since what is published was staged."""
    if config_bytes(place) not in (transaction.original, transaction.pinned, NOT_YET):
        raise PublicationError(f"{place.config} was changed while version {transaction.version} was published")


def finish(place: Place, transaction: Transaction, step: Step) -> None:
    """The publication is complete: note what served before it, for a rollback.

    The renames are synced again: where a killed publisher's are seen through, it may have died before it did.
    """
    step("sync the model's folder")
    fsync_folder(place.model)
    fsync_folder(place.root)
    ledger = ledgers.read(place)
    ledger = kept.keeping(
        ledgers.published(ledger, transaction),
        place,
        transaction.before,
        transaction.original if transaction.before is None else transaction.pinned,
    )
    step("write the ledger: finished")
    ledgers.write(place, msgspec.structs.replace(ledger, transaction=None))
    with contextlib.suppress(OSError):  # it is published: what can't be removed now, the next publisher sweeps
        step("remove the staging folder")
        remove(place.staging)
        remove(place.trash)


def undo(place: Place, transaction: Transaction, step: Step, *, unseen: bool = False) -> bool:
    """Put the repository back as it was before ``transaction``; True if it had been committed. ``unseen``: no server
    could load it, so the number of a new model's first version may be given again.

    What isn't ours stays: a configuration that someone has changed since, a folder that someone else made. What an
    undoing before this one renamed is synced here, if it was killed or failed before it was.
    """
    committed = is_committed(place, transaction)
    ledger = ledgers.read(place)
    _own_folder(place, place.trash)
    if committed:
        ledger = kept.edited(ledger, place, transaction)
    if transaction.first and _nothing_else(place, transaction):
        step("undo: take the model's folder out")
        _take_out(place, transaction, committed=committed)
        if unseen:
            ledger = msgspec.structs.replace(ledger, high_water=transaction.version - 1)
    elif place.model.is_dir():
        if committed:
            step("undo: put config.pbtxt back")
            restore_config(place, transaction.pinned)
        if _is_ours(place, transaction):
            step("undo: take the version's folder out")
            place.version(transaction.version).rename(_trashed(place, str(transaction.version)))
    if transaction.pinned != transaction.original and config_bytes(place) == transaction.pinned:
        step("undo: put the configuration back as it was written")
        restore_config(place, transaction.original)
    step("undo: sync the repository")
    if place.model.is_dir():
        fsync_folder(place.model)
    fsync_folder(place.root)
    discard(place.trash)
    step("undo: remove what was staged")
    remove(place.staging)
    step("undo: write the ledger")
    ledgers.write(place, msgspec.structs.replace(ledgers.without(ledger, transaction.version), transaction=None))
    return committed


def _take_out(place: Place, transaction: Transaction, *, committed: bool) -> None:
    """Take a new model's folder out of the repository; or where a publisher works, or worked, in it, what it put there:
    the configuration first."""
    if not (place.inside or place.work.is_dir()):
        place.model.rename(_trashed(place, "model"))
        return
    if committed or config_bytes(place) == NOT_YET:
        place.config.rename(_trashed(place, manifests.CONFIG_FILE))
    if _is_ours(place, transaction):
        place.version(transaction.version).rename(_trashed(place, str(transaction.version)))


def _trashed(place: Place, name: str) -> Path:
    """Where it goes in the trash; what lies there by that name may be held open by a server, and can't go yet."""
    return place.trash / f"{name}-{secrets.token_hex(4)}"


def is_committed(place: Place, transaction: Transaction) -> bool:
    """Whether config.pbtxt serves the version under way."""
    if not _is_ours(place, transaction):
        return False
    try:
        return transaction.version in served_by(place, config_bytes(place) or b"", version_folders(place))
    except ModelError:
        return False


def put_config(place: Place, content: bytes | None) -> None:
    """Make ``content`` the model's config.pbtxt in one rename, or remove it for None; durable on return.

    Not by a temporary file beside it: a server takes any new file in a model's folder for a change of the model.
    """
    if content is None:
        place.config.unlink(missing_ok=True)
        fsync_folder(place.model)
        return
    _own_folder(place, place.staging)
    staged = place.staging / manifests.CONFIG_FILE
    atomic_write(staged, content, place.access)
    _rename_in(staged, place.config)


def reserve_config(place: Place, *contents: bytes | None) -> None:
    """Put copies of configurations aside, so that :func:`restore_config` works on a disk that is full by then."""
    for name, content in zip(_RESERVES, contents, strict=False):
        if content is not None:
            _own_folder(place, place.staging)
            atomic_write(place.staging / name, content, place.access)


def restore_config(place: Place, content: bytes | None) -> None:
    """:func:`put_config`, from the copy that was put aside if it is there."""
    for reserve in (place.staging / name for name in _RESERVES):
        if content is not None and reserve.is_file() and opening.read_limited(reserve) == content:
            _rename_in(reserve, place.config)
            return
    put_config(place, content)


def share(place: Place, folder: Path) -> None:
    """Let everyone read a version, or a new model's folder, who may read the folder that it goes into;
    PublicationError where this user can't: a server of another user couldn't load it, though ours could."""
    like = place.access
    permissions.give_tree(folder, like)
    if why := permissions.unreadable(folder, like):
        raise PublicationError(*unreadable_for(place, why.rpartition(" by ")[2]))


def mend(place: Place, version: int) -> None:
    """The same for a version of ours that lies there already, as far as this user may: it may have been published
    under a umask that kept it from the server's user."""
    folder = place.version(version)
    with contextlib.suppress(OSError):
        if permissions.unreadable(folder, place.access) and (folder / manifests.MANIFEST_FILE).is_file():
            permissions.give_tree(folder, place.access)


def drop_bytecode(place: Place, version: int) -> None:
    """Remove what a server's Python left beside the code of a version: Python would run it, and nobody knows whose it
    is. It is made again."""
    for folder in place.version(version).rglob("__pycache__"):
        if folder.is_dir() and not folder.is_symlink():
            discard(folder)


def sweep(place: Place) -> None:
    """Remove what killed publishers left in the state folder: this model's, and others' whose lock is free."""
    ledgers.drop_unfinished(place)
    discard(place.trash)
    try:
        remove(place.staging)
    except OSError:
        _own_folder(place, place.trash)
        place.staging.rename(_trashed(place, "staging"))
    if place.inside:
        return
    if place.work.is_dir():  # of one that worked in the repository itself
        remove(place.work)
        with contextlib.suppress(OSError):
            place.model.rmdir()
    for folder in (place.staging.parent, place.trash.parent):
        for left in sorted(folder.iterdir()):
            if is_name(left.name) and left.is_dir():  # what else is there isn't ours
                with hold_if_free(msgspec.structs.replace(place, name=left.name)) as held:
                    if held:
                        discard(left)


def remove(path: Path) -> None:
    """Remove a folder and all in it, or a file in its place; one that isn't there is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def discard(path: Path) -> None:
    """:func:`remove` as far as it goes: a file that a server on NFS has open stays (``.nfs…``) until it is closed, and
    the next publisher sweeps."""
    with contextlib.suppress(OSError):
        remove(path)


def _own_folder(place: Place, folder: Path) -> None:
    """A folder of our state, which any publisher may remove."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
    permissions.correct(folder, place.notes_access)


def _transaction(place: Place, bundle: Bundle, digest: str, version: int) -> Transaction:
    """What must be known to undo this publication, read before anything changes."""
    original = config_bytes(place)
    existing = version_folders(place)
    served = served_by(place, original or b"", existing)
    pinned = original
    if served and original is None and (own := kept.own(place, max(served))) is not None:
        pinned = own  # somebody removed it
    elif original is not None or served:
        try:
            pinned = triton_config.pinned((original or b"").decode(), served).encode()
        except ModelError as error:
            raise PublicationError(
                f"{place.config}: its version_policy can't be rewritten: {error.message}",
                "Give it a version_policy that names the versions (specific), or give another --name.",
            ) from error
    return Transaction(
        version=version,
        digest=digest,
        manifest_sha256=bundle.manifest_sha256,
        first=is_new(place),
        before=max(served, default=None),
        original=original,
        pinned=pinned,
    )


def _is_ours(place: Place, transaction: Transaction) -> bool:
    try:
        return sha256_file(place.version(transaction.version) / manifests.MANIFEST_FILE) == transaction.manifest_sha256
    except OSError:
        return False


def _nothing_else(place: Place, transaction: Transaction) -> bool:
    """Whether all of the new model's folder is ours: as we renamed it in, or beside the folder that we work in."""
    if not place.model.is_dir():
        return False
    names = {path.name for path in place.model.iterdir()}
    whole = _is_ours(place, transaction) or WORK in names
    return whole and names <= {str(transaction.version), manifests.CONFIG_FILE, WORK}


def _copy(source: Path, target: Path, path: str) -> None:
    """Copy one file's content, not its permissions."""
    if not manifests.stays_inside(source, path):
        raise ModelError(f"{source}: {path!r} is outside the bundle's folder")
    copy = target / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / path, copy)


def _rename_in(source: Path, target: Path) -> None:
    """Rename, and make it durable. A configuration replaces the old one; a folder never replaces anything."""
    source.replace(target)
    fsync_folder(target.parent)
