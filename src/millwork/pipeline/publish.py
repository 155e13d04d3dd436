"""The last arrows: a winner to a bundle that a real Triton has answered from, and that into the repository."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import msgspec
import numpy as np

from .. import gpus
from ..artifacts import manifest as manifests
from ..artifacts import repository
from ..artifacts.assemble import Evidence, assemble, golden_rows
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import Rehearsed, ask_golden, rehearse
from ..artifacts.repository import Repository
from ..artifacts.repository.base import Sign
from ..errors import ModelError, PublicationError, UsageError
from ..progress import Progress
from ..storage import scratch, wire
from ..storage.files import atomic_write, sha256_file
from ..storage.run_directory import RESULT_FILE, changes
from ..triton import config as triton_config
from ..triton import install
from ..triton.client import Session
from ..triton.config_settings import carried
from ..triton.readiness import NO_BACKEND, forget
from ..triton.serving import Serving, session
from ..triton.settings import Settings
from ..validators.rows import given
from ..values import Manifest, Publication, Value
from ..values.tensorrt_plan import Place, misfit
from .run import BuiltCandidate, Model, Run, Truth

CHOSEN_FILE = "chosen.json"
"""In the run directory: the names of the ``serve`` stages of what the last run chose, the best first."""

GOLDEN_TOGETHER = 4
"""Where rows affect each other: the first ones, which the framework too was asked as one row and three."""


class Prepared(Value):
    """Beside it: ``version/``, a version's files with their manifest. ``rehearsed``: None but on a server of ours."""

    triton_backend: str
    config: str
    rehearsed: Rehearsed | None


class RehearsalError(Exception):
    """A server of ours doesn't serve a bundle, or answers wrong: why."""


class Setup(Value):
    """How the winner is to be served: its settings, why each is as it is (by its path in config.pbtxt), a heading, and
    Triton's backend where it was decided by measuring."""

    settings: Settings
    reasons: dict[str, str] = msgspec.field(default_factory=dict)
    heading: str = ""
    backend: str = ""


def enter(
    run: Run,
    model: Model,
    truth: Truth,
    candidate: BuiltCandidate,
    evidence: Evidence,
    serving: Serving,
    settings: Settings,
) -> tuple[Bundle, ...]:
    """A candidate as bundles to be tried on the server, one for each Triton backend that could serve it."""
    setup = Setup(settings=settings)
    stages = [
        run.directory.stage(
            "enter",
            _key(run, truth, candidate, evidence, serving, backend, setup),
            lambda folder, backend=backend: _assembled(  # type: ignore[misc]
                run, model, truth, candidate, evidence, serving, backend, folder, setup
            ),
            Prepared,
        )
        for backend in _order(run, candidate, serving)
    ]
    return tuple(load_bundle(stage.folder, stage.value.config) for stage in stages)


def serve(
    run: Run, model: Model, truth: Truth, candidate: BuiltCandidate, evidence: Evidence, serving: Serving, setup: Setup
) -> tuple[Bundle, ...] | str:
    """The winner as bundles to publish, the best Triton backend first; or why the server serves none.

    A server of our own has answered the golden rows from the one bundle that comes back. A server that runs already
    isn't rehearsed on: a model that fails to load there, or is being unloaded, makes it not ready (Triton's strict
    readiness). It gets a bundle a backend, and :func:`publish` finds out which it has.
    """
    prepared: list[Path] = []
    bundles: list[Bundle] = []
    reasons: list[str] = []
    for backend in (setup.backend,) if setup.backend else _order(run, candidate, serving):
        try:
            stage = run.directory.stage(
                "serve",
                _key(run, truth, candidate, evidence, serving, backend, setup),
                lambda folder, backend=backend: _rehearsed(  # type: ignore[misc]
                    run, model, truth, candidate, evidence, serving, backend, folder, setup
                ),
                Prepared,
            )
        except RehearsalError as error:
            reasons.append(f"as {backend}: {error}")
            continue
        prepared.append(stage.folder)
        bundles.append(load_bundle(stage.folder, stage.value.config))
        if stage.value.rehearsed is not None:
            break
    if prepared:
        _remember(run, prepared)
    return tuple(bundles) or "; ".join(reasons) or f"the server has no backend for {candidate.built.triton_backend}"


def _order(run: Run, candidate: BuiltCandidate, serving: Serving) -> tuple[str, ...]:
    """Triton backends to try. On a server that runs already, the one that serves the present version comes first."""
    order = serving.served_by(candidate.built.triton_backend)
    into = run.plan.repository
    if not serving.url or into is None:
        return order
    served = [entry.manifest for entry in into.versions(run.plan.name) if entry.served]
    present = served[-1].triton_backend if served and served[-1] is not None else ""
    return tuple(sorted(order, key=lambda name: name != present))


