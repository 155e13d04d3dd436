"""What the Python API says of a long run, where a person watches."""

from __future__ import annotations

import io
import sys
import types

import pytest

import millwork
from millwork import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(lines: progress.Lines) -> None:
    lines.begin("load", "m.json")
    lines.detail("half of it\x1b[2J")
    lines.end("12 trees")
    lines.begin("check", "onnx")
    lines.end("equal", cached=True, ok=False)
    lines.note("a\nnote")
    lines.begin("tune", "under load")
    lines.close()


def test_a_line_a_stage_and_the_one_that_runs_below_them() -> None:
    log, live = io.StringIO(), io.StringIO()
    told(progress.Lines(log, live=False))
    first, second, note = log.getvalue().splitlines()
    assert first.startswith("load     12 trees (")
    assert second == "check    FAILED: equal (kept)"
    assert note == "note: a note"
    told(progress.Lines(live, live=True))
    assert "load     half of it\\x1b[2J\r" in live.getvalue()
    shown = [line.split("\r")[-1] for line in live.getvalue().split("\n")]
    assert [line.split("(")[0] for line in shown] == [
        "load     12 trees ",
        "check    FAILED: equal ",
        "note: a note",
        "",
    ]


def test_it_speaks_on_a_terminal_and_in_a_notebook_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.watched(), progress.Silent)
    assert isinstance(progress.shown(), progress.Lines)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(progress.watched(), progress.Lines)
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(progress.watched(), progress.Silent)
    shell = type("ZMQInteractiveShell", (), {})()
    notebook = types.ModuleType("IPython")
    monkeypatch.setattr(notebook, "get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    assert isinstance(progress.watched(), progress.Lines)


def test_a_reader_that_has_gone_stops_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    told(progress.Lines(stream, live=True))


def test_the_package_offers_what_it_has() -> None:
    assert set(millwork.__all__) <= set(dir(millwork))
    assert all(hasattr(millwork, name) for name in dir(millwork))
