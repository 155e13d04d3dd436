"""From a built candidate to a bundle: its files, what serves them, golden rows, the manifest, config.pbtxt."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .. import __version__
from ..compile import kernel
from ..compile.backends.base import Artifact
from ..compile.frontends.loaded_model import Signature
from ..storage import texts
from ..triton.config import ConfigRequest, render
from ..triton.settings import Settings
from ..triton_releases import Release
from ..validators.parity import Answers
from ..validators.rows.given import Given
from ..values import SCHEMA, Latency, Manifest, ModelSummary, OtherWay, Parity, ServedWay, TargetSummary, Value
from ..values.served import Known
from . import package_code
from .bundle import Bundle, seal
from .served_way import served_way

GOLDEN_FILE = "golden.npz"

GOLDEN_USER, GOLDEN_ADVERSARIAL = 48, 16
"""Golden rows: how many of the user's, and of the adversarial ones."""


class Evidence(Value):
    """What was found out about the candidate, for its manifest."""

    model: ModelSummary
    parity: Parity
    latency: tuple[Latency, ...]
    target: TargetSummary
    engine: str
    golden_abs: float
    golden_rel: float


class ServedBy(Value):
    """Who serves a version. ``triton_backend``: Triton's own for the file, or ``python``, which gets model.py and the
    runner beside it. ``settings``: what config.pbtxt says. ``known``: how it is known that the server has our backend;
    ``other``: what the other way gave, where that was measured."""

    triton_backend: str
    release: Release
    settings: Settings
    known: Known = ""
    other: OtherWay | None = None


def assemble(
    folder: Path,
    name: str,
    artifact: Artifact,
    built_folder: Path,
    served_by: ServedBy,
    signature: Signature,
    evidence: Evidence,
    golden: tuple[Given, Answers],
) -> Bundle:
    """Fill the empty ``folder`` with a version of the model ``name``. ``golden``: G rows and the framework's answers
    float32 [G, K]."""
    for file in (artifact.model_file, *artifact.files):
        shutil.copyfile(built_folder / file, folder / file)
    if served_by.triton_backend == "python":
        for file, path in package_code.for_python(artifact.runner).items():
            shutil.copyfile(path, folder / file)
    given = golden[0]
    words: dict[str, Any] = {} if given.categories is None else {"c": texts.packed(given.categories)}
    np.savez(folder / GOLDEN_FILE, x=given.numbers, y=golden[1], **words)
    library = folder / kernel.LIBRARY
    glibc = kernel.glibc(library) if library.is_file() else (0, 0)
    manifest = msgspec.structs.replace(
        _manifest(name, artifact, served_by, signature, evidence), served=_served(artifact, served_by, glibc)
    )
    return seal(folder, manifest, _config(name, artifact, served_by, signature))


def _config(name: str, artifact: Artifact, served_by: ServedBy, signature: Signature) -> str:
    return render(
        ConfigRequest(
            name=name,
            triton_backend=served_by.triton_backend,
            release=served_by.release,
            model_file=artifact.model_file,
            model_sha256=signature.provenance.sha256,
            features=len(signature.features.names),
            categories=len(signature.features.category_names),
            category_dtype=signature.features.category_dtype,
            output=signature.output,
            settings=served_by.settings,
            parameters=artifact.parameters,
            plan=artifact.plan,
        )
    )


def _manifest(name: str, artifact: Artifact, served_by: ServedBy, signature: Signature, evidence: Evidence) -> Manifest:
    """Of files that are still to be listed."""
    return Manifest(
        schema=SCHEMA,
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        millwork=__version__,
        backend=artifact.backend,
        precision=artifact.precision,
        triton_backend=served_by.triton_backend,
        triton_release=served_by.release.name,
        model_file=artifact.model_file,
        features=signature.features,
        output=signature.output,
        model=evidence.model,
        source=signature.provenance,
        parity=evidence.parity,
        latency=evidence.latency,
        target=evidence.target,
        requirements=artifact.requirements,
        files=(),
        runner=artifact.runner,
        parameters={**artifact.parameters, "threads": str(served_by.settings.threads)},
        golden_file=GOLDEN_FILE,
        engine=evidence.engine,
        golden_abs=evidence.golden_abs,
        golden_rel=evidence.golden_rel,
        plan=artifact.plan,
    )


def _served(artifact: Artifact, served_by: ServedBy, glibc: tuple[int, int]) -> ServedWay:
    return served_way(
        served_by.triton_backend,
        artifact.triton_backend,
        artifact.requirements,
        served_by.release.name,
        served_by.known,
        served_by.other,
        glibc,
    )


def golden_rows(given: Given, answers: Answers, adversarial: int, *, hard: bool = True) -> tuple[Given, Answers]:
    """Some of the user's rows and (``hard``) some adversarial ones, seeded, with the framework's answers. The first
    ``adversarial`` of ``given`` are adversarial."""
    rng = np.random.default_rng(0)
    own = np.arange(adversarial, len(given))
    odd = np.arange(adversarial if hard else 0)
    few = min(GOLDEN_ADVERSARIAL if len(own) else GOLDEN_ADVERSARIAL + GOLDEN_USER, len(odd))
    picked = np.concatenate(
        [rng.choice(own, min(GOLDEN_USER, len(own)), replace=False), rng.choice(odd, few, replace=False)]
    ).astype(np.intp)
    return given[picked], np.asarray(answers[picked])