def _key(
    run: Run, truth: Truth, candidate: BuiltCandidate, evidence: Evidence, serving: Serving, backend: str, setup: Setup
) -> dict[str, object]:
    """What decides a bundle."""
    return {
        "built": candidate.built,
        "file": sha256_file(candidate.folder / candidate.built.model_file),
        "evidence": evidence,
        "backend": backend,
        "release": serving.release,
        "name": run.plan.name,
        "answers": sha256_file(truth.answers_file),
        "setup": setup,
        "server": serving.installation or serving.url,
    }


def _assembled(
    run: Run,
    model: Model,
    truth: Truth,
    candidate: BuiltCandidate,
    evidence: Evidence,
    serving: Serving,
    backend: str,
    folder: Path,
    setup: Setup,
) -> Prepared:
    version = folder / "version"
    version.mkdir()
    own = {} if setup.backend else candidate.built.parameters  # what was measured on the server is left as it is
    settings = carried(setup.settings, backend, own, serving.release)
    answers = np.load(truth.answers_file, mmap_mode="r")
    rows = given.load(truth.rows_folder, mapped=True)
    exact = not model.signature.is_net or candidate.built.precision == "fp32" or not truth.rows.user
    golden = (
        golden_rows(rows, answers, truth.rows.adversarial, hard=exact)
        if model.signature.output.independent_rows
        else (rows[:GOLDEN_TOGETHER], np.asarray(answers[:GOLDEN_TOGETHER]))
    )
    bundle = assemble(
        version,
        run.plan.name,
        candidate.built,
        candidate.folder,
        backend,
        serving.release,
        model.signature,
        evidence,
        golden,
        settings=settings,
    )
    config = triton_config.with_settings(bundle.config, settings, setup.reasons, setup.heading)
    return Prepared(triton_backend=backend, config=config, rehearsed=None)


def _rehearsed(
    run: Run,
    model: Model,
    truth: Truth,
    candidate: BuiltCandidate,
    evidence: Evidence,
    serving: Serving,
    backend: str,
    folder: Path,
    setup: Setup,
) -> Prepared:
    """The same, and on a server of ours asked the golden rows. RehearsalError where it doesn't answer them: that isn't
    kept, since what is in the way may be the machine's memory."""
    made = _assembled(run, model, truth, candidate, evidence, serving, backend, folder, setup)
    bundle = load_bundle(folder, made.config)
    rehearsed = None
    if serving.installation is not None:
        _provide(serving, bundle, run.progress)
        with session(serving) as asked:
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


def publish(
    bundles: Sequence[Bundle], into: Repository, serving: Serving, progress: Progress, sign: Sign | None = None
) -> tuple[Publication, Bundle]:
    """Commit the first bundle whose backend the server has, and verify what the server has loaded. PublicationError
    if it was taken back. ``sign``: puts a signature beside the files before that."""
    fitting = [b for b in bundles if serving.backends is None or b.manifest.triton_backend in serving.backends]
    if not fitting:
        lacks = ", ".join(bundle.manifest.triton_backend for bundle in bundles)
        raise PublicationError(f"the server has no {lacks} backend", f"It has: {', '.join(serving.backends or ())}.")
    if serving.there and fitting[0].manifest.triton_release != serving.release.name:
        progress.note(
            f"written for Triton {fitting[0].manifest.triton_release}, and the server is {serving.release.name}"
        )
    for bundle in fitting:
        _demand_fit(bundle)
    into.foresee(fitting[0].name)
    before = _present(into, fitting[0].name, progress)
    _demand_own(into, fitting[0].name, serving)
    for bundle in fitting:
        verify = _asker(bundle.name, into, serving, progress)
        try:
            published = into.publish(bundle, verify=verify, restored=_restorer(bundle.name, serving), sign=sign)
        except PublicationError as error:
            if bundle is fitting[-1] or NO_BACKEND not in error.message:
                raise
            progress.note(
                f"the server has no {bundle.manifest.triton_backend} backend: trying the next that could serve"
            )
        else:
            if published.version == before:
                again = "verified again, " if published.verified else ""
                progress.note(f"version {before} serves this content already: {again}nothing new is published")
            return msgspec.structs.replace(published, server=_words(serving)), bundle
    raise PublicationError("there is nothing to publish")


def _demand_own(into: Repository, name: str, serving: Serving) -> None:
    """PublicationError where a server that runs already has a model of that name, and the repository hasn't: it reads
    another one, and taking ours back would take that model away."""
    if not serving.url or into.versions(name):
        return
    with session(serving) as server:
        ready = server.versions(name)
    if ready:
        raise PublicationError(
            f"{serving.url} serves a {name!r} (version {', '.join(map(str, ready))}) that isn't in {into.url}",
            "Does that server read this repository? If so, publish under another --name.",
        )


def _demand_fit(bundle: Bundle) -> None:
    """PublicationError for a TensorRT plan that was made for another GPU, or by another build, than are here."""
    plan = bundle.manifest.plan
    if plan is None:
        return
    seen = gpus.visible()
    gpu = seen[0] if seen else None
    place = Place(
        build=_installed("tensorrt"),
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
    )
    why = misfit(plan, place)
    if why:
        raise PublicationError(f"the plan doesn't run here: {why}", "Build it on the machine that serves it.")


