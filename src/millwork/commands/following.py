"""``triton serve`` goes on with what is published: a new version, an older one after a rollback, a model that is new.

The folder is looked at every two seconds. A model whose configuration or versions have changed is loaded again, and the
server answers with what it had until that is done. A publication that isn't finished yet isn't followed: it is verified
elsewhere, and may be taken back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..artifacts import repository as published
from ..artifacts.manifest import CONFIG_FILE
from ..errors import MillworkError

if TYPE_CHECKING:
    from ..triton.client import Session

LOOK_S = 2.0

Signature = tuple[tuple[int, ...], tuple[str, ...]]
"""What tells that a model has changed: its config.pbtxt's inode, size and time, and its folders of versions."""


class Watcher(Protocol):
    """Whom loading tells."""

    def loading(self, name: str) -> AbstractContextManager[object]:
        """Around the loading of a model."""
        ...

    def failed(self, error: MillworkError) -> None:
        """A model that Triton doesn't load, and why."""
        ...

    def follows(self, name: str, versions: tuple[int, ...]) -> None:
        """A model that was loaded again: the versions that are ready now, none where it is gone."""
        ...


@dataclass
class Follower:
    """What was seen of the folder last. ``names``: the models to serve, none for all. ``provide``: installs what a
    model's new version needs."""

    repository: Path
    names: tuple[str, ...]
    provide: Callable[[str], None]
    seen: dict[str, Signature] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.seen = self._now()

    def look(self, session: Session, watcher: Watcher) -> None:
        """Load what has changed since the last look, and unload what is gone."""
        now = self._now()
        for name in sorted({*self.seen, *now}):
            if now.get(name) == self.seen.get(name) or self._under_way(name):
                continue
            before = session.versions(name)
            try:
                if name in now:
                    self.provide(name)
                    with watcher.loading(name):
                        session.load(name)
                    after = session.versions(name)
                else:
                    session.unload(name)  # it answers the requests that it has, in its own time
                    after = ()
            except MillworkError as error:  # told once: it is looked at again when it changes again
                session.server_version()  # raises where the server is gone, which isn't the model's fault
                watcher.failed(error)
            else:
                if after != before or name not in now:
                    watcher.follows(name, after)
            if name in now:
                self.seen[name] = now[name]
            else:
                self.seen.pop(name)

    def _under_way(self, name: str) -> bool:
        """Whether a publication of the model isn't finished; False where nobody can tell."""
        with contextlib.suppress(MillworkError, OSError):
            return published.unfinished(self.repository, name) is not None
        return False

    def _now(self) -> dict[str, Signature]:
        found = {}
        with contextlib.suppress(OSError):  # the folder is gone for the moment: what is served stays
            for folder in self.repository.iterdir():
                if folder.is_dir() and (not self.names or folder.name in self.names):
                    with contextlib.suppress(OSError):
                        found[folder.name] = _signature(folder)
            return found
        return dict(self.seen)


def _signature(folder: Path) -> Signature:
    config: tuple[int, ...] = ()
    with contextlib.suppress(FileNotFoundError):
        stat = (folder / CONFIG_FILE).stat()
        config = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return config, tuple(sorted(path.name for path in folder.iterdir() if path.name.isdigit()))
