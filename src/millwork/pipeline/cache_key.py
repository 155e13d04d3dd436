"""What decides a stage beside its options: the content of files and folders, and the versions of tools."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..compile.backends import table as backends
from ..compile.runners.runner_rows import RUNNERS
from ..storage.files import sha256_file
from ..storage.run_directory import DONE_FILE
from .plan import Plan


def content(folder: Path) -> str:
    """All files of a finished stage, as one sha256: ``done`` holds the digest of each."""
    return sha256_file(folder / DONE_FILE)


def sha256(path: Path) -> str:
    """The file's hash; where it can't be read, nothing, since the step that reads it says why in its own words."""
    try:
        return sha256_file(path) if path.is_file() else ""
    except OSError:
        return ""


def module_files(plan: Plan) -> str:
    """The factory's own file, and those beside it: what makes a state dict's net."""
    if not plan.module_path:
        return ""
    root = Path(plan.module_path) / plan.module.partition(":")[0].partition(".")[0]
    files = sorted(root.rglob("*.py")) if root.is_dir() else [root.with_suffix(".py")]
    return "".join(sha256(path) for path in files)


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
