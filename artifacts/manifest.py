"""``manifest.json``: what a published version says of itself, and whether its files are still those.

It lies in the version's folder and lists every other file of it with size and sha256, except itself and
``config.pbtxt`` (the version's own copy of the configuration, which names a version and so is written last).
A manifest by itself tells damage and mix-ups, not a forger who may write the folder: for that there is
:mod:`.signing`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import msgspec

from ..errors import InternalError, ModelError
from ..storage import wire
from ..storage.files import atomic_write, refusal, sha256_file
from ..storage.opening import read_limited
from ..values import SCHEMA, FileDigest, Manifest

MANIFEST_FILE = "manifest.json"
CONFIG_FILE = "config.pbtxt"
SIGNATURE_FILE = "model.sig"
UNLISTED = frozenset({MANIFEST_FILE, CONFIG_FILE, SIGNATURE_FILE})
"""The files of a version's folder that its manifest doesn't list."""
LONGEST = 64 << 20
"""Bytes of a manifest that are read: one with a million categories' names takes 20 MiB."""


def write(folder: Path, manifest: Manifest) -> bytes:
    """Write ``folder/manifest.json``, whole or not at all; returns its bytes. ``OSError`` where it can't be."""
    content = encode(manifest)
    atomic_write(folder / MANIFEST_FILE, content)
    return content


def encode(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, ending in a newline.

    It must read back as the same value: JSON has no NaN, and msgspec writes ``null`` for one, which no reader of
    ours would accept (:class:`InternalError`: who filled that field has to keep it finite).
    """
    content = msgspec.json.format(wire.encode(manifest), indent=2) + b"\n"
    try:
        same = wire.decode(content, Manifest) == manifest
    except msgspec.DecodeError as error:
        raise InternalError(f"{manifest.name}: this manifest can't be written as JSON: {error}") from error
    if not same:
        raise InternalError(f"{manifest.name}: the manifest isn't the same when it is read back")
    return content


def read(folder: Path) -> Manifest:
    """The manifest in ``folder``; :class:`ModelError` where it is missing, isn't one, or is of a later schema."""
    path = folder / MANIFEST_FILE
    try:
        manifest = wire.decode(read_limited(path, LONGEST), Manifest)
    except OSError as error:
        raise ModelError(
            f"{refusal(error, path)}; expected the manifest of a version that millwork published"
        ) from error
    except msgspec.DecodeError as error:
        raise ModelError(f"{path}: not a manifest: {error}", "Publish the model again.") from error
    if manifest.schema > SCHEMA:
        raise ModelError(
            f"{path}: the manifest has schema {manifest.schema}; this millwork reads schemas up to {SCHEMA}",
            "Upgrade millwork.",
        )
    for named in (manifest.model_file, manifest.golden_file):
        if named and not stays_inside(folder, named):
            raise ModelError(
                f"{path}: it names {named!r}, which is outside the version's folder", "Publish the model again."
            )
    return manifest


def read_intact(folder: Path) -> Manifest:
    """The manifest in ``folder`` once every file it lists is there unchanged; else :class:`ModelError` names them."""
    manifest = read(folder)
    unlisted = {manifest.model_file, manifest.golden_file} - {"", *(entry.path for entry in manifest.files)}
    problems = [f"the manifest names {name}, but its list of files lacks it" for name in sorted(unlisted)]
    if problems := [*problems, *verify_files(folder, manifest)]:
        raise ModelError(
            f"{folder}: {'; '.join(problems)}", "Publish the model again, or roll back to another version."
        )
    return manifest


def verify_files(folder: Path, manifest: Manifest | None = None) -> list[str]:
    """What is wrong with the files of ``folder``, one sentence each, by its manifest (read where not given).

    Files that the manifest doesn't list are left alone: a server may write caches beside a model.
    """
    listed = (manifest or read(folder)).files
    return [problem for entry in listed if (problem := _problem(folder, entry))]


def sha256(folder: Path) -> str:
    """The sha256 of ``folder/manifest.json`` as it lies there: what run.json calls ``manifest_sha256``."""
    return sha256_file(folder / MANIFEST_FILE)


def sha256_of(content: bytes) -> str:
    """The sha256 of bytes in memory, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def stays_inside(folder: Path, path: str) -> bool:
    """Whether the manifest's ``path`` is relative, plain and, symbolic links followed, inside ``folder``."""
    pure = PurePosixPath(path)
    if (
        not path
        or len(path) > 1000
        or "\0" in path
        or pure.is_absolute()
        or ".." in pure.parts
        or pure.as_posix() != path
    ):
        return False
    return (folder / path).resolve().is_relative_to(folder.resolve())


def _problem(folder: Path, entry: FileDigest) -> str:
    if not stays_inside(folder, entry.path):
        return f"{entry.path!r} is outside the version's folder"
    path = folder / entry.path
    if not path.is_file():
        return f"{entry.path} is missing"
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{entry.path} has {size} bytes, the manifest says {entry.bytes}"
        digest = sha256_file(path)
    except OSError as error:
        return refusal(error, path)
    if digest != entry.sha256:
        return f"{entry.path} was changed: sha256 {digest[:12]}…, the manifest says {entry.sha256[:12]}…"
    return ""
