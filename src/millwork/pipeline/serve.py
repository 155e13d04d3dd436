"""A candidate to bundles: what is published, and what a server of ours has answered the golden rows from."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from ..artifacts import manifest as manifests
from ..artifacts.assemble import Evidence, ServedBy, assemble, golden_rows
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import Rehearsed, rehearse
from ..compile.kernel import TRITON_BACKEND
from ..errors import ModelError, UsageError
from ..progress import Progress
from ..storage import archives, wire
from ..storage.files import atomic_write, refusal, sha256_file
from ..storage.opening import read_limited
from ..storage.run_directory import DONE_FILE, RESULT_FILE, STAGES, Stage, changes
from ..triton import config as triton_config
from ..triton import install
from ..triton.config_settings import carried
from ..triton.serving import Serving, session
from ..triton.settings import Settings
from ..tuning.outcome import Setup
from ..validators.parity import Answers
from ..validators.rows import given
from ..validators.rows.given import Given
from ..values import Record, Value
from ..values.served import Known
from .run import Candidate, CheckedCandidate, Model, Run, Truth

CHOSEN_FILE = "chosen.json"
"""In the run directory: the names of the ``serve`` stages of what the last run chose, the best first."""

GOLDEN_TOGETHER = 4
"""Where rows affect each other: the first ones, which the framework too was asked as one row and three."""


class Prepared(Value):
    """Beside it: ``version/``, a version's files with their manifest. ``rehearsed``: None but on a server of ours.
    ``known``: how the run knew that the server has our backend."""

    triton_backend: str
    config: str
    rehearsed: Rehearsed | None
    known: Known = ""


class RehearsalError(Exception):
    """A server of ours doesn't serve a bundle, or answers wrong: why."""


@dataclass(frozen=True)
class BundleSource:
    """What a candidate's bundles are made of, and the server that they are for. ``evidence``: what the gate and the
    measuring found of the candidate."""

    run: Run
    model: Model
    truth: Truth
    candidate: Candidate
    evidence: Evidence
    serving: Serving

    @classmethod
    def of(
        cls, run: Run, model: Model, truth: Truth, checked: CheckedCandidate, serving: Serving, found: Record
    ) -> Self:
        """Of a candidate that passed. ``found``: what the run knows so far."""
        return cls(run, model, truth, checked.built, checked.evidence(found), serving)


def for_trials(source: BundleSource, settings: Settings) -> tuple[Bundle, ...]:
    """The candidate as bundles to be tried on the server, one for each Triton backend that could serve it."""
    return _entered(source, settings, _order(source))


def to_measure_only(source: BundleSource, settings: Settings) -> tuple[Bundle, ...]:
    """The same for Triton backends that nothing is written for, since the server isn't known to have them."""
    return _entered(source, settings, source.serving.only_measured(source.candidate.artifact.triton_backend))


def _entered(source: BundleSource, settings: Settings, backends: Sequence[str]) -> tuple[Bundle, ...]:
    setup = Setup(settings=settings)
    stages = [_bundle_stage("enter", source, backend, setup, rehearsed=False) for backend in backends]
    return tuple(load_bundle(stage.folder, stage.value.config) for stage in stages)


def serve(source: BundleSource, setup: Setup) -> tuple[Bundle, ...] | str:
    """The winner as bundles to publish, the best Triton backend first; or why the server serves none.

    A server of our own has answered the golden rows from the one bundle that comes back. A server that runs already
    isn't rehearsed on: a model that fails to load there, or is being unloaded, makes it not ready (Triton's strict
    readiness). It gets a bundle a backend, and :func:`.publish.publish` finds out which it has.
    """
    prepared: list[Stage[Prepared]] = []
    reasons: list[str] = []
    for backend in (setup.backend,) if setup.backend else _order(source):
        try:
            stage = _bundle_stage("serve", source, backend, setup, rehearsed=True)
        except RehearsalError as error:
            reasons.append(f"as {backend}: {error}")
            continue
        prepared.append(stage)
        if stage.value.rehearsed is not None:
            break
    bundles = tuple(load_bundle(stage.folder, stage.value.config) for stage in prepared)
    if bundles:
        prepared += _other_ways(source, setup)
        _remember(source.run, [stage.folder for stage in prepared])
    native = source.candidate.artifact.triton_backend
    return bundles or "; ".join(reasons) or f"the server has no backend for {native}"


def _other_ways(source: BundleSource, setup: Setup) -> list[Stage[Prepared]]:
    """The same for Triton backends that the server isn't known to have: ``publish`` may be told that it has."""
    other = Setup(settings=setup.other_settings or setup.settings, backend=setup.backend and TRITON_BACKEND)
    made = []
    for backend in source.serving.only_measured(source.candidate.artifact.triton_backend):
        with contextlib.suppress(RehearsalError):
            made.append(_bundle_stage("serve", source, backend, other, rehearsed=True))
    return made


def _order(source: BundleSource) -> tuple[str, ...]:
    """Triton backends to try. On a server that runs already and can't be asked which it has, the one that serves the
    present version comes first."""
    order = source.serving.served_by(source.candidate.artifact.triton_backend)
    plan = source.run.plan
    if source.serving.backends is not None or not source.serving.url or plan.repository is None:
        return order
    served = plan.repository.incumbent(plan.name).manifest
    present = served.triton_backend if served is not None else ""
    return tuple(sorted(order, key=lambda name: name != present))


