"""Rolling back lets the version serve that served before, and forward again; a version that fails stays out."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwork.artifacts.repository import publish, rollback, served_version, versions
from millwork.errors import ParityError, PublicationError, UsageError


def refuse(_: int) -> None:
    raise ParityError("wrong")


@pytest.fixture
def three(make_bundle, repository: Path) -> Path:
    """A repository with versions 1, 2 and 3 of ``m``; 3 serves."""
    for number in (1, 2, 3):
        publish(make_bundle(f"model {number}".encode()), repository)
    return repository


def test_there_and_again(three: Path) -> None:
    configs = {path.name: (path / "config.pbtxt").read_bytes() for path in (three / "m").iterdir() if path.is_dir()}
    seen: list[int] = []
    for to, expected in ((None, 2), (None, 1), (3, 3), (1, 1), (2, 2)):
        published = rollback(three, "m", to, verify=seen.append)
        assert (published.version, published.verified, seen[-1]) == (expected, True, expected)
        assert served_version(three, "m") == expected
        assert (three / "m" / "config.pbtxt").read_bytes() == configs[str(expected)]
    assert [entry.version for entry in versions(three, "m")] == [1, 2, 3]
    assert not list((three.parent / ".models.millwork" / "staging").iterdir())


def test_goes_to_the_one_that_served_before_not_to_the_one_rolled_back(three: Path, make_bundle) -> None:
    rollback(three, "m", 1)
    assert publish(make_bundle(b"model 4"), three).version == 4
    assert rollback(three, "m").version == 1, "1 served before 4; 2 and 3 had been left"


def test_to_the_one_that_serves_changes_nothing(three: Path) -> None:
    before = (three / "m" / "config.pbtxt").stat()
    assert rollback(three, "m", 3).version == 3
    assert (three / "m" / "config.pbtxt").stat() == before


def test_a_configuration_tuned_by_hand_comes_back(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    config = repository / "m" / "config.pbtxt"
    tuned = config.read_text().replace("count: 1", "count: 2")
    config.write_text(tuned)
    publish(make_bundle(b"new"), repository)
    rollback(repository, "m")
    assert config.read_text() == tuned


def test_a_version_that_fails_is_left_again(three: Path) -> None:
    told: list[int | None] = []
    with pytest.raises(PublicationError, match="rollback to version 2 failed: wrong; version 3 still serves"):
        rollback(three, "m", verify=refuse, restored=told.append)
    assert (served_version(three, "m"), told) == (3, [3])


def test_a_version_that_was_damaged_is_refused(three: Path) -> None:
    (three / "m" / "2" / "golden.npz").write_bytes(b"")
    with pytest.raises(PublicationError, match=r"version 2 can't serve again: .*golden\.npz has 0 bytes") as caught:
        rollback(three, "m")
    assert "version 3 still serves" in caught.value.message
    assert served_version(three, "m") == 3


def test_where_there_is_nothing_to_go_back_to(make_bundle, repository: Path) -> None:
    with pytest.raises(UsageError, match="no model called 'm' in this repository"):
        rollback(repository, "m")
    publish(make_bundle(), repository)
    with pytest.raises(UsageError, match="no version served before version 1"):
        rollback(repository, "m")
    with pytest.raises(UsageError, match="no version 7 in this repository"):
        rollback(repository, "m", 7)
    assert served_version(repository, "m") == 1


def test_without_the_ledger_it_is_the_next_lower_one(three: Path) -> None:
    (three.parent / ".models.millwork" / "ledger" / "m.json").unlink()
    assert rollback(three, "m").version == 2
