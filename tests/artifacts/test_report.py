"""The report says what the record says, in every way that a run can end, and nothing in a record is markup."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from markdown_it import MarkdownIt
from models import records
from models.records import RECORDS

from millwork import units
from millwork.artifacts import report
from millwork.artifacts.report import text
from millwork.artifacts.report.chart import chart
from millwork.artifacts.report.pictures import pictures, unbeaten
from millwork.artifacts.report.verdict import standing, verdict
from millwork.values import Record

VOID = {"meta", "link", "br", "hr", "img", "input"}
EVERY = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())


class Page(HTMLParser):
    """The page as a reader of HTML sees it; every tag must be closed, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))
        if "small" not in self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1] += data.strip()

    def text_of(self, *tags: str) -> list[str]:
        """The texts inside these elements, the innermost last."""
        return [data for within, data in self.texts if within[-len(tags) :] == tags and data.strip()]

    def table(self, head: str) -> list[list[str]]:
        """The rows of the table that has a column called ``head``, reasons' rows left out."""
        found = next(rows for rows in self.tables if head in rows[0])
        return [row for row in found if len(row) == len(found[0])]


@EVERY
def test_the_page_is_well_formed_and_loads_nothing(record: Record) -> None:
    html = report.render_html(record)
    page = Page(html)
    assert html.startswith("<!doctype html>")
    scripts = page.text_of("script")
    assert scripts in ([], [report.page.source(report.page.SCRIPT)]), "no script but the one that sorts"
    assert sum(tag == "script" for tag, _ in page.tags) == len(scripts)
    assert not {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "form", "img", "b"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset", "data"):
            assert (attributes.get(name) or "data:,").startswith(("data:", "#")), (tag, attributes)
    styles = "".join(page.text_of("style"))
    assert "url(" not in styles
    assert "@import" not in styles
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        assert set((attributes.get("aria-labelledby") or "").split()) <= set(ids)


@pytest.mark.parametrize(
    ("name", "outcome", "words"),
    [
        ("published", "verified", "onnx-fp32 is published as version 3 of delays and verified on Triton 2.67.0."),
        ("unverified", "unverified", "onnx-fp32 is published as version 1 of delays, not verified"),
        ("ready", "ready", "Dry run, nothing is published: onnx-fp32 passed parity and was chosen."),
        ("not-published", "nothing", "Nothing is published: version 4 of 'delays' is loaded and answers wrong"),
        ("nothing-passed", "nothing", "Nothing is published: no candidate answers as the framework does."),
        ("no-candidates", "nothing", "Nothing is published: there was no candidate to judge."),
        ("elsewhere", "nothing", "Nothing is published: the target l4 isn't here"),
        ("bench", "measured", "nothing was chosen and nothing is published."),
    ],
)
def test_the_verdict_comes_first_in_one_sentence(name: str, outcome: str, words: str) -> None:
    record = RECORDS[name]
    found = verdict(record)
    assert found.outcome == outcome
    assert words in found.sentence
    page = Page(report.render_html(record))
    assert page.text_of("div", "p")[0].strip() == found.sentence
    assert [data for within, data in page.texts if "main" in within and within[-1] == "p"][1].strip() == found.sentence
    assert text.one_line(found.sentence) in unescaped(report.render_markdown(record)).split("\n")[2]


def test_a_run_that_only_lacks_what_can_be_installed_says_so() -> None:
    record = msgspec.structs.replace(records.NOTHING_PASSED, candidates=(records.UNSUPPORTED, records.DIED))
    assert verdict(record).sentence == "Nothing is published: no candidate could be built and checked."


def test_a_target_that_is_not_here_is_named_without_an_error_too() -> None:
    record = msgspec.structs.replace(records.ELSEWHERE, stopped="")
    assert verdict(record).sentence.startswith("Nothing is published: the target l4 isn't here")
    assert "NOT the target" in report.render_html(record)


@EVERY
def test_the_candidates_table_has_the_records_figures(record: Record) -> None:
    if not record.candidates:
        assert "There are no candidates." in report.render_html(record)
        return
    rows = Page(report.render_html(record)).table("Wrong leaves")[1:]
    for candidate, row in zip(record.candidates, rows, strict=True):
        stands = standing(record, candidate)
        assert row[0].removeprefix("★") == candidate.id
        assert row[0].startswith("★") == (stands.word == "winner")
        assert row[1] == stands.word
        if candidate.parity is None:
            assert row[2:6] == [text.NONE] * 4
            continue
        parity = candidate.parity
        leaves = text.NONE if parity.leaf_mismatches is None else f"{parity.leaf_mismatches:,}"
        assert row[2] == leaves
        assert row[3] == "not finite" or float(row[3]) == pytest.approx(parity.max_abs, rel=0.06)
        assert row[4] == "NaN" or number(row[4]) == parity.max_ulp
        assert number(row[5]) == parity.decision_flips


@EVERY
def test_the_latency_table_has_the_records_figures(record: Record) -> None:
    measured = sorted(
        ((line, candidate) for candidate in record.candidates for line in candidate.latency), key=lambda p: p[0].batch
    )
    if not measured:
        assert 'id="latency"' not in report.render_html(record)
        return
    rows = Page(report.render_html(record)).table("Calls")[1:]
    for (line, candidate), row in zip(measured, rows, strict=True):
        assert (number(row[0]), row[1].removeprefix("★")) == (line.batch, candidate.id)
        assert micros(row[2]) == pytest.approx(line.p50_us, rel=0.01)
        assert row[3] == text.NONE if line.p99_us is None else micros(row[3]) == pytest.approx(line.p99_us, rel=0.01)
        assert number(row[4]) == pytest.approx(line.rows_per_s, rel=0.005)
        assert number(row[5]) == line.samples


@EVERY
def test_why_each_candidate_lost_or_failed_is_there(record: Record) -> None:
    page = Page(report.render_html(record))
    told = " ".join(" ".join(page.text_of("td", "p")).split())
    for candidate in record.candidates:
        assert text.one_line(candidate.reason) in told
    if record.winner is not None:
        assert record.winner.why in told


def test_the_config_and_the_contract_are_there_in_full() -> None:
    page = Page(report.render_html(records.PUBLISHED))
    assert "".join(page.text_of("pre", "code")).endswith(records.CONFIG)
    assert page.text_of("ol", "li")[: len(records.FEATURES)] == list(records.FEATURES)
    everything = " ".join(data for _, data in page.texts)
    for said in (
        "NaN, or as -999",
        "predict_proba",
        "on time, late",
        "4,217 of 4,217 distinct thresholds",
        "xgboost 3.2.0",
        "float32 sums of 287 trees",
        "AMD EPYC",
        "kept 287 of 300 trees",
        records.PUBLISHED.run_dir,
        "millwork rollback --repository /home/ada/flights/models --name delays",
        "first 5,000",
    ):
        assert said in everything


def test_a_long_list_of_features_is_folded_away() -> None:
    page = Page(report.render_html(records.WIDE))
    assert len(page.text_of("details", "ol", "li")) == 5_000
    assert not Page(report.render_html(records.PUBLISHED)).text_of("details", "ol", "li")


def test_names_and_reasons_are_never_markup() -> None:
    html = report.render_html(records.HOSTILE)
    page = Page(html)
    everything = " ".join(data for _, data in page.texts)
    for name in (records.SCRIPT, "[red]bold[/red]", "<b>no</b>", "</td></table>", "</svg>yes"):
        assert name in everything
    for steering in ("\x1b", "\u202e"):
        assert steering not in html
        assert steering not in report.render_markdown(records.HOSTILE)
    assert r"\x1b[31mred" in everything


def test_a_path_that_is_not_unicode_can_be_written(tmp_path: Path) -> None:
    model = msgspec.structs.replace(records.MODEL, path="/home/ada/\udcff.pkl")
    page = report.write(msgspec.structs.replace(records.READY, model=model), tmp_path)
    assert r"\udcff.pkl" in page.read_text()


# ── what a reader meets ───────────────────────────────────────────────────────────────────────────────────


def test_how_to_ask_it_comes_before_every_figure() -> None:
    page = Page(report.render_html(records.KEPT))
    heads = page.text_of("section", "h2")
    assert heads[:2] == ["Ask it", "Notes"]
    assert heads.index("On the server") < heads.index("What each candidate costs") < heads.index("Latency")
    asked = "".join(page.text_of("pre", "code"))
    assert shlex.split(asked.split(" http://")[0])[-1] == records.EXAMPLE.request
    assert "http://127.0.0.1:8000/v2/models/delays/infer" in asked
    everything = " ".join(data for _, data in page.texts)
    for said in (
        f"python {records.PUBLISHED.run_dir}/client.py grpc://127.0.0.1:8001",
        "answers with 0.8217, 0.1783",
        "sent as NaN, or as -999",
        "the bare word NaN",
        "refuses null",
    ):
        assert said in everything
    shown = report.render_markdown(records.KEPT).split("## Candidates")[0]
    assert "## Ask it" in shown
    assert records.EXAMPLE.request in shown


@EVERY
def test_nothing_is_offered_to_be_asked_that_was_not_chosen(record: Record) -> None:
    assert ('id="call"' in report.render_html(record)) == (record.example is not None)


def test_a_long_request_is_left_to_the_client() -> None:
    example = msgspec.structs.replace(records.EXAMPLE, request="[" + "1.0, " * 5_000 + "]")
    html = report.render_html(msgspec.structs.replace(records.PUBLISHED, example=example))
    assert 'id="call"' in html
    assert "1.0, 1.0" not in html


def test_a_limit_that_nothing_keeps_is_answered_and_nothing_is_called_chosen() -> None:
    page = Page(report.render_html(records.MISSED))
    said = " ".join(data.strip() for within, data in page.texts if not {"style", "script"} & set(within))
    assert "Nothing is published: no configuration keeps p99<0.004ms under batch=64 clients=4." in said
    assert "Not met: p99 26.4 ms of the 4 µs asked. What limits it: waiting in the server's queue." in said
    assert "NOT met: p99 26.4 ms of the 4 µs asked" in said
    for wrong in ("Chosen", "chosen", "winner", "★", "6913", "config.pbtxt"):
        assert wrong not in said, wrong
    assert "closest" in said
    assert "config.pbtxt" not in report.render_markdown(records.MISSED).replace("configuration, versions", "")


def test_a_limit_that_is_kept_is_answered_in_the_first_block() -> None:
    page = Page(report.render_html(records.KEPT))
    assert "Limit met: p99 26.4 ms of the 50 ms asked" in page.text_of("div", "p")
    assert "Limit met: p99 26.4 ms of the 50 ms asked" in report.render_markdown(records.KEPT).split("##")[0]
    assert "1.26 times the rows/s of Triton's default" in " ".join(data for _, data in page.texts)


def test_pictures_of_differences_are_drawn_only_where_a_precision_costs_something() -> None:
    """Where all are exact, or as near as float32 sums are, time alone decides."""
    assert [picture.key for picture in pictures(records.NET)][:2] == ["tradeoff", "errors"]
    assert pictures(records.PUBLISHED) == ()
    assert "answered worst" not in report.render_html(records.PUBLISHED)
    assert "answered worst" in report.render_html(records.NET)


def test_a_column_in_which_all_lines_are_the_same_is_left_out() -> None:
    page = Page(report.render_html(records.FOUND))
    heads = page.text_of("section", "h2")
    assert "What each candidate costs" in heads
    assert all("precision" not in row[0] for row in page.tables)
    assert "What each precision costs" in Page(report.render_html(records.NET)).text_of("section", "h2")


def test_many_units_in_the_last_place_beside_a_small_difference_are_explained() -> None:
    line = msgspec.structs.replace(records.ONNX, parity=records.parity(65_536))
    html = report.render_html(msgspec.structs.replace(records.PUBLISHED, candidates=(line,)))
    assert "65,536 of onnx-fp32 with a largest difference of 1.2e-07" in html
    assert "last place" not in report.render_html(records.BENCH).replace("units in the last place of float32", "")


@EVERY
def test_times_have_the_unit_that_suits_them(record: Record) -> None:
    for written in (report.render_html(record), report.render_markdown(record)):
        assert not re.search(r"\d,\d{3}(\.\d+)? µs", written)


# ── the chart ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_chart_has_a_labelled_mark_for_each_figure_and_the_winners_stand_out() -> None:
    drawn = chart(records.PUBLISHED)
    assert drawn is not None
    assert [panel.batch for panel in drawn.panels] == [1, 64]
    marks = [mark for panel in drawn.panels for mark in panel.marks]
    by_time = sorted(marks, key=lambda mark: mark.x)
    lines = [line for candidate in records.PUBLISHED.candidates for line in candidate.latency]
    assert [mark.label for mark in by_time] == [text.duration(us) for us in sorted(line.p50_us for line in lines)]
    assert [mark.name for mark in marks if mark.winner] == ["onnx-fp32", "onnx-fp32"]
    for mark in marks:
        assert drawn.left <= mark.low < mark.x < mark.high <= drawn.right
    assert len(drawn.ticks) >= 3
    page = Page(report.render_html(records.PUBLISHED))
    assert sum(tag == "circle" for tag, _ in page.tags) == len(lines)
    assert {mark.title for mark in marks} <= set(page.text_of("g", "title"))


@pytest.mark.parametrize("us", [0.05, 1.0, 9.99, 1e6])
def test_one_figure_alone_makes_a_chart(us: float) -> None:
    alone = msgspec.structs.replace(records.ONNX, latency=(records.latency(1, us, None),))
    drawn = chart(msgspec.structs.replace(records.PUBLISHED, candidates=(alone,)))
    assert drawn is not None
    assert len(drawn.ticks) >= 3
    assert len({tick.label for tick in drawn.ticks}) == len(drawn.ticks)


def test_no_figures_no_chart() -> None:
    assert chart(records.NOTHING_PASSED) is None


def test_the_pareto_front_is_what_no_other_beats_in_both() -> None:
    assert unbeaten([(3, 1), (1, 5), (2, 5), (4, 0.5), (3, 2), (5, 0.5)]) == [(1, 5), (3, 1), (4, 0.5)]
    assert unbeaten([(2, 1), (2, 0)]) == [(2, 0)]


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────────────


@EVERY
def test_the_markdown_is_text_and_whole_tables(record: Record) -> None:
    written = report.render_markdown(record)
    tokens = MarkdownIt("commonmark").enable("table").parse(written)
    inner = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in inner} <= {"text", "strong_open", "strong_close", "softbreak", "text_special"}
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert all(re.fullmatch(r"<details><summary>[\w, ]+</summary>|</details>", block) for block in html)
    tables = sum(token.type == "table_open" for token in tokens)
    assert tables == written.count("\n\n| ")
    for block in re.findall(r"(?:^\|.*\n)+", written, flags=re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_markdown_has_names_and_the_config_as_they_are() -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(report.render_markdown(records.HOSTILE))
    said = ["".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"]
    for name in (records.SCRIPT, "a|b", "`tick`", "*star*_under_", f"onnx-{records.SCRIPT}"):
        assert name in said
    fences = [token.content for token in tokens if token.type == "fence"]
    assert records.HOSTILE.tuning is not None
    assert records.HOSTILE.tuning.config in fences


def test_the_markdown_tables_have_the_records_figures() -> None:
    written = report.render_markdown(records.PUBLISHED)
    assert "| onnx-fp32 | ★ winner | 0 | 1.2e-07 | 2 | 0 | 1.22 MiB | 1.91 s |" in written
    assert "| 64 | reference-fp32 | 604 µs | 597 to 612 µs | \u2013 |  | 106,000 | 480 |" in written


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────────


def test_both_files_are_written_and_replace_the_ones_before(tmp_path: Path) -> None:
    report.write(records.NOTHING_PASSED, tmp_path)
    page = report.write(records.PUBLISHED, tmp_path)
    assert page == tmp_path / "report.html"
    assert page.read_text() == report.render_html(records.PUBLISHED)
    assert (tmp_path / "report.md").read_text() == report.render_markdown(records.PUBLISHED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.md"]


@EVERY
def test_a_report_can_be_made_again_from_run_json(record: Record) -> None:
    again = msgspec.json.decode(msgspec.json.encode(record), type=Record)
    assert report.render_html(again) == report.render_html(record)


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (7.8412, "7.84"), (9.996, "10.0"), (11.84, "11.8"), (1240.5, "1,240"), (379e3, "379,000")],
)
def test_three_figures(value: float, shown: str) -> None:
    assert text.figures(value) == shown


@pytest.mark.parametrize(
    ("us", "shown"),
    [
        (6.34, "6.3 µs"),
        (99.96, "100 µs"),
        (412.4, "412 µs"),
        (999.7, "1.00 ms"),
        (26_408, "26.4 ms"),
        (999_600, "1.00 s"),
        (1.24e6, "1.24 s"),
        (None, text.NONE),
        (float("inf"), text.NONE),
    ],
)
def test_times(us: float | None, shown: str) -> None:
    assert text.duration(us) == shown


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ((5.2, 9_400), ["5.2", "9,400"]),
        ((120, 26_408), ["0.120", "26.4"]),
        ((5.2, 26_408), ["5.2 µs", "26.4 ms"]),
    ],
)
def test_a_column_has_one_unit_where_one_suits_all(times: tuple[float, ...], shown: list[str]) -> None:
    unit = units.common(times)
    assert [units.within(us, unit) for us in times] == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1023, "1023 B"), (411_000, "401 KiB"), (1 << 20, "1.00 MiB")]
)
def test_sizes(count: int, shown: str) -> None:
    assert text.size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.4, "0.40 s"), (12.34, "12.3 s"), (59.96, "60.0 s"), (125, "2 min 05 s")]
)
def test_seconds(value: float, shown: str) -> None:
    assert text.seconds(value) == shown