def _bundle_stage(name: str, source: BundleSource, backend: str, setup: Setup, *, rehearsed: bool) -> Stage[Prepared]:
    """The bundle for one Triton backend, kept. ``rehearsed``: a server of ours has answered from it."""
    made = _rehearsed if rehearsed else _assembled
    key = {
        "built": source.candidate.artifact,
        "file": sha256_file(source.candidate.model_file),
        "evidence": source.evidence,
        "backend": backend,
        "release": source.serving.release,
        "name": source.run.plan.name,
        "answers": sha256_file(source.truth.answers_file),
        "setup": setup,
        "server": source.serving.installation or source.serving.url,
        "known": source.serving.own,
    }
    return source.run.directory.stage(name, key, lambda folder: made(source, backend, setup, folder), Prepared)


def _assembled(source: BundleSource, backend: str, setup: Setup, folder: Path) -> Prepared:
    artifact, release = source.candidate.artifact, source.serving.release
    version = folder / "version"
    version.mkdir()
    own = {} if setup.backend else artifact.parameters  # what was measured on the server is left as it is
    settings = carried(setup.settings, backend, own, release)
    bundle = assemble(
        version,
        source.run.plan.name,
        artifact,
        source.candidate.folder,
        ServedBy(
            triton_backend=backend,
            release=release,
            settings=settings,
            known=source.serving.own,
            other=setup.other,
        ),
        source.model.signature,
        source.evidence,
        _golden(source),
    )
    config = triton_config.with_settings(bundle.config, settings, setup.reasons, setup.heading)
    return Prepared(triton_backend=backend, config=config, rehearsed=None, known=source.serving.own)


def _golden(source: BundleSource) -> tuple[Given, Answers]:
    """The rows that a server is asked before and after a publication, and the framework's answers to them."""
    truth, signature = source.truth, source.model.signature
    answers = archives.array(truth.answers_file, "r")
    rows = given.load(truth.rows_folder, mapped=True)
    if not signature.output.independent_rows:
        return rows[:GOLDEN_TOGETHER], np.asarray(answers[:GOLDEN_TOGETHER])
    exact = not signature.is_net or source.candidate.artifact.precision == "fp32" or not truth.rows.user
    return golden_rows(rows, answers, truth.rows.adversarial, hard=exact)


def _rehearsed(source: BundleSource, backend: str, setup: Setup, folder: Path) -> Prepared:
    """The same, and on a server of ours asked the golden rows. RehearsalError where it doesn't answer them: that isn't
    kept, since what is in the way may be the machine's memory."""
    made = _assembled(source, backend, setup, folder)
    bundle = load_bundle(folder, made.config)
    if source.serving.installation is None:
        return made
    _provide(source.serving, bundle, source.run.progress)
    with session(source.serving) as asked:
        rehearsed = rehearse(asked, bundle)
    if not rehearsed.agreed:
        raise RehearsalError(rehearsed.reason)
    return msgspec.structs.replace(made, rehearsed=rehearsed)


def load_bundle(folder: Path, config: str) -> Bundle:
    """The bundle of a ``serve`` stage's folder, its files checked against their digests."""
    version = folder / "version"
    manifest = manifests.read_intact(version)
    return Bundle(
        folder=version, name=manifest.name, config=config, manifest=manifest, manifest_sha256=manifests.sha256(version)
    )


def chosen(run_dir: Path) -> tuple[Bundle, ...]:
    """The bundles that the last run in ``run_dir``, dry or not, chose; UsageError where there are none."""
    return chosen_for(run_dir)[0]


def chosen_for(run_dir: Path) -> tuple[tuple[Bundle, ...], Known]:
    """The same, and how the run knew that the server has our backend."""
    try:
        folders = wire.decode(read_limited(run_dir / CHOSEN_FILE), tuple[str, ...])
        stages = [run_dir / STAGES / Path(name).name for name in folders]
        made = [wire.decode(read_limited(stage / RESULT_FILE), Prepared) for stage in stages]
    except (OSError, msgspec.DecodeError) as error:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise UsageError(refusal(error, run_dir), "Run optimize again in this run directory.") from error
        raise UsageError(
            f"{run_dir}: no run in it that chose a candidate", "Run optimize with --run-dir first (--dry-run will do)."
        ) from error
    if not stages:
        raise UsageError(f"{run_dir}: its run chose no candidate that could be served", "Run optimize again.")
    for stage in stages:
        if told := changes(stage):
            raise ModelError(
                f"{stage}: not as the run left it: {'; '.join(told[:4])}", "Nothing is published. Run optimize again."
            )
    bundles = tuple(load_bundle(stage, one.config) for stage, one in zip(stages, made, strict=True))
    return bundles, made[0].known


def forget_choice(run_dir: Path) -> None:
    """A run begins: what the one before chose isn't this one's, nor is what it left."""
    (run_dir / DONE_FILE).unlink(missing_ok=True)
    (run_dir / CHOSEN_FILE).unlink(missing_ok=True)


def _remember(run: Run, folders: Sequence[Path]) -> None:
    atomic_write(run.directory.path / CHOSEN_FILE, wire.encode([folder.name for folder in folders]))


def _provide(serving: Serving, bundle: Bundle, progress: Progress) -> None:
    if serving.installation is not None and bundle.manifest.triton_backend == "python":
        install.provide(serving.installation, bundle.manifest.requirements, progress.detail)
