"""A bundle's files into a store: copied and checked here, then sent and read back."""

from __future__ import annotations

import shutil
from pathlib import Path

from ....errors import ModelError, PublicationError
from ....storage import opening
from ....storage.files import digests
from ....triton import backend_rows
from ....triton import config as triton_config
from ....values import FileDigest
from ... import manifest as manifests
from ...bundle import Bundle
from ..base import Sign
from .address import Place
from .store import Store

UPLOADS = 3
"""How often a file is sent whose hash, read back, isn't its own."""


def stage(bundle: Bundle, folder: Path) -> None:
    """Copy the bundle's files, and check the copy."""
    for path in (*(entry.path for entry in bundle.manifest.files), manifests.MANIFEST_FILE):
        if not manifests.stays_inside(bundle.folder, path):
            raise ModelError(f"{bundle.folder}: {path!r} is outside the bundle's folder")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / path, folder / path)
    if manifests.sha256(folder) != bundle.manifest_sha256:
        raise PublicationError(
            f"{bundle.folder / manifests.MANIFEST_FILE}: the manifest has changed since the bundle was made"
        )
    try:
        manifests.read_intact(folder)
    except ModelError as error:
        raise PublicationError(f"{bundle.folder}: {error.message}", error.hint) from error


def upload(store: Store, place: Place, bundle: Bundle, folder: Path, version: int, sign: Sign | None) -> None:
    """Send the version's files with its own configuration, signed if that was asked, and read them back.

    The file that a server opens goes last: a model that is new has no configuration yet, and some servers then guess.
    """
    opening.write(folder / manifests.CONFIG_FILE, triton_config.with_version(bundle.config, version).encode())
    if sign is not None:
        sign(folder)
    last = backend_rows.find(bundle.manifest.triton_backend).default_file
    files = sorted(digests(folder), key=lambda entry: (entry.path == last, entry.path))
    for entry in files:
        _send(store, f"{place.version(version)}/{entry.path}", folder / entry.path, entry)


def _send(store: Store, key: str, file: Path, entry: FileDigest) -> None:
    for _ in range(UPLOADS):
        store.put(key, file)
        try:
            if store.digest(key) == (entry.sha256, entry.bytes):
                return
        except FileNotFoundError:
            continue
    raise PublicationError(
        f"{key}: the store returned other bytes than were written", "Check the object store: it loses or changes data."
    )
