"""What a person sees in a terminal: it fits, it can be copied, and nothing in a record steers the terminal."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import msgspec
import pytest
from models import records
from models.records import RECORDS
from rich.cells import cell_len
from rich.console import Console

from millwork import units
from millwork.cli.terminal import TerminalProgress, candidates_table, outcome, print_error
from millwork.cli.tuning_table import tuning_table
from millwork.errors import ParityError, UsageError
from millwork.progress import Progress
from millwork.values import Record

EVERY = pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS.keys())
WIDTHS = pytest.mark.parametrize("width", [60, 80, 120])
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "xgboost 3.2.0, binary:logistic, 287 trees, 18,368 nodes, 17 features, and then a good deal more than fits"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, whatever runs the tests."""
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def console(*, terminal: bool, width: int = 80) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=width), file


def shown(file: io.StringIO) -> list[str]:
    """The lines that stay on the screen, without colours. What a spinner wrote over is left out."""
    written = file.getvalue().replace("\x1b[1A\x1b[2K", "").split("\n")
    return [ESCAPES.sub("", line.rpartition("\r")[2]).rstrip() for line in written]


def job(progress: Progress) -> None:
    progress.begin("load", "delays.pkl")
    progress.detail("reading")
    progress.end(LONG)
    progress.note("the pickle was [bold]not[/bold] unpickled")
    progress.begin("check", "onnx-fp32")
    progress.end("onnx-fp32: equal on 25,217 rows", cached=True)
    progress.begin("check", "native-fp32")
    progress.end("native-fp32: NOT equal", ok=False)


