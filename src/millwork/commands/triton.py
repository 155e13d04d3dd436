"""``triton``: install the managed Triton, say what is installed, serve a folder of models by it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .. import environments
from ..compile import kernel
from ..errors import MillworkError, PublicationError, TargetError, UsageError
from ..triton import install as managed
from ..triton import server
from ..triton.install import Installation, Status
from ..triton.server import RunningServer
from .following import LOOK_S, Follower, Watcher
from .options import ServeOptions

if TYPE_CHECKING:
    from ..triton.client import Session

Announce = Callable[[str], None]


def install(announce: Announce) -> Installation:
    """The managed Triton, installed where it isn't there."""
    return managed.install(announce)


def status() -> Status:
    """What of it is installed."""
    return managed.status()


def backend_library() -> Path:
    """Our backend's library for other servers; TargetError where it wasn't built."""
    library = kernel.triton_library()
    if library is None:
        raise TargetError(
            f"{kernel.TRITON_LIBRARY} wasn't built when millwork was installed, for want of a C++ compiler",
            "Install one (Debian, Ubuntu: apt install g++) and millwork again.",
        )
    return library


def prepare(options: ServeOptions, announce: Announce) -> Installation:
    """The managed Triton with what the models need; UsageError for a folder or a model that isn't there."""
    repository = Path(options.repository)
    if not repository.is_dir():
        raise UsageError(f"--repository {repository}: no such folder", "Give the folder of the models' folders.")
    for name in options.names:
        if not (repository / name).is_dir():
            raise UsageError(f"--name {name}: no model of that name in {repository}")
    installation = managed.install(announce)
    managed.provide(installation, _requirements(repository, options.names), announce)
    return installation


@contextlib.contextmanager
def started(installation: Installation, options: ServeOptions) -> Iterator[RunningServer]:
    """The server. Its log stays where it ends by itself, not where Ctrl-C ends it."""
    log = environments.cache_folder() / "logs" / f"serve-{os.getpid()}.log"
    try:
        with server.start(
            installation,
            Path(options.repository),
            grpc_port=options.grpc_port,
            http_port=options.http_port,
            metrics_port=options.metrics_port,
            log=log,
        ) as running:
            yield running
    except KeyboardInterrupt:
        log.unlink(missing_ok=True)
        raise


def load(running: RunningServer, names: tuple[str, ...], watcher: Watcher) -> dict[str, tuple[int, ...]]:
    """Load these models, or all: the versions of each that is ready. PublicationError where one of these isn't, or none
    is."""
    from ..triton.client import Session

    with Session(running.grpc_url) as session:
        failures = _failures(session, names, watcher)
        versions = {name: session.versions(name) for name in session.models()}
    served = {name: ready for name, ready in versions.items() if ready}
    if failures and (names or not served):
        raise failures[0]
    return served


def follower(installation: Installation, options: ServeOptions, announce: Announce) -> Follower:
    """Follows what is published from now on."""
    repository = Path(options.repository)

    def provide(name: str) -> None:
        managed.provide(installation, _requirements(repository, (name,)), announce)

    return Follower(repository, options.names, provide)


def wait(running: RunningServer, following: Follower, watcher: Watcher) -> None:
    """Until Ctrl-C, serving what is published meanwhile; PublicationError where the server ends by itself."""
    from ..triton.client import Session

    with Session(running.grpc_url) as session:
        while (code := running.ended(LOOK_S)) is None:
            try:
                following.look(session, watcher)
            except PublicationError as error:
                if running.ended(LOOK_S) is None:
                    watcher.failed(error)
    raise PublicationError(f"Triton ended by itself with status {code}:\n{running.log_tail()}", f"Log: {running.log}")


def _failures(session: Session, names: tuple[str, ...], watcher: Watcher) -> list[MillworkError]:
    """Why those failed that did; each is told at once."""
    failures: list[MillworkError] = []
    for name in names or session.models():
        try:
            with watcher.loading(name):
                session.load(name)
        except PublicationError as error:
            failures.append(error)
            watcher.failed(error)
    return failures


def _requirements(repository: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The Python packages that each model's served version needs; a folder without a manifest needs none of us."""
    from ..artifacts import repository as published
    from ..compile.runners.load import may_be_installed

    found: list[str] = []
    for folder in sorted(path for path in repository.iterdir() if path.is_dir() and (not names or path.name in names)):
        with contextlib.suppress(MillworkError):  # a folder that isn't a model's, or a config that Triton will refuse
            manifests = [entry.manifest for entry in published.versions(repository, folder.name) if entry.served]
            found += [
                requirement
                for manifest in manifests
                if manifest is not None and manifest.triton_backend == "python"
                for requirement in manifest.requirements
                if may_be_installed(requirement)  # else that model says itself what it lacks
            ]
    return tuple(dict.fromkeys(found))
