"""A command that a signal stops: as by Ctrl-C nothing of it is left, and the exit code says which signal it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from models.jobs import Desk

SCRIPT = """
import os, signal, sys
sys.argv = ["optimize", *sys.argv[2:]]
number = int({number})
from millwork.cli import optimize_main
from millwork.worker import process
own = process._watch
def watch(*given):  # a step runs
    os.kill(os.getpid(), number)
    if number != signal.SIGINT:
        os.kill(os.getpid(), number)  # whoever ends a session sends more than one
    return own(*given)
process._watch = watch
optimize_main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_optimize_leaves_nothing_half_made(desk: Desk, tmp_path: Path, number: signal.Signals) -> None:
    scratch, run_dir = tmp_path / "scratch", tmp_path / "run"
    scratch.mkdir()
    command = [
        sys.executable, "-c", SCRIPT.format(number=int(number)), "optimize", str(desk.files.clicks), "--triton", "none",
        "--backends", "onnx", "--run-dir", str(run_dir),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "TMPDIR": str(scratch)}
    )
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert done.returncode == 128 + number, done.stderr
    assert f"stopped{by}; finished stages are kept, and the same command goes on from there" in done.stderr
    assert [path for path in run_dir.rglob("*") if ".tmp-" in path.name] == []
    assert list(scratch.iterdir()) == []
