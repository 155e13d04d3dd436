"""What a model's publishers leave for the next one: a small JSON file in the state folder, replaced atomically.

It is read and written under the model's lock. Without it (someone removed the state folder) publishing still works:
versions count up from the folders that are there, and a rollback goes to the next lower version.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from ...errors import PublicationError
from ...storage import wire
from ...storage.files import atomic_write
from ...values import Value
from .layout import Place, locate


class Transaction(Value):
    """A publication that isn't finished: enough to see it through, or to undo it.

    ``digest``: of the bundle's content. ``manifest_sha256`` tells our version folder from one that someone else
    made. ``first``: the model's folder is new. ``before``: the version that served before. ``original``: the
    config.pbtxt before, None if there was none; ``pinned``: the same, naming the versions that it served (it differs
    only for a configuration that isn't ours).
    """

    version: int
    digest: str
    manifest_sha256: str
    first: bool
    before: int | None
    original: bytes | None
    pinned: bytes | None


class Ledger(Value):
    """``high_water``: the highest version that ever came near serving; no number up to it is given again,
    but for the first of a new model where the server lacks its backend.

    ``before``: version -> the one that served before it. ``kept``: version -> the config.pbtxt that served it, where
    that isn't the version's own copy (someone else's model, or a configuration changed by hand). ``manifests``: version
    -> the sha256 of the manifest that was published.
    """

    high_water: int = 0
    before: dict[int, int] = msgspec.field(default_factory=dict)
    kept: dict[int, bytes] = msgspec.field(default_factory=dict)
    manifests: dict[int, str] = msgspec.field(default_factory=dict)
    transaction: Transaction | None = msgspec.field(default=None, name="flight")  # as ledgers have it


def read(place: Place) -> Ledger:
    """The model's ledger, an empty one where there is none yet."""
    try:
        return wire.decode(place.ledger.read_bytes(), Ledger)
    except FileNotFoundError:
        return Ledger()
    except msgspec.DecodeError as error:
        raise PublicationError(
            f"{place.ledger}: not a ledger of millwork: {error}",
            "Remove it: the next version's number then follows from the folders that are there.",
        ) from error


def write(place: Place, ledger: Ledger) -> None:
    """Replace the model's ledger, durably; ``OSError`` where that fails, and then the old one stands, or the new one
    that a power cut may take back."""
    atomic_write(place.ledger, msgspec.json.encode(ledger), place.notes_access)


def drop_unfinished(place: Place) -> None:
    """Remove what a killed :func:`write` left beside the ledger."""
    for path in place.ledger.parent.glob(f".{place.ledger.name}.tmp-*"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def unfinished(repository: Path, name: str) -> Transaction | None:
    """The publication of ``name`` that is under way, or whose publisher was killed; None if all are finished."""
    return read(locate(repository, name)).transaction
