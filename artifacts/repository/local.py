"""A repository in a folder, as :class:`Repository` has it."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelError, UsageError
from ...storage.files import refusal
from ...storage.opening import read_text
from ...values import Publication, Value
from ..bundle import Bundle
from ..manifest import CONFIG_FILE
from . import cut_off, layout, listing, publication, server_notes
from . import ledger as ledgers
from . import rollback as back
from .base import Restored, Sign, Verify, VersionEntry
from .cut_off import Unfinished
from .lock import USUAL, Waiting
from .server_notes import ServerNotes
from .standard import Noted
from .terms import ANY, Incumbent, Terms


class LocalRepository(Value):
    """The repository in the folder ``root``, an absolute path."""

    root: Path

    @property
    def url(self) -> str:
        return str(self.root)

    @property
    def for_triton(self) -> str:
        return str(self.root)

    def foresee(self, name: str) -> None:
        layout.foresee(self.root, name)

    def models(self) -> list[str]:
        if not self.root.is_dir():
            raise UsageError(f"--repository {self.root}: there is no such folder")
        return sorted(path.name for path in self.root.iterdir() if (path / CONFIG_FILE).exists())

    def versions(self, name: str) -> list[VersionEntry]:
        return listing.versions(self.root, name)

    def find(self, name: str, version: int | None = None) -> int:
        return int(listing.find_version(self.root, name, version).name)

    def files(self, name: str, version: int, scratch: Path) -> Path:
        return listing.find_version(self.root, name, version)

    def config(self, name: str) -> str:
        path = self.root / name / CONFIG_FILE
        try:
            return read_text(path, layout.LONGEST_CONFIG)
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(refusal(error, path) if isinstance(error, OSError) else f"{path}: {error}") from error

    def manifest_sha256(self, name: str, version: int) -> str:
        return ledgers.read(layout.locate(self.root, name)).manifests.get(version, "")

    def noted(self, name: str, version: int) -> Noted:
        return ledgers.noted(ledgers.read(layout.locate(self.root, name)), version)

    def unreadable(self, name: str, version: int) -> str:
        return listing.unreadable(self.root, name, version)

    def server_notes(self) -> ServerNotes | None:
        return server_notes.read(layout.of_all(self.root).server_notes)

    def keep_server_notes(self, notes: ServerNotes) -> None:
        place = layout.of_all(self.root)
        write = server_notes.write_in_root if place.server_notes.parent == place.root else server_notes.write
        write(place.server_notes, notes, place.notes_access)

    def serves(self, name: str) -> int | None:
        return listing.served_version(self.root, name)

    def incumbent(self, name: str) -> Incumbent:
        return listing.incumbent(layout.locate(self.root, name))

    def unfinished(self, name: str) -> Unfinished | None:
        return cut_off.found(layout.locate(self.root, name))

    def publish(
        self,
        bundle: Bundle,
        *,
        verify: Verify | None = None,
        restored: Restored | None = None,
        sign: Sign | None = None,
        terms: Terms = ANY,
        waiting: Waiting = USUAL,
    ) -> Publication:
        return publication.publish(
            bundle, self.root, verify=verify, restored=restored, sign=sign, terms=terms, waiting=waiting
        )

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
        return back.rollback(self.root, name, to, verify=verify, restored=restored, terms=terms, waiting=waiting)
