"""A bundle out of a run directory, which is data: whatever a server would run of it is written anew.

Code is the package's. The configuration must be the one that millwork writes for such a version with these settings:
so it names no file outside, no other environment, no library. What stays is the model's file, its golden rows, and
figures.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from .. import triton_releases
from ..compile import kernel
from ..compile.backends import table
from ..compile.runners import load as runners
from ..errors import ModelError
from ..triton import config as triton_config
from ..triton.config import ConfigRequest
from ..values import Manifest, ServedWay
from . import manifest as manifests
from . import package_code
from .bundle import Bundle, seal
from .served_way import served_way

_CODE = re.compile(r"\.(py|pyc|pyd|pyi|so|dll|dylib|pth|sh|egg|whl)(\.|$)", re.IGNORECASE)
_PLAIN = re.compile(r"[^/\\\x00-\x1f\x7f]*")
AGAIN = "Nothing is published. Run optimize again, and publish what it chooses."


def renewed(bundle: Bundle, folder: Path) -> Bundle:
    """``bundle`` in the new ``folder``. ModelError for a file, a setting or a field that millwork wouldn't have
    written; TargetError where this installation lacks code that it needs."""
    manifest = bundle.manifest
    _require_known(bundle)
    code = package_code.of(manifest)
    folder.mkdir(parents=True)
    for entry in manifest.files:
        if entry.path not in code:
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / entry.path, folder / entry.path)
    for name, path in code.items():
        shutil.copyfile(path, folder / name)
    sealed = seal(folder, msgspec.structs.replace(manifest, served=_served(manifest, folder)), bundle.config)
    was = {entry.path: entry.sha256 for entry in manifest.files if entry.path not in code}
    now = {entry.path: entry.sha256 for entry in sealed.manifest.files if entry.path not in code}
    if was != now:
        raise ModelError(f"{bundle.folder}: its files were changed while they were read", AGAIN)
    return sealed


def changed_code(bundle: Bundle, again: Bundle) -> list[str]:
    """The names of the code files of ``bundle`` that aren't as :func:`renewed` wrote them."""
    now = {entry.path: entry.sha256 for entry in again.manifest.files}
    return [entry.path for entry in bundle.manifest.files if now.get(entry.path) != entry.sha256]


def config_request(manifest: Manifest, triton_backend: str) -> ConfigRequest:
    """What decides the configuration of a version that is published, its settings apart."""
    features = manifest.features
    return ConfigRequest(
        name=manifest.name,
        triton_backend=triton_backend,
        release=triton_releases.find(manifest.triton_release),
        model_file=manifest.model_file,
        model_sha256=manifest.source.sha256,
        features=len(features.names),
        output=manifest.output,
        categories=len(features.category_names),
        category_dtype=features.category_dtype,
        parameters=manifest.parameters,
        plan=manifest.plan,
    )


def _require_known(bundle: Bundle) -> None:
    """ModelError where the bundle isn't one that this package writes."""
    manifest, where = bundle.manifest, bundle.folder
    row = table.row(manifest.backend)
    if not row.provider and manifest.runner not in row.runners:
        raise ModelError(f"{where}: {manifest.backend} isn't run by {manifest.runner[:60]!r}", AGAIN)
    if manifest.triton_backend not in (row.triton_backend, "python"):
        raise ModelError(
            f"{where}: {manifest.backend} isn't served by Triton's {manifest.triton_backend[:60]!r}", AGAIN
        )
    if alien := [need for need in manifest.requirements if not runners.may_be_installed(need)]:
        raise ModelError(f"{where}: it asks for the package {alien[0][:100]!r}, which no candidate needs", AGAIN)
    if odd := [name for name, value in manifest.parameters.items() if not _plain(name, value)]:
        raise ModelError(f"{where}: its parameter {odd[0][:60]!r} looks like a path", AGAIN)
    _require_own_files(bundle, ours=not row.provider)
    _require_own_config(bundle)


def _require_own_files(bundle: Bundle, *, ours: bool) -> None:
    manifest = bundle.manifest
    code = package_code.of(manifest)
    data = {manifest.model_file, manifest.golden_file, *package_code.TABLES}
    for path in (entry.path for entry in manifest.files):
        known = path in code or (path in data if ours else not _CODE.search(path))
        if not known or (path in data and _CODE.search(path)):
            raise ModelError(
                f"{bundle.folder}: {path[:100]} isn't a file that millwork writes for such a version", AGAIN
            )


def _require_own_config(bundle: Bundle) -> None:
    settings = triton_config.settings_of(bundle.config)
    request = config_request(bundle.manifest, bundle.manifest.triton_backend)
    written = triton_config.render(msgspec.structs.replace(request, settings=settings))
    if fields := triton_config.differing(bundle.config, triton_config.with_settings(written, settings)):
        raise ModelError(
            f"{bundle.folder}: its {manifests.CONFIG_FILE} says what millwork doesn't write: {', '.join(fields)}", AGAIN
        )


def _plain(name: str, value: str) -> bool:
    """Whether a parameter is no path. (Names of columns and categories stand in JSON, and may hold anything.)"""
    return value.startswith(("[", "{")) or (_PLAIN.fullmatch(value) is not None and _PLAIN.fullmatch(name) is not None)


def _served(manifest: Manifest, folder: Path) -> ServedWay:
    """By what it is served, said anew: figures are kept, words aren't."""
    library = folder / kernel.LIBRARY
    was = manifest.served
    return served_way(
        manifest.triton_backend,
        table.row(manifest.backend).triton_backend,
        manifest.requirements,
        manifest.triton_release,
        was.known if was else "",
        was.other if was else None,
        kernel.glibc(library) if library.is_file() else (0, 0),
    )
