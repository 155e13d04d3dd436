"""Benchmarks' own sections of docs/performance.md: each between two marks, replaced by the next run."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def replaced(page: str, name: str, text: str) -> str:
    """The page with the section ``name`` written again; what stands around it stays. SystemExit where it has none."""
    begin, end = f"<!-- {name}: written by benchmarks/{name}.py -->", f"<!-- end of {name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"the page has no lines {begin} and {end}")
    return f"{before}{begin}\n{text.strip()}\n{end}{after}"


def put(name: str, text: str) -> None:
    """The same in docs/performance.md."""
    PAGE.write_text(replaced(PAGE.read_text(), name, text))
