"""What decides a stage beside its options and the files that the run is told (:mod:`.given`): the content of folders,
and the versions of tools."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..compile.backends import table as backends
from ..compile.runners.runner_rows import RUNNERS
from ..storage.files import sha256_file
from ..storage.run_directory import DONE_FILE


def content(folder: Path) -> str:
    """All files of a finished stage, as one sha256: ``done`` holds the digest of each."""
    return sha256_file(folder / DONE_FILE)


def tools(*names: str) -> dict[str, str]:
    """Installed versions of what decides a stage's result."""
    found: dict[str, str] = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def engine(backend: str, runner: str = "") -> dict[str, str]:
    """The versions of the engine that runs a backend's candidates. ``runner``: the artifact's own, where there is one,
    since a third party's artifact may name one of ours. UsageError for a backend that isn't in the table."""
    row = backends.row(backend)
    own = RUNNERS[runner].versioned if runner in RUNNERS else ()
    return {**tools(*row.distributions, *own, "numpy"), "provider": row.provider}
