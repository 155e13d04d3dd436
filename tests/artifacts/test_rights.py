"""Whoever has no rights on something, or finds a folder where a file should be, is told which: never a bug of ours."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from models.jobs import Said, millwork

from millwork.artifacts.repository import publish
from millwork.commands.faults import known
from millwork.errors import MillworkError

AUDITOR = 6005


@pytest.fixture
def repository(make_bundle, tmp_path: Path) -> Path:
    """Two versions, and who is nobody's friend may come to the folder."""
    root = tmp_path / "srv" / "models"
    publish(make_bundle(b"one"), root)
    publish(make_bundle(b"two"), root)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    return root


def as_auditor(command: Callable[[], Said], answer: Path) -> Said:
    """What a command says to another user; to this one, who is no root."""
    if os.geteuid() != 0:
        return command()
    with answer.open("wb") as file:
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(AUDITOR)
                os.setuid(AUDITOR)
                file.write(pickle.dumps(command()))
                file.flush()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    return pickle.loads(answer.read_bytes())


def words(command: str, repository: Path) -> tuple[str | Path, ...]:
    return {
        "verify": ("verify", "--repository", repository, "--name", "m"),
        "rollback": ("rollback", "--repository", repository, "--name", "m", "--triton", "none"),
    }[command]


PLACES = {
    "notes": ".models.millwork",
    "ledger": ".models.millwork/ledger",
    "one ledger": ".models.millwork/ledger/m.json",
    "lock": "models/.m.millwork.lock",
    "repository": "models",
    "model": "models/m",
    "configuration": "models/m/config.pbtxt",
    "version": "models/m/2",
    "manifest": "models/m/2/manifest.json",
    "file": "models/m/2/model.onnx",
}


@pytest.mark.parametrize("command", ["verify", "rollback"])
def test_no_rights_on_a_part_are_said_with_its_path(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (everybodys := tmp_path / "tmp").mkdir()
    everybodys.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(everybodys))
    millwork(*words(command, repository))  # imports what it needs, while it may be read
    for name, place in PLACES.items():
        path = repository.parent / place
        mode = path.stat().st_mode
        path.chmod(0)
        said = as_auditor(lambda: millwork(*words(command, repository)), tmp_path / "answer")
        path.chmod(mode)
        assert said.code in (0, 2, 3, 7), f"{name}: {said.err}"
        assert "a bug in millwork" not in said.err, name
        assert said.code == 0 or str(repository.parent) in said.err, f"{name}: {said.err}"


FOLDERS = ("models/m/config.pbtxt", "models/m/2/manifest.json", "models/m/2/config.pbtxt", "models/m/2/model.onnx",
           ".models.millwork/ledger/m.json", "models/.m.millwork.lock")  # fmt: skip
FILES = ("models/m/2", "models/m", ".models.millwork/ledger", ".models.millwork/staging", ".models.millwork/locks")


@pytest.mark.parametrize("command", ["verify", "rollback", "publish"])
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_said_with_their_path(
    make_bundle, repository: Path, command: str
) -> None:
    for place in (*FOLDERS, *FILES):
        path, aside = repository.parent / place, repository.parent / "aside"
        path.rename(aside)
        if place in FOLDERS:
            path.mkdir()
        else:
            path.write_text("in the way")
        try:
            said = _said(command, repository, make_bundle)
        finally:
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
            aside.rename(path)
        assert said.code in (0, 2, 3, 7), f"{place}: {said.err}"
        assert "a bug in millwork" not in said.err, place
        told = str(repository.parent) in said.err or "no version serves" in said.err
        assert said.code == 0 or told, f"{place}: {said.err}"


def _said(command: str, repository: Path, make_bundle) -> Said:
    if command != "publish":
        return millwork(*words(command, repository))
    try:
        publish(make_bundle(b"three"), repository)
    except Exception as error:  # noqa: BLE001 -- as the command line ends
        told = error if isinstance(error, MillworkError) else known(error, "publish")
        return Said(70 if told is None else told.exit_code, "", str(told or f"a bug in millwork: {error!r}"))
    return Said(0, "", "")
