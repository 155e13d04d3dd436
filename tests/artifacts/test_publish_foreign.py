"""Someone else's model of the same name: its files stay, it can be had back, and a failure changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from models.jobs import Desk, millwork

from millwork.artifacts.repository import publish, rollback, served_version, versions
from millwork.errors import ModelError, ParityError, PublicationError
from millwork.triton import config as triton_config

LATEST = '# written by hand\nname: "m"\nbackend: "python"\nmax_batch_size: 8\n'


def contents(folder: Path) -> dict[str, bytes]:
    """Its files but for the lock, which stays."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def foreign(repository: Path, config: str | None) -> dict[str, bytes]:
    """A model with versions 2 and 5, and what a copy that was broken off left."""
    for number in ("2", "5", "6.part"):
        (repository / "m" / number).mkdir(parents=True)
        (repository / "m" / number / "model.py").write_text(f"# {number}")
    if config is not None:
        (repository / "m" / "config.pbtxt").write_text(config)
    return contents(repository)


CONFIGS = [
    LATEST,
    LATEST + "version_policy { all { } }\n",
    LATEST + "version_policy { specific { versions: 2 } }\n",
    None,
]
IDS = ["latest", "all", "specific", "no configuration"]


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_versions_count_up_after_its_own(make_bundle, repository: Path, config: str | None) -> None:
    before = foreign(repository, config)
    served = served_version(repository, "m")
    assert publish(make_bundle(), repository).version == 7, "Triton reads 6.part as version 6"
    after = contents(repository)
    assert {path: after[path] for path in before if path != "m/config.pbtxt"} == {
        path: content for path, content in before.items() if path != "m/config.pbtxt"
    }
    assert [(e.version, e.served, e.manifest is None) for e in versions(repository, "m")] == [
        (2, False, True),
        (5, False, True),
        (7, True, False),
    ]
    assert rollback(repository, "m").version == served
    text = (repository / "m" / "config.pbtxt").read_text()
    assert served_version(repository, "m") == served
    assert config is None or triton_config.fingerprint(text) == triton_config.fingerprint(config)
    assert rollback(repository, "m", 7).version == 7


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_a_failure_changes_nothing(make_bundle, repository: Path, config: str | None) -> None:
    before = foreign(repository, config)

    def verify(version: int) -> None:
        assert served_version(repository, "m") == version
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong; version"):
        publish(make_bundle(), repository, verify=verify)
    assert contents(repository) == before


def test_its_own_version_never_serves_by_its_configuration(make_bundle, repository: Path) -> None:
    """In poll mode a server would load ours by the other's configuration, were that not pinned first."""
    foreign(repository, LATEST)
    seen: list[int | None] = []
    publish(make_bundle(), repository, step=lambda _: seen.append(served_version(repository, "m")))
    assert set(seen) == {5, 7}
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ("{ not a configuration", ModelError),
        (LATEST + "field_of_2030: 1\nversion_policy { all { } }", PublicationError),
    ],
    ids=["unreadable", "unknown fields"],
)
def test_a_configuration_that_cannot_be_kept_is_not_replaced(
    make_bundle, repository: Path, config: str, error: type[Exception]
) -> None:
    before = foreign(repository, config)
    with pytest.raises(PublicationError, match=r"m/config\.pbtxt: ") as caught:
        publish(make_bundle(), repository)
    assert "another --name" in caught.value.hint
    assert isinstance(caught.value.__cause__, error)
    assert contents(repository) == before


def test_an_empty_folder_of_that_name(make_bundle, repository: Path) -> None:
    (repository / "m").mkdir(parents=True)
    with pytest.raises(PublicationError, match="no version of the model serves"):
        publish(make_bundle(), repository, verify=lambda _: (_ for _ in ()).throw(ParityError("wrong")))
    assert list((repository / "m").iterdir()) == []
    assert publish(make_bundle(), repository).version == 2


def test_what_someone_adds_while_a_first_version_is_verified_stays(make_bundle, repository: Path) -> None:
    def verify(_: int) -> None:
        (repository / "m" / "9").mkdir()
        (repository / "m" / "9" / "model.py").write_text("pass")
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong"):
        publish(make_bundle(), repository, verify=verify)
    assert contents(repository) == {"m/9/model.py": b"pass"}


def test_that_the_latest_became_a_number_is_said(desk: Desk) -> None:
    """By a rollback to it: from then on a newer version that somebody puts there doesn't serve by itself."""
    repository = desk.folder / "theirs"
    foreign(repository, LATEST)
    (repository / "m").rename(repository / "again")
    (repository / "again" / "config.pbtxt").write_text(LATEST.replace('"m"', '"again"'))
    to = ("--repository", repository, "--triton", "none")
    assert millwork("publish", desk.run_dir, *to, "--allow-contract-change").code == 0
    said = millwork("rollback", *to, "--name", "again")
    assert said.code == 0, said.err
    assert "names version 5 now, and no longer the latest" in " ".join(said.err.split())
