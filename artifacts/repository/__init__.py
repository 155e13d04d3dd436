"""A Triton model repository: publish into it atomically, roll back, and see what it holds.

The functions here are those of a folder; :func:`at` opens one by its URL, in an object store too.
"""

from __future__ import annotations

from .base import NoBackendError, Repository, VersionEntry
from .layout import foresee
from .ledger import Transaction, unfinished
from .listing import find_version, served_version, versions
from .local import LocalRepository
from .names import check_name, local_path
from .opening import at
from .publication import publish
from .rollback import rollback

__all__ = [
    "LocalRepository",
    "NoBackendError",
    "Repository",
    "Transaction",
    "VersionEntry",
    "at",
    "check_name",
    "find_version",
    "foresee",
    "local_path",
    "publish",
    "rollback",
    "served_version",
    "unfinished",
    "versions",
]
