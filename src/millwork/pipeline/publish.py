"""A bundle into the repository, verified on the server that has loaded it, and back to an earlier version."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path

import msgspec

from .. import gpus, interrupts
from ..artifacts import manifest as manifests
from ..artifacts import repository
from ..artifacts.bundle import Bundle
from ..artifacts.bundle_rehearsal import ask_golden
from ..artifacts.repository import Repository
from ..artifacts.repository.base import Sign
from ..artifacts.repository.lock import Waiting
from ..artifacts.repository.object_store.store import StoreError
from ..artifacts.repository.terms import ANY, Terms
from ..errors import MillworkError, PublicationError
from ..progress import Progress
from ..storage import scratch
from ..triton import install
from ..triton.client import Session
from ..triton.readiness import NO_BACKEND, forget
from ..triton.serving import Serving, session
from ..values import Manifest, Publication, Value
from ..values.tensorrt_plan import Place, misfit
from . import our_backend, rehearsal


class Rehearsal(Value):
    """Where what is published answers before it serves. ``done``: in words, where it did already; else it is ``asked``
    now."""

    done: str = ""
    asked: rehearsal.Asked = rehearsal.Asked()


NOT_YET = Rehearsal()
_SAYS = re.compile(r"\bserves\b|\bstill does\b")
"""A message that has what serves now."""


def publish(
    bundles: Sequence[Bundle],
    into: Repository,
    serving: Serving,
    progress: Progress,
    sign: Sign | None = None,
    terms: Terms = ANY,
    rehearsed: Rehearsal = NOT_YET,
) -> tuple[Publication, Bundle]:
    """Rehearse and commit the first bundle whose backend the server has, and verify what the server has loaded.
    PublicationError if it fails that, and was taken back. ``sign``: puts a signature beside the files before that."""
    with telling(into, bundles[0].name):
        return _publish(bundles, into, serving, progress, sign, terms, rehearsed)


@contextlib.contextmanager
def telling(into: Repository | None, name: str) -> Iterator[None]:
    """A PublicationError says what serves now, also where nothing was begun."""
    try:
        yield
    except PublicationError as error:
        told(error, into, name)
        raise


def told(error: MillworkError, into: Repository | None, name: str) -> MillworkError:
    """``error``, which says what serves now where it is one of publishing."""
    if into is not None and isinstance(error, PublicationError) and not _SAYS.search(error.message):
        error.message += f"; {_serves(into, name, error)}"
    return error


def _serves(into: Repository, name: str, error: PublicationError) -> str:
    unread = "what served before still does"
    if isinstance(error, StoreError):  # another answer would take as long
        return unread
    try:
        version = into.serves(name)
    except (MillworkError, OSError):
        return unread
    return "no version of the model serves" if version is None else f"version {version} still serves"


def _publish(
    bundles: Sequence[Bundle],
    into: Repository,
    serving: Serving,
    progress: Progress,
    sign: Sign | None,
    terms: Terms,
    rehearsed: Rehearsal,
) -> tuple[Publication, Bundle]:
    fitting = [bundle for bundle in bundles if serving.takes(bundle.manifest.triton_backend)]
    if not fitting:
        raise our_backend.unfit([bundle.manifest.triton_backend for bundle in bundles], serving)
    if serving.there and fitting[0].manifest.triton_release != serving.release.name:
        progress.note(
            f"written for Triton {fitting[0].manifest.triton_release}, and the server is {serving.release.name}"
        )
    for bundle in fitting:
        _require_fit(bundle)
    into.foresee(fitting[0].name)
    before = _present(into, fitting[0].name, progress)
    _require_own_model(into, fitting[0].name, serving)
    asked = msgspec.structs.replace(rehearsed.asked, serves=before)
    for bundle in fitting:
        where = rehearsed.done or rehearsal.before(bundle, serving, asked, progress)
        verify = _asker(bundle.name, into, serving, progress)
        try:
            published = into.publish(
                bundle,
                verify=verify,
                restored=_restorer(bundle.name, serving),
                sign=sign,
                terms=terms,
                waiting=_waiting(serving, progress),
            )
        except PublicationError as error:
            if bundle is fitting[-1] or NO_BACKEND not in error.message or interrupts.held():
                raise
            progress.note(
                f"the server has no {bundle.manifest.triton_backend} backend: trying the next that could serve"
            )
        else:
            if published.version == before:
                again = "verified again, " if published.verified else ""
                progress.note(f"version {before} serves this content already: {again}nothing new is published")
            _note(into, published, progress)
            our_backend.note(into, serving, progress)
            return msgspec.structs.replace(published, server=serving.words, rehearsed=where), bundle
    raise PublicationError("there is nothing to publish")


def _require_own_model(into: Repository, name: str, serving: Serving) -> None:
    """PublicationError where a server that runs already has a model of that name, and the repository hasn't: it reads
    another one, and taking ours back would take that model away."""
    if not serving.url or into.serves(name) is not None or into.versions(name):
        return
    with session(serving) as server:
        ready = server.versions(name)
    if ready:
        raise PublicationError(
            f"{serving.url} serves a {name!r} (version {', '.join(map(str, ready))}) that isn't in {into.url}",
            "Does that server read this repository? If so, publish under another --name.",
        )


def _require_fit(bundle: Bundle) -> None:
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
    serving = into.incumbent(name)
    if serving.version is not None and serving.manifest is None:
        progress.note(
            f"{name} has a configuration that millwork didn't write: it is replaced, and a rollback puts it back"
        )
    return serving.version


def words(publication: Publication) -> str:
    """A publication in a line."""
    rehearsed = f"rehearsed on {publication.rehearsed}, " if publication.rehearsed else ""
    verified = f"verified on {publication.server}" if publication.verified else "NOT verified: no server was asked"
    return f"version {publication.version} of {publication.name}, {rehearsed}{verified}"


def rollback(
    into: Repository, name: str, to: int | None, serving: Serving, progress: Progress, terms: Terms = ANY
) -> Publication:
    """Let an earlier version serve again, and verify it as a new one is."""
    asked = _asker(name, into, serving, progress)
    back = into.rollback(
        name,
        to,
        verify=asked,
        restored=_restorer(name, serving),
        terms=terms,
        waiting=_waiting(serving, progress),
    )
    _note(into, back, progress)
    _note_pinned(into, back, progress)
    return msgspec.structs.replace(back, server=serving.words)


def _note_pinned(into: Repository, done: Publication, progress: Progress) -> None:
    """What somebody else's configuration says of versions isn't what it said: "the latest" became a number."""
    try:
        now = into.incumbent(done.name)
    except MillworkError:  # a store that answers nothing more: it is done all the same
        return
    if now.version == done.version and now.manifest is None:
        progress.note(
            f"config.pbtxt of {done.name}, which millwork didn't write, names version {done.version} now, and no "
            "longer the latest: a newer version that is put there serves once it is named in version_policy"
        )


def _note(into: Repository, done: Publication, progress: Progress) -> None:
    """What it replaced; and a server of this user's reads what another's can't: the file modes are looked at, too."""
    for note in done.notes:
        progress.note(note)
    if why := into.unreadable(done.name, done.version):
        progress.note(f"{why}, who may read the repository: a server of another user may not load it (see chmod)")


