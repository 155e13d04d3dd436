"""Benchmarks' own sections of docs/performance.md: each between two marks, replaced by the next run."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def put(name: str, text: str) -> None:
    """Replace the section ``name``. ValueError where the page doesn't have its marks."""
    first, last = f"<!-- {name}: written by benchmarks/{name}.py -->", f"<!-- {name}: end -->"
    whole = PAGE.read_text()
    before, middle, rest = whole.partition(first)
    _, end, after = rest.partition(last)
    if not middle or not end:
        raise ValueError(f"{PAGE}: no section {first} … {last}")
    PAGE.write_text(f"{before}{first}\n\n{text.strip()}\n\n{last}{after}")
