"""``millwork bench``: the candidates of a model, judged and timed here, nothing published."""

from __future__ import annotations

from typing import Annotated

from ..commands.options import BenchOptions
from ..pipeline.option import Opt
from .command import command


@command(BenchOptions)
def bench(
    options: BenchOptions,
    as_json: Annotated[bool, Opt("--json", help="Print the candidates on stdout, in run.json's form.")] = False,
) -> int:
    """Time MODEL's candidates side by side.

    All are timed in one process, in turn. A time is of one call, in microseconds.
    """
    from ..commands import bench as benches
    from .console import Console, answer_json
    from .terminal import TerminalProgress, candidates_table, print_error

    console = Console()
    with TerminalProgress(console) as progress:
        found, error = benches.bench(options, progress)
    console.print(candidates_table(found))
    if as_json:
        answer_json(found)
    if error is not None:
        print_error(console, error)
        return error.exit_code
    return 0
