"""The one standard for what may serve, for a version in an object store: it is read back and compared."""

from __future__ import annotations

from ....storage import scratch
from .. import standard
from ..standard import Noted
from . import listing
from .address import Place
from .store import Store


def problems(store: Store, place: Place, version: int, noted: Noted) -> list[str]:
    """Why the version isn't as it was published, a sentence each."""
    with scratch.folder("sound") as copies:
        folder = listing.download(store, place, version, copies)
        return standard.problems(folder, place.name, version, noted, inert=True)
