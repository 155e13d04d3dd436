"""Files that nobody put there on purpose, among our notes, in the repository and in a run directory: passed over."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from millwork.artifacts.repository import layout, publish, rollback, served_version
from millwork.artifacts.repository.local import LocalRepository
from millwork.storage.run_directory import RunDirectory, changes
from millwork.storage.strays import is_stray

STRAYS = (
    ".DS_Store",
    "._m",
    ".nfs0000000000000001",
    "m.json~",
    ".m.json.swp",
    "#m#",
    "Thumbs.db",
    "an operator's notes",
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "served" / "models"


def scatter(*folders: Path) -> list[Path]:
    found = [folder / name for folder in folders for name in STRAYS]
    for path in found:
        path.write_text("stray")
    for folder in folders:
        (folder / "lost+found").mkdir()
    return found


@pytest.mark.parametrize("inside", [False, True])
def test_stray_files_among_the_notes_stop_nobody_and_stay(
    make_bundle, repository: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(layout, "_only_inside", lambda *_: inside)
    publish(make_bundle(b"one"), repository)
    publish(make_bundle(name="other"), repository)
    state = repository.parent / ".models.millwork"
    folders = [repository, repository / "m", repository / "m" / "1"]
    if not inside:
        folders += [state, *(state / name for name in ("staging", "trash", "ledger", "locks"))]
    strays = scatter(*folders)
    assert publish(make_bundle(b"two"), repository).version == 2
    assert rollback(repository, "m").version == 1
    assert served_version(repository, "m") == 1
    assert LocalRepository(root=repository).models() == ["m", "other"]
    assert [entry.version for entry in LocalRepository(root=repository).versions("m")] == [1, 2]
    assert all(path.read_text() == "stray" for path in strays)


def test_what_a_server_holds_open_in_our_folders_stops_nobody(
    make_bundle, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS a file that is removed while a server has it open stays as .nfs…, and so does its folder."""
    publish(make_bundle(b"one"), repository)
    state = repository.parent / ".models.millwork"
    for part in ("staging", "trash"):
        (state / part / "m").mkdir()
        (state / part / "m" / ".nfs0000000000000001").write_text("open")
    own = shutil.rmtree

    def refused(path: Path, *more: object, **named: object) -> None:
        if any(Path(path).rglob(".nfs*")):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))
        own(path, *more, **named)

    monkeypatch.setattr(shutil, "rmtree", refused)
    assert publish(make_bundle(b"two"), repository).version == 2
    assert rollback(repository, "m").version == 1
    with pytest.raises(Exception, match="it answers wrong"):
        publish(make_bundle(b"three"), repository, verify=_refuse)
    assert served_version(repository, "m") == 1
    assert sorted(path.name for path in (repository / "m").iterdir() if path.is_dir()) == ["1", "2"]


def _refuse(_: int) -> None:
    raise ValueError("it answers wrong")


def test_stray_files_in_a_run_directory_are_no_change_of_it(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as run:
        folder = run.stage("load", {}, lambda at: (at / "file").write_text("made") and 1, int).folder
        strays = [path for path in scatter(folder, folder.parent) if is_stray(path) and path.parent == folder]
        (folder / "an operator's notes").unlink()
        run.require_unchanged()
        assert run.stage("load", {}, lambda _: 2, int).cached
    assert len(strays) == len(STRAYS) - 1
    assert changes(folder) == []
    (folder / "planted.py").write_text("")
    assert changes(folder) == ["planted.py was added"]
