"""What of a folder a net's factory is made of: its module or package, and what that imports from the same folder.

These alone can be read by the step that calls the factory: the folder itself may be a home folder, with keys. They are
shown to it in a folder of links that holds nothing else. What a module merely names is digested, and can't be read.
"""

from __future__ import annotations

import ast
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..storage import opening, scratch
from ..storage.files import refusal

MOST_FILES = 10_000
"""Files of a module's package."""
LARGEST = 4 << 30
"""Bytes of all of them."""
MOST_ENTRIES = 500
"""Packages and single files: each is told to the step by its path."""
SHOWN = 4


@dataclass(frozen=True)
class ModuleFiles:
    """``entries``: packages (folders) and single modules below ``folder``. ``files``: every file of them, and those
    beside them that they name: what decides the net, where it is trusted and may read them."""

    folder: Path
    entries: tuple[Path, ...]
    files: tuple[Path, ...]

    @property
    def in_words(self) -> str:
        """Their names within the folder, as far as they are few."""
        names = [str(entry.relative_to(self.folder)) + ("/" if entry.is_dir() else "") for entry in self.entries]
        return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

    @contextlib.contextmanager
    def shown(self) -> Iterator[tuple[Path, tuple[Path, ...]]]:
        """A folder to import from, with a link to each entry, and what the links point at."""
        with scratch.folder("module") as mirror:
            for entry in self.entries:
                link = mirror / entry.relative_to(self.folder)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(entry.resolve())
            yield mirror, tuple(entry.resolve() for entry in self.entries)


def find(folder: Path, name: str) -> ModuleFiles:
    """What ``import NAME`` reads of ``folder``, as far as it is written in the modules themselves; UsageError where
    that is too much, ``OSError`` where it can't be read."""
    entries: dict[Path, None] = {}
    files: dict[Path, None] = {}
    texts: dict[Path, str] = {}
    waiting = [name]
    while waiting:
        for entry in _entries(folder, waiting.pop()):
            if entry in entries:
                continue
            entries[entry] = None
            for path in _files_of(entry):
                files[path] = None
                if path.suffix == ".py" and len(files) <= MOST_FILES:
                    text = opening.read_text(path, errors="replace")
                    texts[path.parent] = texts.get(path.parent, "") + text
                    waiting += _imported(text, path.relative_to(folder).parent.parts)
    for path in _named(texts):
        files[path] = None
    _require_few(folder, entries, files)
    return ModuleFiles(folder, tuple(sorted(entries)), tuple(sorted(files)))


def _entries(folder: Path, name: str) -> Iterator[Path]:
    """The package or the file of a dotted name. A folder without ``__init__.py`` isn't one: it may be any folder."""
    for part in name.split("."):
        package, single = folder / part, folder / f"{part}.py"
        if (package / "__init__.py").is_file():
            yield from _whole(package)
            return
        if single.is_file():
            yield single
            return
        if not package.is_dir():
            yield from folder.glob(f"{part}.*.so")
            return
        folder = package


def _whole(package: Path) -> list[Path]:
    """The package itself, or its files where some are hidden: ``.env`` and ``.git`` aren't of it."""
    hidden = any(name.startswith(".") for _, folders, names in os.walk(package) for name in (*folders, *names))
    return _files_of(package) if hidden else [package]


def _files_of(entry: Path) -> list[Path]:
    if not entry.is_dir():
        return [entry]
    found = []
    for at, folders, names in os.walk(entry):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        found += [Path(at, name) for name in names if not name.startswith(".") and Path(at, name).is_file()]
        if len(found) > MOST_FILES:
            break
    return sorted(found)


def _named(texts: dict[Path, str]) -> Iterator[Path]:
    """The files beside modules that these name: config.json."""
    for folder, text in texts.items():
        for path in sorted(folder.iterdir()):
            named = path.suffix not in (".py", "") and not path.name.startswith(".") and path.name in text
            if named and path.is_file():
                yield path


def _imported(text: str, package: tuple[str, ...]) -> Iterator[str]:
    """The dotted names that a module's text imports; ``package``: the names of the one that it is in."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):  # its import will say so
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *filter(None, [node.module])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def _require_few(folder: Path, entries: dict[Path, None], files: dict[Path, None]) -> None:
    size = sum(path.stat().st_size for path in files)
    if len(files) > MOST_FILES or len(entries) > MOST_ENTRIES or size > LARGEST:
        raise UsageError(
            f"--module: the module and what it imports from {folder} are {len(files):,} files of {size:,} bytes; the "
            f"limits are {MOST_FILES:,} and {LARGEST:,}",
            "Put the factory into a package of its own, in a folder without anything else.",
        )


def said(error: OSError, module: str) -> UsageError:
    """The error for a module whose files can't be read."""
    return UsageError(f"--module {module}: {refusal(error)}", "Check the files that it is made of.")
