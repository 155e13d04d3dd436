"""``millwork triton install | serve | status | backend``: the managed Triton, and our backend for any other."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.text import Text

from .. import environments
from ..artifacts.report import text
from ..errors import MillworkError, PublicationError, TargetError, UsageError
from .console import Console, answer, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..triton.client import Session
    from ..triton.install import Status
    from ..triton.server import RunningServer


@click.group()
def triton() -> None:
    """The managed Triton: a real server out of pip packages, without Docker."""


@triton.command()
def install() -> None:
    """Install it into the user's cache folder (about 0.6 GB; nothing where it is there)."""
    from ..triton import install as managed

    console = Console()
    with _progress(console, "installing Triton") as announce:
        installed = managed.install(announce)
    console.print(plain(f"Triton {installed.version} is installed: {_folder(installed.environment)}"), soft_wrap=True)


@triton.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def status(as_json: bool) -> None:
    """Say what is installed, its versions and its size."""
    from ..triton import install as managed

    found = managed.status()
    if as_json:
        answer(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    console = Console(stdout=True)
    for line in _described(found):
        console.print(plain(line), soft_wrap=True)


@triton.command()
def backend() -> None:
    """Print where our backend's library is, to be copied into a server's backend folder."""
    from ..compile import kernel

    library = kernel.triton_library()
    if library is None:
        raise TargetError(
            f"{kernel.TRITON_LIBRARY} wasn't built when millwork was installed, for want of a C++ compiler",
            "Install one (Debian, Ubuntu: apt install g++) and millwork again.",
        )
    answer(str(library))


@triton.command()
@click.option("--repository", required=True, type=click.Path(path_type=Path), help="The folder of models.")
@click.option("--name", "names", multiple=True, help="A model to load; may be repeated. Default: all there are.")
@click.option("--grpc-port", type=int, help="Default: a free one.")
@click.option("--http-port", type=int, help="Default: a free one.")
@click.option("--metrics-port", type=int, help="Default: a free one.")
def serve(
    repository: Path,
    names: tuple[str, ...],
    grpc_port: int | None,
    http_port: int | None,
    metrics_port: int | None,
) -> None:
    """Serve a model repository on this machine, until Ctrl-C."""
    from ..triton import install as managed
    from ..triton import server

    if not repository.is_dir():
        raise UsageError(f"--repository {repository}: no such folder", "Give the folder of the models' folders.")
    for name in names:
        if not (repository / name).is_dir():
            raise UsageError(f"--name {name}: no model of that name in {repository}")
    console = Console()
    log = environments.cache_folder() / "logs" / f"serve-{os.getpid()}.log"
    try:
        with _progress(console, "preparing Triton") as announce:
            installation = managed.install(announce)
            managed.provide(installation, _requirements(repository, names), announce)
        with server.start(
            installation,
            repository,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            log=log,
        ) as running:
            _load_and_wait(console, running, names)
    except KeyboardInterrupt:
        console.print("stopped")
        log.unlink(missing_ok=True)


def _load_and_wait(console: Console, running: RunningServer, names: tuple[str, ...]) -> None:
    """Load, say what is served and where, and wait for Ctrl-C; PublicationError if the server ends by itself."""
    from ..triton.client import Session

    with Session(running.grpc_url) as session:
        failures = _load(console, session, names)
        served = {name: session.versions(name) for name in session.models()}
    lines = [f"  {name}  version {', '.join(map(str, ready))}" for name, ready in served.items() if ready]
    if failures and (names or not lines):
        raise failures[0]
    urls = Text.assemble((running.grpc_url, "bold"), f"  {running.http_url}  {running.metrics_url}")
    console.print(urls, soft_wrap=True)
    for line in (*(lines or ["  no models yet"]), f"log: {running.log}", "Ctrl-C stops it."):
        console.print(plain(line), soft_wrap=True)
    code = running.wait()
    raise PublicationError(f"Triton ended by itself with status {code}:\n{running.log_tail()}", f"Log: {running.log}")


def _load(console: Console, session: Session, names: tuple[str, ...]) -> list[MillworkError]:
    """Load these models, or all; why those that failed did. What a model says is shown at once."""
    failures: list[MillworkError] = []
    for name in names or session.models():
        try:
            with console.status(plain(f"loading {name}")):
                session.load(name)
        except PublicationError as error:
            failures.append(error)
            console.print(Text.assemble(("✗ ", "red"), text.visible(error.message)), soft_wrap=True)
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


@contextlib.contextmanager
def _progress(console: Console, doing: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the last step beside it; on a terminal only."""
    with console.status(doing) as spinner:
        yield lambda line: spinner.update(plain(f"{doing}: {line}"))


def _described(found: Status) -> list[str]:
    known = f"Triton {found.triton} (release {found.release})"
    if not found.installed:
        return [f"{known}: not installed", *(f"  {problem}" for problem in found.problems)]
    shown = [
        f"{name} {found.packages[name]}" for name in ("onnxruntime", "numpy", "treelite") if name in found.packages
    ]
    return [
        f"{known}: installed, {found.bytes / 1e9:.1f} GB in {found.path}",
        f"  {found.python}, {', '.join(shown)}",
        *(f"  {problem}" for problem in found.problems),
    ]


def _folder(environment: environments.Environment | None) -> str:
    return environment.path if environment else ""
