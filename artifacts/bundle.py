"""A bundle: a folder that is ready to become a version of a model in a Triton repository."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from ..errors import InternalError
from ..storage.files import digest
from ..triton import config as triton_config
from ..values import Manifest, Value
from . import manifest as manifests


class Bundle(Value):
    """``folder`` holds the version's files and ``manifest.json``; ``config`` is the text of its config.pbtxt.

    ``config`` names some version in its version policy; publishing puts the right one there.
    """

    folder: Path
    name: str
    config: str
    manifest: Manifest
    manifest_sha256: str


def seal(folder: Path, manifest: Manifest, config: str) -> Bundle:
    """Take the digest of every file in ``folder``, and write ``folder/manifest.json`` with them.

    ``manifest.files`` is filled here, whatever it held; ``manifest.name`` is the model's name. Raises ``OSError``
    where a file can't be read, :class:`InternalError` for a symbolic link (what it points at could change
    later), a model or golden file that isn't in the folder, and a config that isn't this model's.
    """
    paths = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    if links := [path.name for path in paths if path.is_symlink()]:
        raise InternalError(f"{folder}: it holds symbolic links, which can't be published: {', '.join(links)}")
    listed = tuple(
        digest(path, folder)
        for path in paths
        if path.is_file() and path.relative_to(folder).as_posix() not in manifests.UNLISTED
    )
    if absent := {manifest.model_file, manifest.golden_file} - {"", *(entry.path for entry in listed)}:
        raise InternalError(f"{folder}: the manifest names {', '.join(sorted(absent))}, which the folder doesn't hold")
    if triton_config.parse(config).name != manifest.name:
        raise InternalError(f"{folder}: its config.pbtxt doesn't name the model {manifest.name}")
    sealed = msgspec.structs.replace(manifest, files=listed)
    content = manifests.write(folder, sealed)
    return Bundle(
        folder=folder,
        name=manifest.name,
        config=config,
        manifest=sealed,
        manifest_sha256=manifests.sha256_of(content),
    )


TIMED = frozenset({"crossover"})
"""Parameters of an artifact that were timed where it was built: they change how fast it answers, never what."""


def content_digest(manifest: Manifest, config: str) -> str:
    """What a client would notice, as one sha256: two bundles of the same digest serve the same.

    It covers every file's digest, the configuration (its comments and version policy apart), the source model,
    and the fields of the manifest that say how to call and read the model. Not: when and on what machine it was
    made, by which millwork, the measured latency and parity, and the parameters in :data:`TIMED`.
    """
    decisive = (
        manifest.name,
        manifest.backend,
        manifest.precision,
        manifest.triton_backend,
        manifest.triton_release,
        manifest.model_file,
        manifest.features,
        manifest.output,
        manifest.runner,
        sorted((name, value) for name, value in manifest.parameters.items() if name not in TIMED),
        sorted(manifest.requirements),
        manifest.golden_file,
        manifest.golden_abs,
        manifest.golden_rel,
        manifest.source.sha256,
        sorted((entry.path, entry.sha256) for entry in manifest.files),
        triton_config.fingerprint(config, without=TIMED),
    )
    return hashlib.sha256(msgspec.json.encode(decisive)).hexdigest()