def _installed(package: str) -> str:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return ""


def _present(into: Repository, name: str, progress: Progress) -> int | None:
    """The version that serves now; a note where somebody else made it."""
    served = [entry for entry in into.versions(name) if entry.served]
    if served and served[-1].manifest is None:
        progress.note(
            f"{name} has a configuration that millwork didn't write: it is replaced, and a rollback puts it back"
        )
    return served[-1].version if served else None


def chosen(run_dir: Path) -> tuple[Bundle, ...]:
    """The bundles that the last run in ``run_dir``, dry or not, chose; UsageError where there are none."""
    try:
        folders = wire.decode((run_dir / CHOSEN_FILE).read_bytes(), tuple[str, ...])
        stages = [run_dir / "stages" / Path(name).name for name in folders]
        configs = [wire.decode((stage / RESULT_FILE).read_bytes(), Prepared).config for stage in stages]
    except (OSError, msgspec.DecodeError) as error:
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
    return tuple(load_bundle(stage, config) for stage, config in zip(stages, configs, strict=True))


def forget_choice(run_dir: Path) -> None:
    """A run begins: what the one before chose isn't this one's."""
    (run_dir / CHOSEN_FILE).unlink(missing_ok=True)


def _remember(run: Run, folders: Sequence[Path]) -> None:
    atomic_write(run.directory.path / CHOSEN_FILE, wire.encode([folder.name for folder in folders]))


def words(publication: Publication) -> str:
    """A publication in a line."""
    verified = f"verified on {publication.server}" if publication.verified else "NOT verified: no server was asked"
    return f"version {publication.version} of {publication.name}, {verified}"


def rollback(into: Repository, name: str, to: int | None, serving: Serving, progress: Progress) -> Publication:
    """Let an earlier version serve again, and verify it as a new one is."""
    asked = _asker(name, into, serving, progress)
    back = into.rollback(name, to, verify=asked, restored=_restorer(name, serving))
    return msgspec.structs.replace(back, server=_words(serving))


def _asker(name: str, into: Repository, serving: Serving, progress: Progress) -> Callable[[int], None] | None:
    """What verifies a version after its commit: load it, ask the golden rows; None without a server."""
    if not serving.there:
        return None

    def verify(version: int) -> None:
        with scratch.folder("verify") as copies:
            ask(version, into.files(name, version, copies), copies)

    def ask(version: int, folder: Path, copies: Path) -> None:
        manifest = manifests.read(folder) if (folder / manifests.MANIFEST_FILE).exists() else None
        if manifest is not None and serving.installation is not None:
            install.provide(serving.installation, manifest.requirements, progress.detail)
        with session(serving, into.for_triton or _copy(into, name, folder, copies)) as server:
            try:
                server.load(name)
            except PublicationError as error:
                if NO_BACKEND in error.message:
                    raise repository.NoBackendError(error.message, error.hint) from error
                raise
            if not server.ready(name, version):
                ready = ", ".join(map(str, server.versions(name))) or "none"
                raise PublicationError(
                    f"Triton at {server.url} has version {ready} of {name!r} ready, not version {version}",
                    f"Does that server read {into.url}, in explicit mode?",
                )
            if manifest is not None:
                _demand(server, name, version, folder, manifest)

    return verify


def _copy(into: Repository, name: str, folder: Path, copies: Path) -> str:
    """A repository of the one version, for a Triton that can't read the store; what it is given was compared."""
    models = copies / "models"
    shutil.copytree(folder, models / name / folder.name)
    (models / name / manifests.CONFIG_FILE).write_text(into.config(name))
    return str(models)


def _demand(server: Session, name: str, version: int, folder: Path, manifest: Manifest) -> None:
    verdict = ask_golden(server, name, version, folder, manifest)
    if not verdict.agreed:
        raise PublicationError(f"version {version} of {name!r} is loaded and answers wrong: {verdict.reason}")


def _restorer(name: str, serving: Serving) -> Callable[[int | None], None] | None:
    """After a version was taken back: let a server that goes on running load what serves again."""
    if not serving.url:
        return None

    def restored(version: int | None) -> None:
        with session(serving) as server:
            if version is None:
                forget(server, name)
                return
            server.load(name)
            if not server.ready(name, version):
                raise PublicationError(f"{serving.url} hasn't loaded version {version} of {name!r} again")

    return restored


def _provide(serving: Serving, bundle: Bundle, progress: Progress) -> None:
    if serving.installation is not None and bundle.manifest.triton_backend == "python":
        install.provide(serving.installation, bundle.manifest.requirements, progress.detail)


def _words(serving: Serving) -> str:
    if serving.url:
        return f"Triton {serving.release.version} at {serving.url}"
    return f"Triton {serving.release.version}" if serving.installation else ""