def micros(shown: str) -> float:
    """A time as it is shown, in microseconds."""
    figure, unit = shown.split()
    return number(figure) * {"µs": 1, "ms": 1e3, "s": 1e6}[unit]


def number(shown: str) -> float:
    return float(shown.replace(",", ""))


def unescaped(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_the_markdown_of_a_pull_request_is_short_and_folds_the_rest() -> None:
    written = report.render_markdown(records.NET)
    shown, folded = written.split("<details>", 1)
    for head in ("What each precision costs", "Candidates"):
        assert f"## {head}" in shown
    for head in ("Latency", "The metric on your labels", "What a client sends and gets", "config.pbtxt", "Versions"):
        assert f"## {head}" in folded
    assert folded.endswith("</details>\n")
    assert len(shown.splitlines()) < 50


def test_what_ran_on_a_gpu_has_its_own_time_and_memory() -> None:
    """In columns that are there only then."""
    timed = tuple(msgspec.structs.replace(line, gpu_us=6.25, copies_us=3.5) for line in records.ONNX.latency)
    on_gpu = msgspec.structs.replace(records.ONNX, id="native-cuda-fp32", gpu_bytes=24 << 20, latency=timed)
    written = report.render_markdown(msgspec.structs.replace(records.BENCH, candidates=(on_gpu, records.FIL)))
    heads, _, first, second = next(
        [line.split("|") for line in lines]
        for lines in zip(*(written.splitlines()[i:] for i in range(4)), strict=False)
        if "GPU memory" in lines[0]
    )
    column = {head.strip(): i for i, head in enumerate(heads)}
    own, memory = column["GPU time, batch 1"], column["GPU memory"]
    assert "6.2 µs" in first[own]
    assert "and 3.5 µs of copies" in first[own]
    assert "24.0 MiB" in first[memory]
    assert second[own].strip() == second[memory].strip() == text.NONE
    assert "GPU" not in report.render_markdown(records.BENCH)
