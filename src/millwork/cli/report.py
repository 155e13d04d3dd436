"""``millwork report``: write a run's report again from its run.json."""

from __future__ import annotations

from pathlib import Path

from ..commands.options import RunDirectory
from ..pipeline.option import expanded
from .command import command


@command()
def report(run_dir: RunDirectory) -> int:
    """Write a run's report again.

    From RUN_DIR/run.json it makes RUN_DIR/report.html and report.md, and prints the page's path.
    """
    from ..commands import report as reports
    from .console import answer

    answer(str(reports.report(Path(expanded(run_dir)))), "the report is written")
    return 0
