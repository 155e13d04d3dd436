"""A published version for another Triton backend: the same model's file, and what that backend needs beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from .. import triton_releases
from ..compile import kernel
from ..compile.backends import table
from ..compile.runners import load as runners
from ..errors import UsageError
from ..triton import config as triton_config
from ..triton.config import ConfigRequest
from ..values import Manifest, OtherWay
from ..values.served import Known
from .assemble import MODEL_PY, RUNNER_FILE
from .bundle import Bundle, seal
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
        python_only = {MODEL_PY.name, RUNNER_FILE, *(path.name for path in runners.beside(manifest.runner))}
    for entry in manifest.files:
        if entry.path not in python_only:
            (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / entry.path, folder / entry.path)
    config = bundle.config
    if triton_backend != manifest.triton_backend:
        if python:
            shutil.copyfile(MODEL_PY, folder / MODEL_PY.name)
            shutil.copyfile(runners.source(manifest.runner), folder / RUNNER_FILE)
            for path in runners.beside(manifest.runner):
                shutil.copyfile(path, folder / path.name)
        was, will = _request(manifest, manifest.triton_backend), _request(manifest, triton_backend)
        config = triton_config.with_backend(config, was, will)
    library = folder / kernel.LIBRARY
    glibc = kernel.glibc(library) if library.is_file() else (0, 0)
    needed, release = manifest.requirements, manifest.triton_release
    served = served_way(triton_backend, native_of(manifest), needed, release, known, other, glibc)
    return seal(folder, msgspec.structs.replace(manifest, triton_backend=triton_backend, served=served), config)


def _request(manifest: Manifest, triton_backend: str) -> ConfigRequest:
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
