"""What is published is readable for everyone who may read the repository's folder, whatever the publisher's umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from artifacts.publisher import in_child

from millwork.artifacts.repository import LocalRepository, publish, rollback, served_version
from millwork.errors import PublicationError

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
PUBLISHER, COLLEAGUE, SERVER = 6001, 6002, 6003
TEAM, OWN = 7001, 7002


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "srv" / "models"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, set[int]]:
    """The modes of folders and of files, ``folder`` itself left out."""
    found: dict[str, set[int]] = {"folders": set(), "files": set()}
    for path in folder.rglob("*"):
        found["folders" if path.is_dir() else "files"].add(stat.S_IMODE(path.stat().st_mode))
    return found


def state(repository: Path) -> Path:
    return repository.parent / f".{repository.name}.millwork"


@pytest.mark.parametrize(
    ("mode", "folders", "files"),
    [(0o755, 0o755, 0o644), (0o750, 0o750, 0o640), (0o700, 0o700, 0o600), (0o2775, 0o2775, 0o664)],
    ids=["everyone", "group", "owner", "team"],
)
def test_versions_have_the_mode_of_the_repository(
    make_bundle, repository: Path, mode: int, folders: int, files: int
) -> None:
    repository.chmod(mode)
    for content in (b"one", b"two"):
        publish(make_bundle(content), repository)
    rollback(repository, "m", 1)
    assert modes(repository) == {"folders": {folders}, "files": {files}}
    assert LocalRepository(root=repository).unreadable("m", 1) == ""


def test_signatures_are_readable_too(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository, sign=lambda folder: (folder / "model.sig").write_bytes(b"signed") and None)
    assert modes(repository) == {"folders": {0o755}, "files": {0o644}}


def test_a_new_repository_is_readable_as_the_folder_that_it_is_made_in(make_bundle, tmp_path: Path) -> None:
    for mode, folders in ((0o755, 0o755), (0o2770, 0o2770), (0o1777, 0o755)):
        parent = tmp_path / f"parent-{mode:o}"
        parent.mkdir()
        parent.chmod(mode)
        publish(make_bundle(), parent / "deep" / "models")
        found = {stat.S_IMODE(path.stat().st_mode) for path in (parent / "deep", parent / "deep" / "models")}
        assert found == {folders}
        assert modes(parent / "deep" / "models")["folders"] == {folders}


def test_a_model_that_is_kept_from_others_stays_so_and_that_is_said(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    (repository / "m").chmod(0o750)
    publish(make_bundle(b"new"), repository)
    assert stat.S_IMODE((repository / "m" / "2" / "model.onnx").stat().st_mode) == 0o640
    assert stat.S_IMODE((repository / "m").stat().st_mode) == 0o750
    told = LocalRepository(root=repository).unreadable("m", 2)
    assert told.startswith(f"{repository / 'm'} (mode 750")
    assert told.endswith("can't be read by everyone")


@pytest.mark.parametrize("again", ["publish", "rollback"])
def test_a_version_that_others_could_not_read_is_mended(make_bundle, repository: Path, again: str) -> None:
    bundle = make_bundle()
    publish(bundle, repository)
    for path in (repository / "m" / "1").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    (repository / "m" / "1").chmod(0o700)
    assert "can't be read by everyone" in LocalRepository(root=repository).unreadable("m", 1)
    if again == "publish":
        publish(bundle, repository)
    else:
        publish(make_bundle(b"new"), repository)
        rollback(repository, "m", 1)
    assert LocalRepository(root=repository).unreadable("m", 1) == ""


def as_user(uid: int, groups: tuple[int, ...], work: Callable[[], None]) -> int:
    """The exit code of ``work`` done by another user, whose first group is ``groups[0]``."""

    def changed() -> None:
        os.setgroups(groups)
        os.setgid(groups[0])
        os.setuid(uid)
        work()

    return os.waitstatus_to_exitcode(in_child(changed))


def open_to_all(folder: Path) -> None:
    """Let every user come to a folder of the test's; what is in it keeps its own modes."""
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/") and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o711)


