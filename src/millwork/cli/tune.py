"""``millwork tune``: another configuration for what is published, measured on a real server."""

from __future__ import annotations

from ..commands.options import TuneOptions
from .command import AsRecord, command


@command(TuneOptions)
def tune(options: TuneOptions, as_json: AsRecord = False) -> int:
    """Tune the Triton configuration of a published model.

    Only config.pbtxt changes. It is published as a new version, atomically, and verified. Trials are loaded under
    temporary names; no other model is touched.
    """
    from ..commands import tune as tuning
    from .console import Console, answer_json, plain
    from .terminal import TerminalProgress, print_error, served
    from .tuning_table import tuning_table

    request = tuning.requested(options)
    console = Console()
    with TerminalProgress(console) as progress:
        found, error = tuning.tune(request, progress)
    console.print()
    console.print(tuning_table(found))
    console.print(served(found))
    if as_json:
        answer_json(found, f"the record is in {found.run_dir}/run.json")
    if error is not None:
        print_error(console, error)
    console.print(plain(f"report: {found.run_dir}/report.html", "dim"), soft_wrap=True)
    return 0 if error is None else error.exit_code