def interrupted(target: Console) -> None:
    with TerminalProgress(target) as progress:
        progress.begin("measure", "batches 1, 64")
        raise KeyboardInterrupt


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_terminal_each_stage_is_one_plain_line() -> None:
    target, file = console(terminal=False)
    with TerminalProgress(target) as progress:
        job(progress)
    lines = file.getvalue().splitlines()
    assert [re.sub(r"\d+\.\d\d s", "0.00 s", line) for line in lines] == [
        f"load     {LONG} (0.00 s)",
        "note: the pickle was [bold]not[/bold] unpickled",
        "check    onnx-fp32: equal on 25,217 rows (kept)",
        "check    FAILED: native-fp32: NOT equal (0.00 s)",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_in_ci_too(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    target, file = console(terminal=terminal)
    with TerminalProgress(target) as progress:
        job(progress)
    assert "\x1b" not in file.getvalue()
    assert len(file.getvalue().splitlines()) == 4


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    target, file = console(terminal=True)
    with TerminalProgress(target) as progress:
        job(progress)
    assert "\x1b" not in file.getvalue()


@WIDTHS
def test_on_a_terminal_a_done_line_takes_the_spinners_place(width: int) -> None:
    target, file = console(terminal=True, width=width)
    with TerminalProgress(target) as progress:
        job(progress)
    lines = shown(file)
    assert max(map(len, lines)) <= width
    assert [line[:10] for line in lines if line[:1] in "✓✗" and line] == ["✓ load    ", "✓ check   ", "✗ check   "]
    assert re.fullmatch(r"✓ check    onnx-fp32: equal on 25,217 rows +kept", next(x for x in lines if "kept" in x))
    assert LONG.rsplit(maxsplit=1)[-1] in " ".join(lines)
    assert "note: the pickle was [bold]not[/bold] unpickled" in " ".join(" ".join(lines).split())
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")  # the cursor is shown again


def test_no_color_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    target, file = console(terminal=True)
    with TerminalProgress(target) as progress:
        job(progress)
    coloured = re.compile(r"\x1b\[(?:[0-9]+;)*(?:3[0-7]|38|9[0-7])[;m]")
    assert not coloured.search(file.getvalue())
    assert "✓" in file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_that_is_stopped_says_in_which_stage(terminal: bool) -> None:
    target, file = console(terminal=terminal)
    with pytest.raises(KeyboardInterrupt):
        interrupted(target)
    assert "measure" in file.getvalue()
    assert "stopped" in shown(file)[-2]
    assert "✗" in shown(file)[-2] if terminal else "FAILED" in shown(file)[-2]
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h")


def test_nothing_in_a_summary_steers_the_terminal() -> None:
    target, file = console(terminal=False)
    with TerminalProgress(target) as progress:
        progress.begin("load", "\x1b[2J")
        progress.end("model \x1b]0;title\x07\r\nof someone")
        progress.note("\x1b[31mred")
    assert re.sub(r"\d\.\d\d", "0", file.getvalue()) == (
        r"load     model \x1b]0;title\x07\r of someone (0 s)" + "\n" + r"note: \x1b[31mred" + "\n"
    )


# ── the table, and the outcome ────────────────────────────────────────────────────────────────────────────


@EVERY
@WIDTHS
@pytest.mark.parametrize("terminal", [True, False])
def test_it_fits_and_has_every_candidate(record: Record, width: int, terminal: bool) -> None:
    target, file = console(terminal=terminal, width=width)
    target.print(candidates_table(record))
    target.print(outcome(record))
    written = file.getvalue()
    assert max(map(cell_len, shown(file))) <= width
    assert terminal or "\x1b" not in written
    whole = "".join(ESCAPES.sub("", written).split())
    for candidate in record.candidates:
        assert "".join(candidate.id.split()) in whole
        for line in candidate.latency:
            shown_as = {units.within(line.p50_us, unit).split()[0] for unit in ("", "µs", "ms")}
            figure = "|".join(map(re.escape, shown_as))
            assert re.search(rf"(?<![\d.,])(?:{figure})(?![\d.,])", written), figure


def test_figures_of_one_batch_size_stand_below_one_another() -> None:
    target, file = console(terminal=False)
    target.print(candidates_table(records.PUBLISHED))
    lines = {line.split()[0]: line for line in shown(file)[1:8]}
    assert re.search(r"17\.4 /  24\.8 +169 / 201  1\.22 MiB  ★ winner$", lines["onnx-fp32"])
    assert re.search(r"313 / 1,240 +604 /   \u2013 +1\.91 MiB  lost$", lines["reference-fp32"])
    assert re.search(r"differs +401 KiB  failed$", lines["native-fp32"])
    assert lines["hummingbird-fp32"].endswith("unsupported")
    assert lines["onnx-fp32"].index(" /") == lines["fil-fp32"].index(" /") == lines["reference-fp32"].index(" /")


def test_the_reasons_are_below_it_in_full_and_as_they_are() -> None:
    target, file = console(terminal=False)
    target.print(candidates_table(records.PUBLISHED))
    target.print(candidates_table(records.HOSTILE))
    said = " ".join(file.getvalue().split())
    for part in (
        "2.31x onnx-fp32's time on this traffic (2.24 to 2.39); timed",
        "[bold]not markup[/bold]",
        "'millwork[hummingbird]'",
        "wrong leaves (row, tree), the first in tree 118",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("record", "first"),
    [
        (records.PUBLISHED, "✓ onnx-fp32 is published as version 3 of delays and verified on Triton 2.67.0."),
        (records.UNVERIFIED, "! onnx-fp32 is published as version 1 of delays, not verified: no server was asked."),
        (records.READY, "✓ Dry run, nothing is published: onnx-fp32 passed parity and was chosen."),
        (records.NOTHING_PASSED, "✗ Nothing is published: no candidate answers as the framework does."),
    ],
)
def test_the_outcome_says_first_how_it_ended(record: Record, first: str) -> None:
    target, file = console(terminal=False, width=100)
    target.print(outcome(record))
    lines = shown(file)
    assert lines[0] == first
    assert "/home/ada/flights/.millwork/delays/report.html" in file.getvalue()
    newer = record.publication is not None and record.publication.version > 1
    assert ("millwork rollback" in file.getvalue()) == newer, "with one version there is nothing to go back to"


def served_here(record: Record) -> Record:
    """The same, whose winner the managed server can serve."""
    lines = tuple(msgspec.structs.replace(line, served_by="python") for line in record.candidates)
    return msgspec.structs.replace(record, candidates=lines)


@WIDTHS
def test_commands_can_be_copied_at_any_width(width: int) -> None:
    repository = "/srv/my models/it's here"
    published = msgspec.structs.replace(records.PUBLISHED.publication, repository=repository)  # type: ignore[type-var]
    target, file = console(terminal=False, width=width)
    target.print(outcome(msgspec.structs.replace(served_here(records.PUBLISHED), publication=published)))
    command = re.search(r"serve it +(millwork .*?)\n {1,3}[a-z]", file.getvalue(), flags=re.DOTALL)
    assert command
    joined = re.sub(r" \\ *\n", " ", command[1])
    assert shlex.split(joined)[:7] == ["millwork", "triton", "serve", "--repository", repository, "--name", "delays"]


@pytest.mark.parametrize(
    ("repository", "here", "said"),
    [("/srv/models", True, True), ("s3://models/live", True, False), ("/srv/models", False, False)],
)
def test_only_what_the_managed_server_can_serve_is_said_to_be_served_by_it(
    repository: str, here: bool, said: bool
) -> None:
    published = msgspec.structs.replace(records.PUBLISHED.publication, repository=repository)  # type: ignore[type-var]
    record = served_here(records.PUBLISHED) if here else records.PUBLISHED
    target, file = console(terminal=False, width=300)
    target.print(outcome(msgspec.structs.replace(record, publication=published)))
    assert ("millwork triton serve" in file.getvalue()) is said
    assert f"millwork predict --repository {repository}" in file.getvalue()


def test_it_is_asked_at_the_server_that_verified_it() -> None:
    server = "Triton 2.67.0 at grpc://triton.internal:8001"
    published = msgspec.structs.replace(records.PUBLISHED.publication, server=server)  # type: ignore[type-var]
    target, file = console(terminal=False, width=300)
    target.print(outcome(msgspec.structs.replace(records.PUBLISHED, publication=published)))
    assert "/client.py grpc://triton.internal:8001" in file.getvalue()
    assert "127.0.0.1" not in file.getvalue()


@pytest.mark.parametrize(("categories", "rows"), [((), "rows.npy"), (("carrier",), "rows.parquet")])
def test_rows_with_categories_are_no_array(categories: tuple[str, ...], rows: str) -> None:
    model = msgspec.structs.replace(records.PUBLISHED.model, categories=categories)
    target, file = console(terminal=False, width=300)
    target.print(outcome(msgspec.structs.replace(records.PUBLISHED, model=model)))
    assert f" --name delays --input {rows} --output answers.npy" in file.getvalue()


def test_paths_in_the_current_folder_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    published = msgspec.structs.replace(records.PUBLISHED.publication, repository=f"{tmp_path}/models")  # type: ignore[type-var]
    record = msgspec.structs.replace(
        served_here(records.PUBLISHED), publication=published, run_dir=str(tmp_path / ".millwork" / "delays")
    )
    target, file = console(terminal=False)
    target.print(outcome(record))
    assert "  report       .millwork/delays/report.html" in shown(file)
    assert any("millwork triton serve --repository ./models --name delays" in line for line in shown(file))
    assert "  client       .millwork/delays/client.py" in shown(file)
    assert any("python .millwork/delays/client.py grpc://127.0.0.1:8001" in line for line in shown(file))


def test_the_limit_that_was_given_is_answered() -> None:
    target, file = console(terminal=False, width=100)
    target.print(outcome(records.KEPT))
    assert "  limit        met: p99 26.4 ms of the 50 ms asked" in shown(file)


def test_what_came_nearest_to_a_limit_that_nothing_keeps_is_no_winner() -> None:
    target, file = console(terminal=False, width=100)
    target.print(candidates_table(records.MISSED))
    target.print(tuning_table(records.MISSED))
    written = file.getvalue()
    assert "winner" not in written
    assert "★" not in written
    assert re.search(r"^onnx-fp32 .* closest$", "\n".join(shown(file)), flags=re.MULTILINE)
    assert re.search(r"closest: onnx-fp32, 1 instances +364,000 +6\.60 ms +26\.4 ms", written)


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────

PATH = "/home/ada/" + "[bold]/very/" * 9 + "long.json"


@WIDTHS
def test_an_error_is_wrapped_at_words_and_no_path_is_broken(width: int) -> None:
    target, file = console(terminal=True, width=width)
    print_error(target, ParityError(f"no candidate, so nothing:\n  onnx: {'wrong ' * 30}", f"The report: {PATH}"))
    lines = shown(file)
    assert lines[0] == "error: no candidate, so nothing:"
    assert lines[1].startswith("  onnx: wrong")
    assert lines[2].startswith("    wrong")
    assert [line.strip() for line in lines if len(line) > width] == [PATH]
    assert PATH in file.getvalue()
    assert "\x1b[1;31merror:" in file.getvalue()
    assert "Traceback" not in file.getvalue()


def test_an_error_in_a_log_is_not_wrapped() -> None:
    target, file = console(terminal=False)
    print_error(target, UsageError(f"{PATH}: {'no such column ' * 9}".strip(), "Give one."))
    assert file.getvalue() == f"error: {PATH}: {'no such column ' * 9}".rstrip() + "\nGive one.\n"


def test_an_error_does_not_steer_the_terminal() -> None:
    target, file = console(terminal=False)
    print_error(target, UsageError("unknown column '\x1b[2J\u202e'"))
    assert file.getvalue() == r"error: unknown column '\x1b[2J\u202e'" + "\n"
