"""The files of a virtual environment: whether they are as pip installed them, who runs from them, and their folder's
change for another one, which was built beside it. And what pip is told, and says."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import importlib.metadata
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .storage import opening
from .storage.files import fsync_folder, remove

LONGEST_SCRIPT = 1 << 20
"""Bytes of a file in ``bin`` that may name the environment's folder."""


def beside(folder: Path) -> Path:
    """Where ``folder`` is built: whole, or of no use."""
    return folder.with_name(f"{folder.name}.new")


def swap(folder: Path) -> None:
    """Put what was built beside ``folder`` into its place. What was there goes only then; where a process runs from it,
    it stays until the next time."""
    built = beside(folder)
    _name_another(built, folder)
    if os.path.lexists(folder):
        folder.rename(folder.with_name(f"{folder.name}.old-{secrets.token_hex(4)}"))
    built.rename(folder)
    fsync_folder(folder.parent)
    remove_unused(folder)


def remove_unused(folder: Path) -> None:
    """Remove what was in the place of ``folder`` before, and no process runs from."""
    for left in _before(folder):
        if not in_use(left):
            with contextlib.suppress(OSError):  # the next time, then
                remove(left)


def put_back(folder: Path) -> Path | None:
    """What a swap that was killed between its two renames left, put in its place: the new one, else the one before."""
    if os.path.lexists(folder):
        return None
    for left in (beside(folder), *_before(folder)):
        if left.is_dir():
            left.rename(folder)
            return folder
    return None


def drop(folder: Path) -> None:
    """Remove what was built beside it, and isn't whole."""
    with contextlib.suppress(OSError):
        remove(beside(folder))


def damage(folder: Path) -> str:
    """What isn't as pip installed it, by its own records; empty where all is. Scripts name their interpreter, so that
    only their being there is looked at."""
    packages = list(folder.glob("lib/python*/site-packages"))
    records = [record for site in packages for record in sorted(site.glob("*.dist-info/RECORD"))]
    if not records:
        return f"{folder}: no package is in it"
    for site in packages:
        for left in site.glob("~*"):
            return f"{left}: pip was killed while it replaced this"
        for about in site.glob("*.dist-info"):
            if not (about / "RECORD").is_file():
                return f"{about}: its RECORD is missing"
    try:
        return next(filter(None, (_differs(*entry) for record in records for entry in _listed(record))), "")
    except (OSError, ValueError, csv.Error) as error:
        return f"{folder}: its records can't be read: {error}"


def packages(folder: Path) -> list[importlib.metadata.Distribution]:
    """What is installed in it."""
    return list(importlib.metadata.distributions(path=[str(site) for site in folder.glob("lib/python*/site-packages")]))


def asked_for(folder: Path) -> list[str]:
    """``name==version`` of each package that pip was asked for by name."""
    asked = [package for package in packages(folder) if package.read_text("REQUESTED") is not None]
    return sorted(f"{package.name}=={package.version}" for package in asked)


def pip_variables(variables: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The user's variables for pip: ``PIP_*`` and proxies stay.

    pip reads a virtual environment's own ``pip.conf`` from its prefix, and the new environment has another one:
    name the running one's, unless the user names a file. ``--user`` makes no sense in a virtual environment.
    """
    kept = {name: value for name, value in variables.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    configuration = Path(prefix) / "pip.conf"
    if configuration.exists():
        kept.setdefault("PIP_CONFIG_FILE", str(configuration))
    return {**kept, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_COLOR": "1"}


def last_line(lines: Sequence[str]) -> str:
    """The line that says why: pip's last ERROR, else the last line that isn't a warning or a notice."""
    errors = [line for line in lines if line.startswith("ERROR: ")]
    if errors:
        return errors[-1].removeprefix("ERROR: ")
    said = [line.strip() for line in lines if line.strip() and not line.startswith(("WARNING", "[notice]"))]
    return said[-1] if said else "pip printed nothing"


def in_use(folder: Path) -> bool:
    """Whether a process runs from ``folder``: its program, its working folder or a library is there."""
    below = f"{folder.resolve()}/"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(f"{(process / link).readlink()}/".startswith(below) for link in ("exe", "cwd")):
                return True
            if below in (process / "maps").read_text(errors="replace"):
                return True
    return False


def _before(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"{folder.name}.old-*"))


def _listed(record: Path) -> Iterator[tuple[Path, str, str]]:
    text = opening.read_text(record)
    for path, digest, size in (row[:3] for row in csv.reader(text.splitlines()) if len(row) >= 3):
        yield record.parent.parent / path, digest, size


def _differs(path: Path, digest: str, size: str) -> str:
    if path.suffix == ".pyc":  # Python writes them again
        return ""
    if not path.is_file():
        return f"{path} is missing"
    kind, _, wanted = digest.partition("=")
    if not wanted or path.resolve().parent.name == "bin":
        return ""
    if size and path.stat().st_size != int(size):
        return f"{path} has changed"
    with opening.opened(path) as file:
        found = hashlib.file_digest(file, kind).digest()
    return "" if base64.urlsafe_b64encode(found).rstrip(b"=").decode() == wanted else f"{path} has changed"


def _name_another(built: Path, folder: Path) -> None:
    """Write ``folder`` where the scripts of ``built`` name their own."""
    own, new = os.fsencode(built), os.fsencode(folder)
    for path in (built / "pyvenv.cfg", *(built / "bin").iterdir()):
        if not path.is_file() or path.is_symlink() or path.stat().st_size > LONGEST_SCRIPT:
            continue
        content = opening.read_limited(path, LONGEST_SCRIPT)
        if own in content and b"\0" not in content:
            opening.write(path, content.replace(own, new))
