"""``millwork rollback``: let an earlier version serve again."""

from __future__ import annotations

import click

from .console import Console
from .terminal import TerminalProgress


@click.command()
@click.option(
    "--repository", required=True, metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://."
)
@click.option("--name", required=True, metavar="NAME", help="The model's name in it.")
@click.option("--version", "number", type=int, metavar="N", help="Default: the version that served before.")
@click.option(
    "--triton",
    default="managed",
    show_default=True,
    metavar="WHERE",
    help="managed, none, grpc://HOST:PORT, or the path of a tritonserver.",
)
def rollback(repository: str, name: str, number: int | None, triton: str) -> int:
    """Let an earlier version serve again.

    Its configuration is put back atomically, and verified on a real Triton.
    """
    from ..artifacts.repository import at
    from ..pipeline import publish as release
    from ..triton import address
    from ..triton import serving as server

    console = Console()
    into = at(repository)
    with TerminalProgress(console) as progress:
        progress.begin("rollback", f"{repository}/{name}")
        serving = server.prepare(address.parse(triton), None, progress.detail)
        done = release.rollback(into, name, number, serving, progress)
        progress.end(release.words(done))
    return 0
