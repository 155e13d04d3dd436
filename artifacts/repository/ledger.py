"""What a model's publishers leave for the next one: a small JSON file in the state folder, replaced atomically.

It is read and written under the model's lock. Without it (someone removed the state folder) publishing still works:
versions count up from the folders that are there, and a rollback goes to the next lower version.

It lies beside the repository, or in it, where somebody publishes who can't reach beside (a container that mounts only
the repository). Once there is one in it, everyone writes that one; what is noted beside it only is read, too.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from ...errors import PublicationError
from ...storage import wire
from ...storage.files import atomic_write, refusal
from ...storage.opening import read_limited
from ...values import Value
from .layout import Place, locate
from .standard import Noted

LONGEST = 256 << 20
"""Bytes of a ledger that are read; a thousand versions take half of one."""
_MEND = "Let this user read it. Or remove it: the next version's number then follows from the folders that are there."


class Transaction(Value):
    """A publication that isn't finished: enough to see it through, or to undo it.

    ``digest``: of the bundle's content. ``manifest_sha256`` tells our version folder from one that someone else
    made. ``first``: the model's folder is new. ``before``: the version that served before. ``original``: the
    config.pbtxt before, None if there was none; ``pinned``: the same, naming the versions that it served (it differs
    only for a configuration that isn't ours). ``config_sha256``: of the version's own config.pbtxt; ``signer``: whose
    key signed it.
    """

    version: int
    digest: str
    manifest_sha256: str
    first: bool
    before: int | None
    original: bytes | None
    pinned: bytes | None
    config_sha256: str = ""
    signer: str = ""

    @property
    def noted(self) -> Noted:
        """What will be known of the version."""
        return Noted(manifest_sha256=self.manifest_sha256, config_sha256=self.config_sha256, signer=self.signer)


class Ledger(Value):
    """``high_water``: the highest version that ever came near serving; no number up to it is given again,
    but for the first of a new model where the server lacks its backend.

    ``before``: version -> the one that served before it. ``kept``: version -> the config.pbtxt that served it, where
    that isn't the version's own copy (someone else's model, or a configuration changed by hand). ``manifests``: version
    -> the sha256 of the manifest that was published; ``configs``: of its own config.pbtxt. ``signers``: version ->
    whose key signed it. ``others``: configurations that served no version when they were replaced.
    """

    high_water: int = 0
    before: dict[int, int] = msgspec.field(default_factory=dict)
    kept: dict[int, bytes] = msgspec.field(default_factory=dict)
    manifests: dict[int, str] = msgspec.field(default_factory=dict)
    configs: dict[int, str] = msgspec.field(default_factory=dict)
    signers: dict[int, str] = msgspec.field(default_factory=dict)
    others: tuple[bytes, ...] = ()
    transaction: Transaction | None = msgspec.field(default=None, name="flight")  # as ledgers have it


def read(place: Place) -> Ledger:
    """The model's ledger, an empty one where there is none yet."""
    found = _read(place.ledger)
    if place.ledger == place.ledger_beside:
        return found or Ledger()
    return _joined(found, _read(place.ledger_beside))


def published(ledger: Ledger, transaction: Transaction) -> Ledger:
    """With what is known of the version that ``transaction`` published."""
    version = transaction.version
    before = dict(ledger.before)
    if transaction.before is not None and transaction.pinned is not None:
        before[version] = transaction.before
    configs, signers = dict(ledger.configs), dict(ledger.signers)
    if transaction.config_sha256:
        configs[version] = transaction.config_sha256
    if transaction.signer:
        signers[version] = transaction.signer
    return msgspec.structs.replace(
        ledger,
        before=before,
        manifests={**ledger.manifests, version: transaction.manifest_sha256},
        configs=configs,
        signers=signers,
    )


def noted(ledger: Ledger, version: int) -> Noted:
    """What is known of the version as it was published."""
    return Noted(
        manifest_sha256=ledger.manifests.get(version, ""),
        config_sha256=ledger.configs.get(version, ""),
        signer=ledger.signers.get(version, ""),
    )


def without(ledger: Ledger, version: int) -> Ledger:
    """Without what is known of a version that was taken back."""
    fields = ("before", "manifests", "configs", "signers")
    kept = {name: {n: one for n, one in getattr(ledger, name).items() if n != version} for name in fields}
    return msgspec.structs.replace(ledger, **kept)


def _joined(own: Ledger | None, beside: Ledger | None) -> Ledger:
    """The ledger in the repository, with what only the one beside it has. A publication that is under way there was
    seen to already where its version is among those of the own."""
    if own is None or beside is None:
        return own or beside or Ledger()
    joined: dict[str, object] = {
        "high_water": max(own.high_water, beside.high_water),
        "others": tuple(dict.fromkeys((*beside.others, *own.others))),
    }
    for field in msgspec.structs.fields(Ledger):
        mine, theirs = getattr(own, field.name), getattr(beside, field.name)
        if isinstance(mine, dict):
            joined[field.name] = {**theirs, **mine}
    flight = beside.transaction
    if own.transaction is None and flight is not None and flight.version > own.high_water:
        joined["transaction"] = flight
    return msgspec.structs.replace(own, **joined)


def _read(path: Path) -> Ledger | None:
    try:
        return wire.decode(read_limited(path, LONGEST), Ledger)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PublicationError(
            f"the ledger of what was published can't be read: {refusal(error, path)}", _MEND
        ) from error
    except msgspec.DecodeError as error:
        raise PublicationError(f"{path}: not a ledger of millwork: {error}", _MEND) from error


def write(place: Place, ledger: Ledger) -> None:
    """Replace the model's ledger, durably; ``OSError`` where that fails, and then the old one stands, or the new one
    that a power cut may take back."""
    atomic_write(place.ledger, msgspec.json.encode(ledger), place.notes_access, aside=place.aside)


def drop_unfinished(place: Place) -> None:
    """Remove what a killed :func:`write` left."""
    for path in place.aside.glob(f".{place.ledger.name}.tmp-*"):
        with contextlib.suppress(OSError):
            path.unlink()


def unfinished(repository: Path, name: str) -> Transaction | None:
    """The publication of ``name`` that is under way, or whose publisher was killed; None if all are finished."""
    return read(locate(repository, name)).transaction
