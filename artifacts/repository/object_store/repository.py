"""A repository in an object store, as :class:`Repository` has it."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path

from .... import interrupts
from ....errors import ModelError, PublicationError, UsageError
from ....storage import opening, scratch
from ....values import Publication
from ... import manifest as manifests
from ...bundle import Bundle
from ..base import Restored, Sign, Verify, VersionEntry
from ..cut_off import Unfinished
from ..lock import USUAL, Waiting
from ..names import check_name
from ..server_notes import SERVER_FILE, ServerNotes, decoded, encoded
from ..standard import NOTHING, Noted
from ..terms import ANY, Incumbent, Terms
from . import cut_off, listing, publication, records
from . import rollback as back
from .address import Address, Place
from .store import Patience, Store, StoreError


class ObjectRepository:
    """The repository at ``address``; nothing is asked of it before a method is called.

    ``grace``: see :func:`publication.sweep`.
    """

    def __init__(
        self, address: Address, patience: Patience | None = None, grace: timedelta = publication.GRACE
    ) -> None:
        self.address = address
        self._patience = patience
        self._grace = grace

    @cached_property
    def store(self) -> Store:
        return Store(self.address, self._patience)

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def for_triton(self) -> str:
        return self.address.for_triton if self.address.scheme == "s3" else ""

    def foresee(self, name: str) -> None:
        try:
            listing.served_now(self.store, self._place(name))
        except ModelError as error:
            raise PublicationError(error.message, error.hint) from error

    def models(self) -> list[str]:
        names = self.store.folders(self.address.prefix)
        return [name for name in names if self.store.read(f"{self.address.prefix}/{name}/config.pbtxt") is not None]

    def versions(self, name: str) -> list[VersionEntry]:
        return listing.versions(self.store, self._place(name))

    def find(self, name: str, version: int | None = None) -> int:
        return listing.find(self.store, self._place(name), version)

    def files(self, name: str, version: int, scratch: Path) -> Path:
        return listing.download(self.store, self._place(name), version, scratch)

    def config(self, name: str) -> str:
        now = listing.served_now(self.store, self._place(name))
        if now is None:
            raise UsageError(
                f"{self.url}/{name}: there is no config.pbtxt in this folder", "Check --repository and --name."
            )
        return now.text

    def manifest_sha256(self, name: str, version: int) -> str:
        held = records.held(self.store, self._place(name), version)
        return "" if held is None else held.record.manifest_sha256

    def noted(self, name: str, version: int) -> Noted:
        held = records.held(self.store, self._place(name), version)
        return NOTHING if held is None else held.record.noted

    def unreadable(self, name: str, version: int) -> str:
        return ""  # who may read objects is the bucket's to say

    def server_notes(self) -> ServerNotes | None:
        found = self.store.read(f"{self.address.state}/{SERVER_FILE}")
        return None if found is None else decoded(found.content)

    def keep_server_notes(self, notes: ServerNotes) -> None:
        with scratch.folder("notes") as folder:
            opening.write(folder / SERVER_FILE, encoded(notes))
            self.store.put(f"{self.address.state}/{SERVER_FILE}", folder / SERVER_FILE)

    def serves(self, name: str) -> int | None:
        now = listing.served_now(self.store, self._place(name))
        return None if now is None else now.version

    def incumbent(self, name: str) -> Incumbent:
        place = self._place(name)
        return listing.incumbent(self.store, place, listing.served_now(self.store, place))

    def unfinished(self, name: str) -> Unfinished | None:
        return cut_off.found(self.store, self._place(name), self._grace)

    def publish(
        self,
        bundle: Bundle,
        *,
        verify: Verify | None = None,
        restored: Restored | None = None,
        sign: Sign | None = None,
        terms: Terms = ANY,
        waiting: Waiting = USUAL,  # nobody holds a lock
    ) -> Publication:
        place = self._place(bundle.name)
        with interrupts.undoing():
            version, notes = publication.publish(self.store, place, bundle, verify, restored, sign, terms, self._grace)
        return self._published(place, version, verify, notes)

    def rollback(
        self,
        name: str,
        to: int | None = None,
        *,
        verify: Verify | None = None,
        restored: Restored | None = None,
        terms: Terms = ANY,
        waiting: Waiting = USUAL,
    ) -> Publication:
        place = self._place(name)
        with interrupts.undoing():
            version, notes = back.rollback(self.store, place, to, verify, restored, terms)
        return self._published(place, version, verify, notes)

    def _published(self, place: Place, version: int, verify: Verify | None, notes: tuple[str, ...]) -> Publication:
        """It is done: a store that doesn't let it be read back takes nothing of that away."""
        try:
            manifest = self.store.read(f"{place.version(version)}/{manifests.MANIFEST_FILE}")
        except StoreError as error:
            manifest, notes = None, (*notes, f"the manifest of version {version} can't be read back: {error.message}")
        return Publication(
            repository=self.url,
            name=place.name,
            version=version,
            manifest_sha256="" if manifest is None else manifests.sha256_of(manifest.content),
            verified=verify is not None,
            notes=notes,
        )

    def _place(self, name: str) -> Place:
        return Place(address=self.address, name=check_name(name))
