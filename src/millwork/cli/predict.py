"""``millwork predict``: the published artifact, run here without a server."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console


@click.command()
@click.option("--repository", required=True, metavar="URL", help="The Triton model repository.")
@click.option("--name", required=True, metavar="NAME", help="The model's name in it.")
@click.option("--version", "number", type=int, metavar="N", help="Default: the version that serves.")
@click.option("--input", "rows", required=True, metavar="FILE", help=".npy, .npz (array X), .parquet or .csv.")
@click.option("--trust", is_flag=True, help="The version is yours: run it without a sandbox.")
@click.option("--output", "answers", required=True, metavar="FILE.npy", help="float32 [rows, outputs].")
def predict(repository: str, name: str, number: int | None, rows: str, trust: bool, answers: str) -> int:
    """Run a published version on the rows of a file."""
    from .. import prediction, scratch

    with scratch.folder("predict") as folder:
        said = prediction.predict(repository, name, number, Path(rows), Path(answers), folder, confined=not trust)
    Console(stderr=True).print(said, highlight=False, soft_wrap=True)
    return 0
