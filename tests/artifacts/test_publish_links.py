"""A link that leads nowhere is named itself, before any work, whatever stands in its place."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from millwork.artifacts.repository import LocalRepository, publish, rollback
from millwork.artifacts.repository.listing import find_version
from millwork.errors import MillworkError
from millwork.storage.files import refusal


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "srv" / "models"
    folder.mkdir(parents=True)
    return folder


def said(link: Path) -> str:
    return f"{link}: this is a link to {link.readlink()}, which isn't there"


def test_a_model_s_folder_that_is_a_broken_link(make_bundle, repository: Path) -> None:
    link = repository / "m"
    link.symlink_to("/mnt/gone")
    there = LocalRepository(root=repository)
    for attempt in (
        lambda: there.foresee("m"),
        lambda: publish(make_bundle(), repository),
        lambda: rollback(repository, "m"),
        lambda: there.find("m"),
    ):
        with pytest.raises(MillworkError) as caught:
            attempt()
        assert caught.value.message == said(link)
        assert "Let it point at a folder" in caught.value.hint
    assert [path.name for path in repository.iterdir() if path.suffix != ".lock"] == ["m"]


@pytest.mark.parametrize("below", ["", "team/models"])
def test_a_repository_that_is_a_broken_link_is_not_made(make_bundle, tmp_path: Path, below: str) -> None:
    link = tmp_path / "models"
    link.symlink_to(tmp_path / "not-mounted")
    with pytest.raises(MillworkError) as caught:
        publish(make_bundle(), link / below)
    assert caught.value.message == said(link)
    assert not (tmp_path / "not-mounted").exists()


def test_links_that_lead_to_each_other(make_bundle, tmp_path: Path) -> None:
    (tmp_path / "models").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "models")
    with pytest.raises(MillworkError, match="this is a link to"):
        publish(make_bundle(), tmp_path / "models")


def test_a_version_that_is_a_broken_link(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    link = repository / "m" / "7"
    link.symlink_to("/mnt/gone")
    assert publish(make_bundle(b"new"), repository).version == 8, "Triton reads the link as version 7"
    for attempt in (lambda: rollback(repository, "m", 7), lambda: find_version(repository, "m", 7)):
        with pytest.raises(MillworkError) as caught:
            attempt()
        assert caught.value.message == said(link)


def test_a_configuration_that_is_a_broken_link_is_not_replaced(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    link = repository / "m" / "config.pbtxt"
    link.unlink()
    link.symlink_to("/mnt/gone")
    with pytest.raises(MillworkError) as caught:
        publish(make_bundle(b"new"), repository)
    assert said(link) in caught.value.message
    assert link.is_symlink()


def test_notes_that_are_a_broken_link(make_bundle, repository: Path) -> None:
    link = repository.parent / ".models.millwork"
    link.symlink_to("/mnt/gone")
    with pytest.raises(MillworkError) as caught:
        publish(make_bundle(), repository)
    assert said(link) in caught.value.message


def test_a_rename_that_is_refused_names_both_paths(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "file").touch()
    with pytest.raises(OSError, match="not empty") as caught:
        (tmp_path / "from").rename(tmp_path / "to")
    assert refusal(caught.value).startswith(f"{tmp_path / 'from'} to {tmp_path / 'to'}: ")


def test_a_configuration_that_is_a_link_is_said_and_not_replaced(make_bundle, repository: Path, tmp_path: Path) -> None:
    publish(make_bundle(), repository)
    publish(make_bundle(b"new"), repository)
    link, managed = repository / "m" / "config.pbtxt", tmp_path / "managed.pbtxt"
    link.rename(managed)
    link.symlink_to(managed)
    before = managed.read_text()
    for attempt in (
        lambda: LocalRepository(root=repository).foresee("m"),
        lambda: publish(make_bundle(b"newer"), repository),
        lambda: rollback(repository, "m"),
    ):
        with pytest.raises(MillworkError, match=f"{link}: this is a link to {managed}") as caught:
            attempt()
        assert "Put a copy" in caught.value.hint
    assert link.is_symlink()
    assert managed.read_text() == before


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize(
    "name",
    [
        "models/.m.millwork.lock",
        ".models.millwork/locks/m.holder",
        ".models.millwork/ledger/m.json",
        ".models.millwork/staging/m",
    ],
)
def test_no_lock_or_note_is_written_through_a_link(name: str, link, make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    precious, note = repository.parent / "precious.txt", repository.parent / name
    precious.write_text("my only copy")
    note.unlink(missing_ok=True)
    link(note, precious)
    with contextlib.suppress(MillworkError):  # a note that isn't needed is done without
        publish(make_bundle(b"new"), repository)
    assert precious.read_text() == "my only copy"
