"""What a model repository can do, wherever it lies; :func:`millwork.artifacts.repository.at` opens one by its URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...errors import PublicationError
from ...values import Manifest, Publication, Value
from ..bundle import Bundle
from .lock import USUAL, Waiting
from .server_notes import ServerNotes
from .standard import Noted
from .terms import ANY, Incumbent, Terms

if TYPE_CHECKING:
    from .cut_off import Unfinished

Verify = Callable[[int], None]
"""Loads this version on a server and asks it; raises where it doesn't answer as it should."""

Restored = Callable[[int | None], None]
"""Told, once a version was taken back, which one serves again (None: none), so that a server can be reloaded."""

Sign = Callable[[Path], None]
"""Given a version's folder with all its files before it is committed: adds a signature to it."""


class NoBackendError(PublicationError):
    """What ``verify`` raises where the server lacks the version's backend: nobody was ever answered by it."""


class VersionEntry(Value):
    """One version. ``folder``: None in an object store. ``manifest`` is None for a version that millwork didn't
    publish, or can't read."""

    version: int
    served: bool
    manifest: Manifest | None
    folder: Path | None = None


class Repository(Protocol):
    """A Triton model repository. Methods raise UsageError for a name or a version that isn't there, ModelError for what
    can't be read, PublicationError for what can't be done."""

    @property
    def url(self) -> str:
        """A folder's absolute path, or the store's URL."""

    @property
    def for_triton(self) -> str:
        """As a Triton that we start takes it; empty where it can't read it, and a copy is served in its place."""

    def foresee(self, name: str) -> None:
        """Raise now what :meth:`publish` would, as far as it shows without making anything."""

    def models(self) -> list[str]:
        """The names of the models that have a configuration; UsageError where there is no repository."""

    def versions(self, name: str) -> list[VersionEntry]:
        """The model's versions, ascending; empty where there is no such model."""

    def find(self, name: str, version: int | None = None) -> int:
        """``version``, or the one that serves."""

    def files(self, name: str, version: int, scratch: Path) -> Path:
        """A folder with the version's files: its own, or a copy of it in ``scratch``."""

    def config(self, name: str) -> str:
        """The text of the model's config.pbtxt."""

    def manifest_sha256(self, name: str, version: int) -> str:
        """Of the manifest that was published, by what is noted beside the repository; empty where nothing is."""

    def noted(self, name: str, version: int) -> Noted:
        """What is noted beside the repository of the version, as it was published."""

    def unreadable(self, name: str, version: int) -> str:
        """Who may read the repository, and can't read this version, in words; empty where there is nobody."""

    def server_notes(self) -> ServerNotes | None:
        """What is noted beside the repository of the server that reads it; None where nothing is."""

    def keep_server_notes(self, notes: ServerNotes) -> None:
        """Replace what is noted. OSError, too, where it can't be."""

    def serves(self, name: str) -> int | None:
        """The version that a client gets who names none."""

    def incumbent(self, name: str) -> Incumbent:
        """What serves now."""

    def unfinished(self, name: str) -> Unfinished | None:
        """The publication of the model that is under way, or was cut off; None where all are finished."""

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
        """Publish ``bundle`` as the next version, or leave everything as it was."""

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
        """Let version ``to`` serve; without it the one that served before the present one."""
