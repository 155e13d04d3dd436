"""``millwork bench``: the candidates of a model, judged and timed here, nothing published."""

from __future__ import annotations

import click
import msgspec

from ..errors import UsageError
from .console import Console, answer
from .terminal import TerminalProgress, candidates_table, print_error


@click.command()
@click.argument("model")
@click.option("--data", metavar="FILE", help="Rows to time on; without them, rows made from the model.")
@click.option("--batch", default="1,64,4096", show_default=True, metavar="A,B", help="Rows a call.")
@click.option("--threads", type=int, default=1, show_default=True, help="Threads of one call.")
@click.option("--backends", metavar="A,B", help="Only these candidates.")
@click.option("--triton-release", metavar="YY.MM", help="The release that artifacts are written for.")
@click.option("--run-dir", metavar="DIR", help="Keep the stages there. Default: nothing is kept.")
@click.option("--trust", is_flag=True, help="MODEL is yours: as for optimize.")
@click.option("--json", "as_json", is_flag=True, help="The candidates on stdout, in run.json's form.")
def bench(
    model: str,
    data: str | None,
    batch: str,
    threads: int,
    backends: str | None,
    triton_release: str | None,
    run_dir: str | None,
    trust: bool,
    as_json: bool,
) -> int:
    """Time MODEL's candidates side by side.

    Interleaved, in one process; times are of one call, in microseconds.
    """
    from ..api import to_json
    from ..pipeline import optimize as pipeline
    from ..pipeline.options import Options
    from ..storage import scratch

    sizes = [part.strip() for part in batch.split(",")]
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"--batch {batch!r}: expected row counts, such as 1,64,4096")
    with scratch.folder("bench") as folder:
        options = Options(
            model=model,
            data=data,
            backends=backends,
            traffic=f"batch={','.join(dict.fromkeys(sizes))}",
            triton_release=triton_release,
            run_dir=run_dir or str(folder),
            dry_run=True,
            threads=threads,
            triton="none",
            trust=trust,
        )
        console = Console()
        with TerminalProgress(console) as progress:
            found, error = pipeline.optimize(options, progress)
    found = msgspec.structs.replace(found, winner=None, tuning=None, publication=None, run_dir=run_dir or "")
    console.print(candidates_table(found))
    if as_json:
        answer(to_json(found))
    if error is not None:
        print_error(console, error)
        return error.exit_code
    return 0
