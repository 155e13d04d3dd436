"""``millwork triton install | serve | status | backend``: the managed Triton, and our backend for any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..commands.options import ServeOptions
from .command import AsJson, add, command, group

if TYPE_CHECKING:
    from ..triton.install import Status

triton = group("The managed Triton: a real server, installed from pip, without Docker.")


@add(triton, "install")
@command()
def install() -> None:
    """Install it into the user's cache folder (about 0.6 GB). Does nothing if it is installed."""
    from ..commands import triton as commands
    from .console import Console, plain
    from .spinner import progress

    console = Console()
    with progress(console, "installing Triton") as announce:
        installed = commands.install(announce)
    where = installed.environment.path if installed.environment else ""
    console.print(plain(f"Triton {installed.version} is installed: {where}"), soft_wrap=True)


@add(triton, "status")
@command()
def status(as_json: AsJson = False) -> None:
    """Say what is installed, its versions and its size."""

    from ..commands import triton as commands
    from .console import Console, answer_json, plain

    found = commands.status()
    if as_json:
        answer_json(found)
        return
    console = Console(stdout=True)
    for line in _described(found):
        console.print(plain(line), soft_wrap=True)


@add(triton, "backend")
@command()
def backend() -> None:
    """Print where our backend's library is. Copy it into a server's backend folder."""
    from ..commands import triton as commands
    from .console import answer

    answer(str(commands.backend_library()))


@add(triton, "serve")
@command(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve a model repository on this machine, until Ctrl-C.

    What is published meanwhile is served too, and a rollback.
    """
    from rich.text import Text

    from ..commands import triton as commands
    from .console import Console, plain
    from .spinner import Loading, progress

    console = Console()
    try:
        with progress(console, "preparing Triton") as announce:
            installation = commands.prepare(options, announce)
        with commands.started(installation, options) as running:
            following = commands.follower(installation, options, lambda _: None)
            served = commands.load(running, options.names, Loading(console))
            urls = Text.assemble((running.grpc_url, "bold"), f"  {running.http_url}  {running.metrics_url}")
            console.print(urls, soft_wrap=True)
            lines = [f"  {name}  version {', '.join(map(str, ready))}" for name, ready in served.items()]
            for line in (*(lines or ["  no models yet"]), f"log: {running.log}", "Ctrl-C stops it."):
                console.print(plain(line), soft_wrap=True)
            commands.wait(running, following, Loading(console))
    except KeyboardInterrupt:
        console.print("stopped")


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
