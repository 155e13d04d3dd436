"""The report of a run: ``report.html``, one static page on its own, and ``report.md``, the same for a pull request.

Both are made of the record (``run.json``) alone, so that they can be made again from it.
"""

from __future__ import annotations

from pathlib import Path

from ...files import atomic_write
from ...values import Record
from .markdown import render_markdown
from .page import render_html

__all__ = ["HTML_FILE", "MARKDOWN_FILE", "render_html", "render_markdown", "write"]

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"


def write(record: Record, folder: Path) -> Path:
    """Write both into ``folder``, which exists; the page's path. ``OSError`` where it can't be written."""
    page = folder / HTML_FILE
    atomic_write(folder / MARKDOWN_FILE, render_markdown(record).encode())
    atomic_write(page, render_html(record).encode())
    return page
