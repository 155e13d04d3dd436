"""A published version for another Triton backend: the same model's file, and what that backend needs beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from ..compile import kernel
from ..compile.backends import table
from ..errors import UsageError
from ..triton import config as triton_config
from ..values import Manifest, OtherWay
from ..values.served import Known
from . import package_code
from .bundle import Bundle, seal
from .renewed import config_request
from .served_way import served_way


def native_of(manifest: Manifest) -> str:
    """The Triton backend that the version's file is for."""
    try:
        return table.row(manifest.backend).triton_backend
    except UsageError:  # a third party's, which isn't installed here
        return manifest.triton_backend


def again(
    bundle: Bundle, triton_backend: str, folder: Path, known: Known = "", other: OtherWay | None = None
) -> Bundle:
    """``bundle`` as ``triton_backend`` serves it, in the new ``folder``; the same one may be given, to say anew how it
    is served. Its configuration keeps all that isn't the Triton backend's own."""
    manifest = bundle.manifest
    folder.mkdir(parents=True)
    python = triton_backend == "python"
    python_only: set[str] = set()
    if not python and triton_backend != manifest.triton_backend:
        python_only = set(package_code.for_python(manifest.runner))
    for entry in manifest.files:
        if entry.path not in python_only:
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / entry.path, folder / entry.path)
    config = bundle.config
    if triton_backend != manifest.triton_backend:
        if python:
            for file, path in package_code.for_python(manifest.runner).items():
                shutil.copyfile(path, folder / file)
        was, will = config_request(manifest, manifest.triton_backend), config_request(manifest, triton_backend)
        config = triton_config.with_backend(config, was, will)
    library = folder / kernel.LIBRARY
    glibc = kernel.glibc(library) if library.is_file() else (0, 0)
    needed, release = manifest.requirements, manifest.triton_release
    served = served_way(triton_backend, native_of(manifest), needed, release, known, other, glibc)
    return seal(folder, msgspec.structs.replace(manifest, triton_backend=triton_backend, served=served), config)
