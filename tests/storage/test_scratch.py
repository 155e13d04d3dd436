"""Temporary folders: gone at the end, gone after a kill, and never anybody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from millwork.errors import ModelError
from millwork.storage import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_is_gone_at_the_end(temporary: Path) -> None:
    with scratch.folder("step") as folder:
        assert folder.parent == temporary
        (folder / "inner").mkdir()
        with pytest.raises(ValueError, match="mine"), scratch.folder("step") as other:
            raise ValueError("mine")
        assert not other.exists()
        assert folder.exists()
    assert not list(temporary.iterdir())


def test_one_that_an_error_names_stays(temporary: Path) -> None:
    def crash() -> None:
        with scratch.folder("inspect") as folder:
            (folder / "load.log").write_text("why")
            raise ModelError("it crashed", str(folder / "load.log"))

    with pytest.raises(ModelError) as caught:
        crash()
    with scratch.folder("inspect"):
        assert Path(caught.value.hint).read_text() == "why"


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path) -> None:
    script = (
        "import sys; from millwork.storage import scratch\n"
        "with scratch.folder('step') as folder:\n"
        "    (folder / 'file').touch(); print(folder, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        scratch.remove_left()
        assert (left / "file").exists(), "it is in use"
        process.send_signal(signal.SIGKILL)
    assert left.exists()
    (temporary / "millwork-of-mine").mkdir()
    with scratch.folder("step"):
        assert not left.exists()
        assert (temporary / "millwork-of-mine").exists(), "not one of ours"


def removals(script: str, folder: Path, at: int) -> int:
    """Run ``script``, killed before the call of that number that takes something away; its exit status."""
    killed = (
        "import os, signal, tempfile\n"
        "tempfile.gettempdir()\n"
        "calls = iter(range(1, 1000))\n"
        "def wrapped(call):\n"
        "    def do(*given, **named):\n"
        f"        if next(calls) == {at}:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return call(*given, **named)\n"
        "    return do\n"
        "for name in ('unlink', 'rmdir', 'rename', 'remove'):\n"
        "    setattr(os, name, wrapped(getattr(os, name)))\n"
    )
    return subprocess.run([sys.executable, "-c", killed + script], cwd=folder).returncode


def test_nothing_stays_of_a_folder_whose_remover_was_killed_at_any_step(temporary: Path) -> None:
    script = (
        "from millwork.storage import scratch\n"
        "with scratch.folder('step') as folder:\n"
        "    (folder / 'model').write_text('mine'); (folder / 'inner' / 'deep').mkdir(parents=True)\n"
        "    (folder / 'inner' / 'deep' / 'file').touch(); (folder / '.a').touch(); (folder / 'z').touch()\n"
    )
    at = 0
    while removals(script, temporary, at := at + 1) == -signal.SIGKILL:
        with scratch.folder("step"):
            pass
        assert not list(temporary.iterdir()), f"killed at step {at}"
    assert at > 8, "every step was tried"


def test_an_old_folder_without_a_mark_goes_after_a_week(temporary: Path) -> None:
    old, new, other = (temporary / f"millwork-step-{name}" for name in ("abcdefgh", "abcdefg2", "mine"))
    for path in (old, new, other):
        path.mkdir()
        (path / "model.pkl").touch()
    week = scratch.KEPT_S + 60
    for path in (old, other):
        os.utime(path, (path.stat().st_atime - week, path.stat().st_mtime - week))
    scratch.remove_left()
    assert sorted(temporary.iterdir()) == sorted([new, other])
