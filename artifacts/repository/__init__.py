"""A local Triton model repository: publish into it atomically, roll back, and see what it holds."""

from __future__ import annotations

from .layout import foresee
from .ledger import Flight, in_flight
from .listing import VersionEntry, find_version, served_version, versions
from .names import check_name, local_path
from .publication import NoBackendError, publish
from .rollback import rollback

__all__ = [
    "Flight",
    "NoBackendError",
    "VersionEntry",
    "check_name",
    "find_version",
    "foresee",
    "in_flight",
    "local_path",
    "publish",
    "rollback",
    "served_version",
    "versions",
]
