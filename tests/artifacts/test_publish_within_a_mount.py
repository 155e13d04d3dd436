"""A repository that is a mount of its own, as in a container that mounts nothing else: all is done in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from millwork.artifacts.repository import layout, publish, rollback, served_version, unfinished, versions
from millwork.artifacts.repository import ledger as ledgers
from millwork.artifacts.repository.layout import locate
from millwork.artifacts.repository.local import LocalRepository
from millwork.artifacts.repository.lock import Waiting, hold
from millwork.artifacts.repository.server_notes import ServerNotes
from millwork.errors import PublicationError
from millwork.storage import wire
from millwork.triton import config as triton_config

PUBLISHER = Path(__file__).parent / "publisher.py"
NOTES = {".m.millwork.lock", ".m.millwork.json"}


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_only_inside", lambda *_: True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "served" / "models"
    root.mkdir(parents=True)
    return root


def files(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir() if path.is_file()}


def folders(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_a_bind_mount_and_a_parent_that_is_not_writable_are_seen(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not locate(repository, "m").inside
    own = layout._mount
    monkeypatch.setattr(layout, "_mount", lambda path: (1, "7") if path == repository.resolve() else own(path))
    assert locate(repository, "m").inside
    assert own(repository) == own(repository.parent)
    monkeypatch.undo()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != repository.parent)
    assert locate(repository, "m").inside
    assert locate(Path("/"), "m").inside
    assert not locate(repository.parent / "new", "m").inside, "to be made by us"


def test_nothing_but_files_stays_in_the_root_and_nothing_in_the_models_folder(
    within, make_bundle, repository: Path
) -> None:
    """A folder in the root is a model to Triton; in a model's folder, ours is there only while somebody publishes."""
    for number in (1, 2, 3):
        during: list[set[str]] = []
        publish(
            make_bundle(bytes([number])), repository, verify=lambda _, seen=during: seen.append(folders(repository))
        )
        assert during == [{"m"}]
        assert {path.name for path in (repository / "m").iterdir()} == {
            "config.pbtxt",
            *map(str, range(1, number + 1)),
        }
    assert rollback(repository, "m").version == 2
    assert (files(repository), folders(repository)) == (NOTES, {"m"})
    assert [path.name for path in repository.parent.iterdir()] == ["models"], "nothing beside it"


def test_a_first_version_that_fails_leaves_no_model(within, make_bundle, repository: Path) -> None:
    def refuse(_: int) -> None:
        raise PublicationError("it answers wrong")

    with pytest.raises(PublicationError, match="no version of the model serves"):
        publish(make_bundle(), repository, verify=refuse)
    assert folders(repository) == set()
    assert publish(make_bundle(), repository).version == 2, "a number is given once"


def test_no_step_lets_a_name_go_from_the_root(within, make_bundle, repository: Path) -> None:
    """While a polling server lists the root, a name that goes makes it drop all its models for a round."""
    seen: set[str] = set()

    def look(_: str) -> None:
        now = {path.name for path in repository.iterdir()}
        assert seen <= now
        seen.update(now)

    for content in (b"one", b"two"):
        publish(make_bundle(content), repository, step=look)
    rollback(repository, "m", step=look)


@pytest.mark.parametrize(("mode", "published"), [("publish", 0), ("publish", 1), ("refused", 0), ("rollback", 2)])
def test_killed_before_every_step(
    make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, published: int
) -> None:
    """No configuration ever names a version that isn't whole; and whoever publishes next, by the same mount or from
    outside of it, gets the next version to serve."""
    start, out = tmp_path / "start", tmp_path / "out"
    (start / "models").mkdir(parents=True)
    out.mkdir()
    bundle = make_bundle(b"the killed one")
    (tmp_path / "bundle.json").write_bytes(wire.encode(bundle))
    with monkeypatch.context() as inside:
        inside.setattr(layout, "_only_inside", lambda *_: True)
        for number in range(published):
            publish(make_bundle(bytes([number])), start / "models")
    command = [sys.executable, str(PUBLISHER), "killed", tmp_path / "bundle.json", start, out, mode]
    subprocess.run(list(map(str, command)), check=True, timeout=120, env={**os.environ, "WITHIN_A_MOUNT": "1"})
    last = int((out / "last").read_text())
    assert last >= 2
    for index in range(last):
        repository = out / str(index) / "models"
        assert_nothing_half(repository)
        with monkeypatch.context() as inside:
            if index % 2:
                inside.setattr(layout, "_only_inside", lambda *_: True)
            version = publish(make_bundle(b"the next"), repository).version
            assert served_version(repository, "m") == version == versions(repository, "m")[-1].version
            assert unfinished(repository, "m") is None
            assert not (repository / "m" / layout.WORK).exists()
            assert folders(repository) == {"m"}


def assert_nothing_half(repository: Path) -> None:
    config = repository / "m" / "config.pbtxt"
    if not config.exists() or b"is publishing the first version" in config.read_bytes():
        return
    for number in triton_config.served(config.read_text(), []):
        assert (repository / "m" / str(number) / "manifest.json").is_file()


def test_a_publisher_beside_and_one_within_have_one_lock_and_one_ledger(
    make_bundle, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(*, inside: bool) -> None:
        monkeypatch.setattr(layout, "_only_inside", lambda *_: inside)

    here(inside=False)
    publish(make_bundle(b"from the host"), repository)
    with hold(locate(repository, "m"), Waiting(0)):
        here(inside=True)
        with pytest.raises(PublicationError, match="is being published by"):
            publish(make_bundle(b"from the container"), repository, waiting=Waiting(0))
    (repository.parent / ".models.millwork").rename(repository.parent / "out of reach")
    assert publish(make_bundle(b"from the container"), repository).version == 2
    (repository.parent / "out of reach").rename(repository.parent / ".models.millwork")
    here(inside=False)
    assert publish(make_bundle(b"from the host again"), repository).version == 3
    noted = ledgers.read(locate(repository, "m"))
    assert set(noted.manifests) == {1, 2, 3}, "what the host noted isn't lost"
    assert rollback(repository, "m").version == 2
    here(inside=True)
    assert ledgers.read(locate(repository, "m")) == ledgers.read(locate(repository, "m"))
    shutil.rmtree(repository.parent / ".models.millwork")
    assert set(ledgers.read(locate(repository, "m")).manifests) == {1, 2, 3}, "the host writes what everyone reads"
    assert rollback(repository, "m", 3).version == 3


def test_what_is_known_of_the_server_is_noted_in_the_root(within, repository: Path) -> None:
    place = LocalRepository(root=repository)
    for known in (True, False):
        place.keep_server_notes(ServerNotes(millwork_backend=known))
        assert place.server_notes() == ServerNotes(millwork_backend=known)
    assert files(repository) == {".millwork.json"}
