"""A backend is one folder, one row and, for a new engine, one runner: the worked example of docs/architecture.md.

A copy of the package gets what a contributor would add, and nothing else: the folder ``toy_backend/toy``, the runner
``toy_backend/toy_runner.py`` and the rows below. The copy then does a whole job by its command line.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import millwork
from millwork.values import Record

if TYPE_CHECKING:
    from models.jobs import Files

    from millwork.triton.install import Installation

TOY = Path(__file__).with_name("toy_backend")

THUNK = """\
def _toy(_precision: str) -> Backend:
    from .toy.backend import backend

    return backend()


"""
BACKEND_ROW = """\
    BackendRow(name="toy", trees=Form(_toy), runners=("toy_runner",)),
"""
RUNNER_ROW = """\
    RunnerRow(name="toy_runner", engine="toy-walker", distributions=("millwork",)),
"""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


@dataclass(frozen=True)
class Checkout:
    """A copy of the package, in a folder that Python looks into first."""

    root: Path

    @property
    def compile(self) -> Path:
        return self.root / "millwork" / "compile"

    def add_row(self, table: str, row: str) -> None:
        """Write ``row`` at the end of a table's ROWS."""
        path = self.compile / table
        text = path.read_text()
        end = text.index("\n)\n", text.index("\nROWS: ")) + 1
        path.write_text(text[:end] + row + text[end:])

    def add_thunk(self, thunk: str) -> None:
        path = self.compile / "backends" / "table.py"
        head, heading, tail = path.read_text().partition("# ── the table ")
        assert heading
        path.write_text(head + thunk + heading + tail)

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), "PYTHONSAFEPATH": "1"},
        )

    def millwork(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.python("-c", "from millwork.cli import main; main()", *words)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The package, with the toy in it."""
    found = Checkout(tmp_path_factory.mktemp("checkout"))
    ours = Path(millwork.__file__).parent
    shutil.copytree(ours, found.root / "millwork", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOY / "toy", found.compile / "backends" / "toy")
    shutil.copy(TOY / "toy_runner.py", found.compile / "runners")
    found.add_thunk(THUNK)
    found.add_row("backends/table.py", BACKEND_ROW)
    found.add_row("runners/runner_rows.py", RUNNER_ROW)
    return found


@pytest.mark.triton
def test_the_whole_job(checkout: Checkout, files: Files, triton_installation: Installation, tmp_path: Path) -> None:
    """From load to serve on the managed Triton: the toy passes, and is what is served."""
    words = ("--backends", "toy", "--traffic", "batch=1", "--tune-budget", "0", "--json")
    places = ("--repository", tmp_path / "models", "--run-dir", tmp_path / "run")
    done = checkout.millwork("optimize", files.clicks, "--data", files.rows, "--dry-run", *places, *words)
    assert done.returncode == 0, done.stderr
    record = msgspec.json.decode(done.stdout, type=Record)
    (line,) = record.candidates
    assert (line.id, line.status, line.served_by) == ("toy-fp32", "passed", "python"), line.reason
    assert line.parity is not None
    assert (line.parity.leaf_mismatches, line.parity.decision_flips) == (0, 0)
    assert [latency.batch for latency in line.latency] == [1]
    assert record.winner is not None
    assert record.winner.id == "toy-fp32"
    assert "python backend, golden rows agree" in done.stderr


def test_its_engines_version_is_in_the_cache_key(checkout: Checkout) -> None:
    code = "import json; from millwork.pipeline.cache_key import engine; print(json.dumps(engine('toy')))"
    done = checkout.python("-c", code)
    assert json.loads(done.stdout)["millwork"] == version("millwork"), done.stderr


def test_a_row_without_its_engines_distribution_is_refused_at_once(checkout: Checkout) -> None:
    """By every command: the engine's version would be missing from the cache key."""
    table = checkout.compile / "runners" / "runner_rows.py"
    whole = table.read_text()
    table.write_text(whole.replace(RUNNER_ROW, RUNNER_ROW.replace('("millwork",)', "()")))
    try:
        done = checkout.python("-c", "import millwork.compile.backends.table")
    finally:
        table.write_text(whole)
    assert done.returncode != 0
    assert "InternalError: the runner toy_runner names no distribution of its engine" in done.stderr


@pytest.mark.parametrize("text", [THUNK, BACKEND_ROW, RUNNER_ROW], ids=["thunk", "backend", "runner"])
def test_the_page_has_what_is_added_here(text: str) -> None:
    assert text.strip().rstrip(",") in PAGE.read_text()
