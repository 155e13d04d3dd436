"""Whoever reads a command's progress or its answer may leave: it goes on to its end, and ends as it would have."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from models.jobs import QUICK, Desk, millwork

from millwork.cli import app

COMMAND = Path(sys.executable).with_name("millwork")


@contextmanager
def nobody_reads() -> Iterator[int]:
    """A pipe to write to whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def job(desk: Desk) -> list[str]:
    """Of kept stages: it takes no time, and publishes what serves already."""
    return [
        "optimize",
        str(desk.files.clicks),
        "--data",
        str(desk.files.rows),
        "--repository",
        str(desk.repository),
        "--run-dir",
        str(desk.run_dir),
        *QUICK,
    ]


@pytest.fixture
def record(desk: Desk) -> bytes:
    """What the job leaves when it is read to its end."""
    assert millwork(*job(desk)).code == 0
    content = (desk.run_dir / "run.json").read_bytes()
    assert json.loads(content)["publication"]["version"] == 1
    (desk.run_dir / "run.json").unlink()
    return content


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_that_nobody_reads_to_its_end(terminal: bool, desk: Desk, record: bytes) -> None:
    """As ``2>&1 | grep -m1 load`` does. ``terminal``: rich's spinner, from a thread of its own."""
    environment = dict(os.environ) | ({"FORCE_COLOR": "1", "TERM": "xterm"} if terminal else {})
    environment.pop("CI", None)
    with subprocess.Popen(
        [COMMAND, *job(desk)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as run:
        assert run.stdout is not None
        assert b"load" in run.stdout.readline()
        run.stdout.close()
    assert run.returncode == 0
    assert (desk.run_dir / "run.json").read_bytes() == record


def test_progress_that_nobody_reads_at_all(desk: Desk, record: bytes) -> None:
    with nobody_reads() as pipe:
        done = subprocess.run([COMMAND, *job(desk), "--json"], stdout=subprocess.PIPE, stderr=pipe)
    assert done.returncode == 0
    assert done.stdout == (desk.run_dir / "run.json").read_bytes() == record


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("inspect", "nothing.json"), 3),
        (("optimize", "nothing.json"), 3),
        (("nothing",), 2),
        (("optimize", "--nothing"), 2),
        (("report", "nothing"), 2),
    ],
)
def test_an_error_that_nobody_reads(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    with nobody_reads() as pipe:
        assert subprocess.run([COMMAND, *words], stderr=pipe, cwd=tmp_path).returncode == code


def test_an_answer_that_nobody_reads(desk: Desk, record: bytes) -> None:
    """Nothing is said of it, and the exit code is the command's own."""
    (desk.run_dir / "run.json").write_bytes(record)
    asked: list[tuple[tuple[str | Path, ...], int]] = [
        (("--help",), 0),
        (("--version",), 0),
        (("optimize", "--help"), 0),
        (("doctor",), 0),
        (("doctor", "--json"), 0),
        (("inspect", desk.files.clicks), 0),
        (("inspect", desk.files.clicks, "--json"), 0),
        (("report", desk.run_dir), 0),
        (("toolchain", "list"), 0),
        (("triton", "status"), 0),
        (("verify", desk.run_dir, "--json"), 3),
    ]
    next(desk.run_dir.glob("stages/*/result.json")).unlink()
    with nobody_reads() as pipe:
        for words, code in asked:
            done = subprocess.run([COMMAND, *words], stdout=pipe, stderr=subprocess.PIPE, text=True)
            assert done.returncode == code, (words, done.stderr)
            assert code or done.stderr == "", words
            assert "Broken pipe" not in done.stderr


def test_a_worker_whose_answer_nobody_reads() -> None:
    with nobody_reads() as pipe:
        done = subprocess.run([COMMAND, "worker"], input=b"{", stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_broken_pipe_of_another_kind_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a server's that hung up."""
    from millwork.commands import doctor as doctor_command

    def hung_up() -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(doctor_command, "examine", hung_up)
    said = millwork("doctor")
    assert said.code == 70
    Path(said.err.split("Details: ")[1].split()[0]).unlink()


def test_commands_write_by_their_console() -> None:
    for path in Path(app.__file__).parent.glob("*.py"):
        if path.name not in ("console.py", "terminal.py", "candidates_table.py"):  # rich's is a type there
            found = re.search(r"typer\.echo|rich\.console import .*\bConsole\b|sys\.std(out|err)\.w", path.read_text())
            assert found is None, f"{path.name}: {found}"


# ── full, and closed ──────────────────────────────────────────────────────────────────────────────────────


def shell(redirected: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with its streams as a shell makes them."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirected}', str(COMMAND), *words], capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "redirected", [">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
)
def test_full_or_closed_streams_change_no_exit_code(redirected: str, desk: Desk, record: bytes) -> None:
    said = shell(redirected, *job(desk), "--json")
    assert said.returncode == 0, said.stderr
    assert (desk.run_dir / "run.json").read_bytes() == record
    assert "Traceback" not in said.stderr
    if redirected == ">/dev/full":
        assert "note: stdout can't be written: the disk is full; the record is in" in said.stderr


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("doctor",), ("doctor", "--json"), ("inspect", "--help")]
)
def test_an_answer_that_cannot_be_written_is_told(words: tuple[str, ...]) -> None:
    """There is nothing else that the command did."""
    said = shell(">/dev/full", *words)
    assert said.returncode == 2
    assert said.stderr.startswith("error: stdout can't be written: the disk is full\n")


def test_an_error_that_cannot_be_told_keeps_its_code(desk: Desk) -> None:
    assert shell("2>/dev/full", "inspect", "nowhere.json").returncode == 3
    assert shell("2>&-", "verify", "--nonsense").returncode == 2
