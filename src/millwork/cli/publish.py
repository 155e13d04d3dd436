"""``millwork publish``: publish what a run, dry or not, has chosen."""

from __future__ import annotations

from pathlib import Path

import click

from .console import Console
from .terminal import TerminalProgress


@click.command()
@click.argument("run_dir", metavar="RUN_DIR")
@click.option(
    "--repository", required=True, metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://."
)
@click.option(
    "--triton",
    default="managed",
    show_default=True,
    metavar="WHERE",
    help="managed, none, grpc://HOST:PORT, or the path of a tritonserver.",
)
@click.option("--sign", metavar="KEY.pem", help="Sign the version with this private key (elliptic curve, PEM).")
def publish(run_dir: str, repository: str, triton: str, sign: str | None) -> int:
    """Publish what the run in RUN_DIR chose.

    Verified on a real Triton, as optimize does.
    """
    from ..artifacts.repository import at
    from ..artifacts.signing import signer
    from ..pipeline import publish as release
    from ..pipeline import serve
    from ..triton import address
    from ..triton import serving as server

    console = Console()
    seal = None if sign is None else signer(Path(sign))
    bundles = serve.chosen(Path(run_dir).absolute())
    with TerminalProgress(console) as progress:
        progress.begin("publish", f"{repository}/{bundles[0].name}")
        serving = server.prepare(address.parse(triton), None, progress.detail)
        done, _ = release.publish(bundles, at(repository), serving, progress, seal)
        progress.end(release.words(done))
    return 0
