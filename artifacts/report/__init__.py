"""The report of a run: ``report.html``, one static page on its own, and ``report.md``, the same for a pull request.

Both are made of the record (``run.json``) alone, so that they can be made again from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError

# What writes them is imported where it is done: the command line imports this package for its texts.
if TYPE_CHECKING:
    from ...progress import Progress
    from ...storage.run_directory import RunDirectory
    from ...values import Record

__all__ = ["HTML_FILE", "MARKDOWN_FILE", "keep", "render_html", "render_markdown", "write"]

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"


def render_html(record: Record) -> str:
    """The page."""
    from .page import render_html

    return render_html(record)


def render_markdown(record: Record) -> str:
    """The same for a pull request."""
    from .markdown import render_markdown

    return render_markdown(record)


def write(record: Record, folder: Path) -> Path:
    """Write both into ``folder``, which exists; the page's path. UsageError where it can't be written."""
    from ...storage.files import atomic_write, refusal

    page = folder / HTML_FILE
    try:
        atomic_write(folder / MARKDOWN_FILE, render_markdown(record).encode())
        atomic_write(page, render_html(record).encode())
    except OSError as error:
        raise UsageError(f"the report can't be written: {refusal(error, folder)}", "Choose another folder.") from error
    return page


def cover_run(folder: Path) -> None:
    """Note the digests of what the run left. UsageError where they can't be written."""
    from ...storage.files import refusal
    from ...storage.run_cover import cover

    try:
        cover(folder)
    except OSError as error:
        raise UsageError(f"{refusal(error, folder)}", "Choose another folder with --run-dir.") from error


def keep(record: Record, directory: RunDirectory, progress: Progress) -> None:
    """Both, and the record itself, into the run's own folder, with their digests. What is published stays so, though
    its record can't be written: then that is noted, and else UsageError."""
    try:
        directory.write_record(record)
        write(record, directory.path)
        cover_run(directory.path)
    except UsageError as error:
        if record.publication is None:
            raise
        version, name = record.publication.version, record.publication.name
        progress.note(f"version {version} of {name} is published, but {error.message}")
