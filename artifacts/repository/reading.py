"""A version's number, files and configuration, of one moment, while others publish."""

from __future__ import annotations

from pathlib import Path

from ...errors import MillworkError, PublicationError
from ...values import Value
from .base import Repository

TRIES = 20
"""How often what changed while it was read is read again."""


class Found(Value):
    """A version, and its own folder or a copy of it. ``config``: the text by which it serves; empty for one that was
    asked for by its number."""

    version: int
    folder: Path
    config: str = ""


def found(repository: Repository, name: str, version: int | None, scratch: Path) -> Found:
    """``version``, or the one that serves: read again where another serves by then. UsageError for what isn't there,
    PublicationError where it changes all the time."""
    if version is not None:
        number = repository.find(name, version)
        return Found(version=number, folder=repository.files(name, number, scratch))
    for attempt in range(TRIES):
        number = repository.find(name)
        try:
            folder = repository.files(name, number, scratch / f"read-{attempt}")
            config = repository.config(name)
        except MillworkError:
            if repository.serves(name) == number:
                raise
            continue
        if repository.serves(name) == number:
            return Found(version=number, folder=folder, config=config)
    raise PublicationError(f"{name}: what serves changed {TRIES} times while it was read", "Try again.")
