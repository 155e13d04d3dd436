"""``millwork verify``: is what is published still what it was? Which file isn't?"""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from ..errors import ModelError, UsageError
from .console import Console, answer, plain


@click.command()
@click.argument("run_dir", metavar="[RUN_DIR]", required=False)
@click.option("--repository", metavar="URL", help="The Triton model repository: a folder, s3://, gs:// or az://.")
@click.option("--name", metavar="NAME", help="The model's name in it.")
@click.option("--version", "number", type=int, metavar="N", help="Default: the version that serves.")
@click.option("--key", metavar="FILE", help="A public key (PEM): it must have signed the version.")
@click.option("--json", "as_json", is_flag=True, help="What was found, on stdout.")
def verify(
    run_dir: str | None, repository: str | None, name: str | None, number: int | None, key: str | None, as_json: bool
) -> int:
    """Compare a published version, or a run's stages, with the hashes that were taken when they were made.

    Every file that is missing, changed or added is named; then the exit code is 3.
    """
    from ..commands import verify as verification

    public = None if key is None else Path(key)
    if run_dir is not None and repository is None:
        found = verification.run(Path(run_dir), public)
    elif run_dir is None and repository is not None and name is not None:
        found = verification.version(repository, name, number, public)
    else:
        raise UsageError("verify what?", "Give --repository URL and --name NAME, or a run's folder.")
    if as_json:
        answer(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    if found.problems:
        listed = "\n".join(f"  {problem}" for problem in found.problems[:12])
        more = f"\n  and {len(found.problems) - 12} more" if len(found.problems) > 12 else ""
        raise ModelError(f"{found.where} isn't as it was made:\n{listed}{more}", "Publish again, or roll back.")
    signed = ", signed by this key" if found.signed else ""
    Console().print(plain(f"{found.where}: {found.files} files, all as they were made{signed}"), soft_wrap=True)
    return 0
