"""``millwork predict``: the published artifact, run here without a server."""

from __future__ import annotations

from pathlib import Path

import click

from .console import Console, plain


@click.command()
@click.option(
    "--repository", required=True, metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://."
)
@click.option("--name", required=True, metavar="NAME", help="The model's name in it.")
@click.option("--version", "number", type=int, metavar="N", help="Default: the version that serves.")
@click.option("--input", "rows", required=True, metavar="FILE", help=".npy, .npz (array X), .parquet or .csv.")
@click.option("--trust", is_flag=True, help="The version is yours: run it without a sandbox.")
@click.option("--output", "answers", required=True, metavar="FILE.npy", help="float32 [rows, outputs].")
def predict(repository: str, name: str, number: int | None, rows: str, trust: bool, answers: str) -> int:
    """Run a published version on the rows of a file."""
    from ..commands import predict as prediction
    from ..storage import scratch

    with scratch.folder("predict") as folder:
        said = prediction.predict(repository, name, number, Path(rows), Path(answers), folder, confined=not trust)
    Console().print(plain(said), soft_wrap=True)
    return 0
