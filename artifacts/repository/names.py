"""What may be named: a model, and a repository by URL."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def check_name(name: str) -> str:
    """``name`` if it can be a model's: a folder for Triton, a part of a URL for its clients."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a model's name",
            "Use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or a digit.",
        )
    return name


def is_name(name: str) -> bool:
    """Whether it can be a model's name: what else lies in a folder of ours is a stray file."""
    return _NAME.fullmatch(name) is not None


def local_path(url: str) -> Path:
    """The folder that ``url`` names: a path, or ``file:///…``. :class:`UsageError` for anything else."""
    if not url:
        raise UsageError("the repository's path is empty", "Give the folder that Triton reads its models from.")
    if not _URL.match(url):
        return Path(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:  # brackets that don't close
        raise UsageError(f"{url}: not an address: {error}", "Give a local folder, or file:///….") from error
    if parts.scheme.lower() != "file":
        raise UsageError(
            f"{url}: this kind of repository isn't supported", "Give a folder, file:///…, s3://…, gs://… or az://…."
        )
    if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
        raise UsageError(f"{url}: expected file:/// and an absolute path")
    return Path(unquote(parts.path))