def _waiting(serving: Serving, progress: Progress) -> Waiting:
    """Others are told how long our server may take: for the new version, and for the one before again."""
    return Waiting(takes=2 * serving.verify_s if serving.there else 0.0, say=progress.note)


def _asker(name: str, into: Repository, serving: Serving, progress: Progress) -> Callable[[int], None] | None:
    """What verifies a version after its commit: load it, ask the golden rows; None without a server."""
    if not serving.there:
        return None
    before: dict[int, str] = {}
    if not serving.explicit:
        with session(serving) as server:
            before = server.reasons(name)

    def verify(version: int) -> None:
        with scratch.folder("verify") as copies:
            ask(version, into.files(name, version, copies), copies)

    def ask(version: int, folder: Path, copies: Path) -> None:
        manifest = manifests.read(folder) if (folder / manifests.MANIFEST_FILE).exists() else None
        if manifest is not None and serving.installation is not None:
            install.provide(serving.installation, manifest.requirements, progress.detail)
        with (
            session(serving, into.for_triton or _copy(into, name, folder, copies)) as server,
            server.within(serving.verify_s),
        ):
            try:
                if serving.explicit:
                    server.load(name)
                else:
                    progress.detail(f"waiting until {serving.url} has loaded version {version}")
                    server.wait(name, version, serving.verify_s, before)
            except PublicationError as error:
                if NO_BACKEND in error.message:
                    raise repository.NoBackendError(error.message, error.hint) from error
                raise
            if not server.ready(name, version):
                ready = ", ".join(map(str, server.versions(name))) or "none"
                raise PublicationError(
                    f"Triton at {server.url} has version {ready} of {name!r} ready, not version {version}",
                    f"Does that server read {into.url}{', in explicit mode' if serving.explicit else ''}?",
                )
            if manifest is not None:
                _require_golden(server, name, version, folder, manifest)

    return verify


def _copy(into: Repository, name: str, folder: Path, copies: Path) -> str:
    """A repository of the one version, for a Triton that can't read the store; what it is given was compared."""
    models = copies / "models"
    shutil.copytree(folder, models / name / folder.name)
    (models / name / manifests.CONFIG_FILE).write_text(into.config(name))
    return str(models)


def _require_golden(server: Session, name: str, version: int, folder: Path, manifest: Manifest) -> None:
    verdict = ask_golden(server, name, version, folder, manifest)
    if not verdict.agreed:
        raise PublicationError(f"version {version} of {name!r} is loaded and answers wrong: {verdict.reason}")


def _restorer(name: str, serving: Serving) -> Callable[[int | None], None] | None:
    """After a version was taken back: let a server that goes on running load what serves again."""
    if not serving.url:
        return None

    def restored(version: int | None) -> None:
        with session(serving) as server, server.within(serving.verify_s):
            if version is None:
                if serving.explicit:
                    forget(server, name)
                return
            if not serving.explicit:
                server.wait(name, version, serving.verify_s)
                return
            server.load(name)
            if not server.ready(name, version):
                raise PublicationError(f"{serving.url} hasn't loaded version {version} of {name!r} again")

    return restored
