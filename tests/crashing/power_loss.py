"""What a power cut may leave of a folder: only what was synced is sure.

A model of the least that POSIX promises: a file's bytes are sure once it was fsynced, an entry of a folder (a new
file, a rename's new name, a removal) once that folder was. What isn't sure may be there or not, each by itself, in any
order: a file may be empty or cut, a rename may have come through without those before it, and a renamed file may have
both names. File systems promise more; nobody has to count on it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from crashing.system_calls import OPENS, Call


@dataclass
class File:
    """``synced``: its bytes at the last fsync, None before the first."""

    synced: bytes | None = None


@dataclass
class Folder:
    """``entries``: as they are now. ``sure``: at the last fsync. ``later``: what has changed since, oldest first."""

    entries: dict[str, File | Folder] = field(default_factory=dict)
    sure: dict[str, File | Folder] = field(default_factory=dict)
    later: list[tuple[str, File | Folder | None]] = field(default_factory=list)

    def put(self, name: str, what: File | Folder | None) -> None:
        if what is None:
            self.entries.pop(name, None)
        else:
            self.entries[name] = what
        self.later.append((name, what))


class Disk:
    """Follows the calls of a publisher under ``root``; what is there at the beginning is sure."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _found(root)

    def follow(self, call: Call) -> None:
        """The call is about to be made, and is if it can be."""
        if call.name in OPENS:
            if call.creates and self._node(call.path) is None:
                self._put(call.path, File())
            elif call.empties and isinstance(found := self._node(call.path), File):
                found.synced = None
        elif call.name in ("mkdir", "mkdirat"):
            if self._node(call.path) is None:
                self._put(call.path, Folder())
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            found = self._node(call.path)
            if found is not None and not (isinstance(found, Folder) and found.entries):
                self._put(call.path, None)
        elif call.name.startswith(("rename", "link")):
            found = self._node(call.path)
            if found is not None:
                self._put(call.to, found)
                if call.name.startswith("rename"):
                    self._put(call.path, None)
        else:
            self._follow_content(call)

    def _follow_content(self, call: Call) -> None:
        if call.name in ("fsync", "fdatasync"):
            self._sync(call.path)
        elif isinstance(found := self._node(call.path), File):
            found.synced = None  # written to since

    def left(self, to: Path, seed: int) -> None:
        """Make in ``to`` what a power cut now may leave. Seed 0: nothing that isn't sure; 1: everything."""
        self._make(self.top, self.root, to, random.Random(seed), seed)

    def _sync(self, path: str) -> None:
        found = self._node(path)
        if isinstance(found, Folder):
            found.sure, found.later = dict(found.entries), []
        elif isinstance(found, File):
            found.synced = Path(path).read_bytes()

    def _make(self, folder: Folder, at: Path, to: Path, rng: random.Random, seed: int) -> None:
        to.mkdir(parents=True)
        entries = dict(folder.sure)
        for name, what in folder.later:
            if seed == 1 or (seed and rng.random() < 0.5):
                if what is None:
                    entries.pop(name, None)
                else:
                    entries[name] = what
        for name, what in entries.items():
            if isinstance(what, Folder):
                self._make(what, self._place(what, self.top, self.root) or at / name, to / name, rng, seed)
            else:
                (to / name).write_bytes(self._bytes(what, rng, seed))

    def _bytes(self, file: File, rng: random.Random, seed: int) -> bytes:
        if file.synced is not None:
            return file.synced
        place = self._place(file, self.top, self.root)
        now = place.read_bytes() if place is not None and place.is_file() else b""
        return now if seed == 1 else now[: rng.randrange(len(now) + 1)] if seed else b""

    def _place(self, what: File | Folder, within: Folder, at: Path) -> Path | None:
        """Where it lies now."""
        for name, found in within.entries.items():
            if found is what:
                return at / name
            if isinstance(found, Folder) and (inner := self._place(what, found, at / name)):
                return inner
        return None

    def _node(self, path: str) -> File | Folder | None:
        found: File | Folder | None = self.top
        for name in Path(path).relative_to(self.root).parts:
            found = found.entries.get(name) if isinstance(found, Folder) else None
        return found

    def _put(self, path: str, what: File | Folder | None) -> None:
        if not Path(path).is_relative_to(self.root):
            return
        parent = self._node(str(Path(path).parent))
        if isinstance(parent, Folder):
            parent.put(Path(path).name, what)


def _found(root: Path) -> Folder:
    entries: dict[str, File | Folder] = {
        path.name: _found(path) if path.is_dir() else File(path.read_bytes()) for path in root.iterdir()
    }
    return Folder(dict(entries), dict(entries))