def readable_bundle(make_bundle, content: bytes = b"a model"):
    bundle = make_bundle(content)
    for path in (bundle.folder, *bundle.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    open_to_all(bundle.folder)
    return bundle


def reads_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        _ = list(path.iterdir()) if path.is_dir() else path.read_bytes()


@ROOT_ONLY
@pytest.mark.parametrize("mode", [0o2770, 0o2775, 0o770])
def test_a_group_publishes_in_turn_and_its_server_reads_all(make_bundle, repository: Path, mode: int) -> None:
    one, two = readable_bundle(make_bundle), readable_bundle(make_bundle, b"new")
    for folder in (repository.parent, repository):
        os.chown(folder, PUBLISHER, TEAM)
        folder.chmod(mode)
    open_to_all(repository.parent.parent)
    assert as_user(PUBLISHER, (OWN, TEAM), lambda: publish(one, repository) and None) == 0
    assert as_user(COLLEAGUE, (OWN, TEAM), lambda: publish(two, repository) and None) == 0
    assert as_user(PUBLISHER, (OWN, TEAM), lambda: rollback(repository, "m") and None) == 0
    assert as_user(COLLEAGUE, (OWN, TEAM), lambda: rollback(repository, "m", 2) and None) == 0
    assert served_version(repository, "m") == 2
    assert as_user(SERVER, (TEAM,), lambda: reads_all(repository)) == 0
    assert {path.stat().st_gid for path in repository.rglob("*")} == {TEAM}


@ROOT_ONLY
def test_what_a_killed_publisher_left_is_removed_by_a_colleague(make_bundle, repository: Path) -> None:
    one, two = readable_bundle(make_bundle), readable_bundle(make_bundle, b"new")
    for folder in (repository.parent, repository):
        os.chown(folder, PUBLISHER, TEAM)
        folder.chmod(0o2770)
    open_to_all(repository.parent.parent)

    def die(step: str) -> None:
        if step == "verify":
            os._exit(9)

    def killed() -> None:
        publish(one, repository, verify=lambda _: None, step=die)

    assert as_user(PUBLISHER, (OWN, TEAM), killed) == 9
    assert as_user(COLLEAGUE, (OWN, TEAM), lambda: publish(two, repository) and None) == 0
    assert sorted(path.name for path in (repository / "m").iterdir()) == ["2", "config.pbtxt"]
    assert [path.name for path in (state(repository) / "staging").iterdir()] == []


@ROOT_ONLY
def test_root_publishes_what_the_repository_s_owner_can_read_and_replace(make_bundle, repository: Path) -> None:
    one, two = readable_bundle(make_bundle), readable_bundle(make_bundle, b"new")
    os.chown(repository.parent, SERVER, OWN)
    os.chown(repository, SERVER, OWN)
    repository.chmod(0o700)
    open_to_all(repository.parent.parent)
    publish(one, repository)
    assert as_user(SERVER, (OWN,), lambda: reads_all(repository)) == 0
    assert as_user(SERVER, (OWN,), lambda: publish(two, repository) and None) == 0


@ROOT_ONLY
def test_a_version_that_the_group_could_not_read_is_refused_before_it_is_committed(
    make_bundle, repository: Path
) -> None:
    """The publisher may write, and isn't in the group that reads."""
    bundle = readable_bundle(make_bundle)
    os.chown(repository.parent, PUBLISHER, OWN)
    os.chown(repository, PUBLISHER, TEAM)
    repository.chmod(0o750)
    open_to_all(repository.parent.parent)

    def refused() -> None:
        for attempt in (lambda: LocalRepository(root=repository).foresee("m"), lambda: publish(bundle, repository)):
            with pytest.raises(PublicationError, match=f"the group {TEAM} could read the repository") as caught:
                attempt()
            assert "member of the folder's group" in caught.value.hint

    assert as_user(PUBLISHER, (OWN,), refused) == 0
    assert [path for path in repository.iterdir() if path.suffix != ".lock"] == []
