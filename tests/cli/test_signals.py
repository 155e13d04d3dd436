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
import os, select, signal, sys
sys.argv = ["optimize", *sys.argv[2:]]
number = int({number})
from millwork.cli import optimize_main
from millwork.worker import process
own = process._watch
def watch(*given):  # a step runs
    if os.isatty(2):
        dead = select.poll()
        dead.register(2, 0)
        dead.poll(60_000)  # until the terminal has hung up
    os.kill(os.getpid(), number)
    if number != signal.SIGINT:
        os.kill(os.getpid(), number)  # whoever ends a session sends more than one
    return own(*given)
process._watch = watch
optimize_main()
"""


def started(desk: Desk, folder: Path, number: signal.Signals, stderr: int) -> subprocess.Popen[str]:
    (folder / "scratch").mkdir()
    words = ["--triton", "none", "--backends", "onnx", "--run-dir", str(folder / "run")]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(number=int(number)), "optimize", str(desk.files.clicks), *words],
        stderr=stderr,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(folder / "scratch")},
    )


def nothing_is_half_made(folder: Path) -> bool:
    return (
        list((folder / "scratch").iterdir()) == []
        and [path for path in (folder / "run").rglob("*") if ".tmp-" in path.name] == []
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_optimize_leaves_nothing_half_made(desk: Desk, tmp_path: Path, number: signal.Signals) -> None:
    with started(desk, tmp_path, number, subprocess.PIPE) as process:
        said = process.communicate(timeout=120)[1]
    by = "" if number == signal.SIGINT else f" by {number.name}"
    assert process.returncode == 128 + number, said
    assert f"stopped{by}; finished stages are kept, and the same command goes on from there" in said
    assert nothing_is_half_made(tmp_path)


def test_a_terminal_that_hung_up_is_not_written_to(desk: Desk, tmp_path: Path) -> None:
    terminal, its_end = os.openpty()
    with started(desk, tmp_path, signal.SIGHUP, its_end) as process:
        os.close(its_end)
        os.close(terminal)
        process.wait(timeout=120)
    assert process.returncode == 128 + signal.SIGHUP
    assert nothing_is_half_made(tmp_path)
