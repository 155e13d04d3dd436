"""Temporary folders: gone at the end, gone after a kill, and never anybody else's."""

from __future__ import annotations

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
