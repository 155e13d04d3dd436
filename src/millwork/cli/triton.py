"""``millwork triton install | serve | status | backend``: the managed Triton, and our backend for any other."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from ..artifacts.report import text
from ..commands.options import ServeOptions
from .command import AsJson, add, command, group
from .console import Console, answer, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..errors import MillworkError
    from ..triton.install import Status

triton = group("The managed Triton: a real server out of pip packages, without Docker.")


@add(triton, "install")
@command()
def install() -> None:
    """Install it into the user's cache folder (about 0.6 GB; nothing where it is there)."""
    from ..commands import triton as commands

    console = Console()
    with _progress(console, "installing Triton") as announce:
        installed = commands.install(announce)
    where = installed.environment.path if installed.environment else ""
    console.print(plain(f"Triton {installed.version} is installed: {where}"), soft_wrap=True)


@add(triton, "status")
@command()
def status(as_json: AsJson = False) -> None:
    """Say what is installed, its versions and its size."""
    from ..commands import triton as commands

    found = commands.status()
    if as_json:
        answer(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    console = Console(stdout=True)
    for line in _described(found):
        console.print(plain(line), soft_wrap=True)


@add(triton, "backend")
@command()
def backend() -> None:
    """Print where our backend's library is. Copy it into a server's backend folder."""
    from ..commands import triton as commands

    answer(str(commands.backend_library()))


@add(triton, "serve")
@command(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve a model repository on this machine, until Ctrl-C."""
    from ..commands import triton as commands

    console = Console()
    try:
        with _progress(console, "preparing Triton") as announce:
            installation = commands.prepare(options, announce)
        with commands.started(installation, options) as running:
            served = commands.load(running, options.names, _Loading(console))
            urls = Text.assemble((running.grpc_url, "bold"), f"  {running.http_url}  {running.metrics_url}")
            console.print(urls, soft_wrap=True)
            lines = [f"  {name}  version {', '.join(map(str, ready))}" for name, ready in served.items()]
            for line in (*(lines or ["  no models yet"]), f"log: {running.log}", "Ctrl-C stops it."):
                console.print(plain(line), soft_wrap=True)
            commands.wait(running)
    except KeyboardInterrupt:
        console.print("stopped")


class _Loading:
    """Models that are loaded, as a person sees it: a spinner for each, and what doesn't load at once."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def loading(self, name: str) -> AbstractContextManager[object]:
        return self._console.status(plain(f"loading {name}"))

    def failed(self, error: MillworkError) -> None:
        self._console.print(Text.assemble(("✗ ", "red"), text.visible(error.message)), soft_wrap=True)


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
