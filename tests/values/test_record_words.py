"""A record as Python and a notebook show it: short, and nothing in it is markup."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec

from millwork.values import CandidateRecord, ModelSummary, Publication, Record, TargetSummary, Winner

EVIL = "<script>alert(1)</script>\x1b[31m\u202e"
RECORD = Record(
    schema=1,
    model=ModelSummary(framework="xgboost", objective="o", sha256="0" * 64, features=("a",), outputs=("b",), path=EVIL),
    target=TargetSummary(name="host", measured_on="here", is_target=True),
    candidates=(
        CandidateRecord(id="onnx-fp32", backend="onnx", precision="fp32", status="passed"),
        CandidateRecord(id="fil-fp32", backend="fil", precision="fp32", status="unsupported", reason=f"{EVIL} " * 999),
    ),
    winner=Winner(id="onnx-fp32", why="it is the fastest"),
    run_dir="/runs/churn",
)


class Tags(HTMLParser):
    """The names of a page's elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


def test_a_record_is_a_line() -> None:
    line = repr(RECORD)
    assert (
        "nothing published (dry run); winner onnx-fp32; 2 candidates, 1 passed; report /runs/churn/report.html" in line
    )
    assert line.isprintable()
    published = Publication(repository="s3://m", name="churn", version=3, manifest_sha256="", verified=True)
    line = repr(msgspec.structs.replace(RECORD, publication=published))
    assert line.startswith("<Record churn: published version 3 in s3://m, verified; winner onnx-fp32;")
    stopped = msgspec.structs.replace(RECORD, winner=None, stopped="no candidate answers:\n  onnx: far off")
    assert "nothing published: no candidate answers:; 2 candidates" in repr(stopped)


def test_a_notebook_shows_a_table_in_which_nothing_is_markup() -> None:
    page = RECORD._repr_html_()
    assert Tags(page).names == {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert "&lt;script&gt;" in page
    assert page.isprintable()
    assert len(page) < 3000
    assert all(word in page for word in ("onnx-fp32", "winner", "unsupported", "/runs/churn/report.html"))
