"""From a URL to the repository that it names."""

from __future__ import annotations

from .base import Repository
from .local import LocalRepository
from .names import local_path
from .object_store import ObjectRepository
from .object_store.address import is_object_store, parse


def at(url: str) -> Repository:
    """The repository at ``url``: a path, ``file:///…``, ``s3://…``, ``gs://…`` or ``az://…``; UsageError for others."""
    if is_object_store(url):
        return ObjectRepository(parse(url))
    return LocalRepository(root=local_path(url).absolute())
