"""``report``: a run's report again, from its run.json."""

from __future__ import annotations

from pathlib import Path

from ..artifacts import report as reports
from ..pipeline import run_record


def report(run_dir: Path) -> Path:
    """Write both, the page and the Markdown, into the run's folder; the page's path."""
    return reports.write(run_record.read(run_dir), run_dir)
