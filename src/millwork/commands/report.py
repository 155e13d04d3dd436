"""``report``: a run's report again, from its run.json."""

from __future__ import annotations

from pathlib import Path

from ..artifacts import report as reports
from ..pipeline import run_record
from ..storage.run_cover import cover, record_changes


def report(run_dir: Path) -> Path:
    """Write both, the page and the Markdown, into the run's folder; the page's path."""
    page = reports.write(run_record.read(run_dir), run_dir)
    if record_changes(run_dir) is not None:
        cover(run_dir, (reports.HTML_FILE, reports.MARKDOWN_FILE))
    return page
