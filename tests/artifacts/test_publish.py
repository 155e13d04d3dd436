"""Publishing: what lies there afterwards, and what happens when the new version isn't right."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import msgspec
import pytest

from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import NoBackendError, find_version, publish, served_version, unfinished, versions
from millwork.errors import ModelError, ParityError, PublicationError, UsageError
from millwork.triton import config as triton_config


def listing(folder: Path) -> list[str]:
    """Its files but for the lock, which stays."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in files)


def litter(repository: Path) -> list[str]:
    """Files in the state folder beside the locks and the finished ledgers."""
    state = repository.parent / f".{repository.name}.millwork"
    return [name for name in listing(state) if not name.endswith((".lock", ".json"))] + [
        path.name for part in ("staging", "trash") for path in (state / part).iterdir()
    ]


def test_the_first_version(make_bundle, repository: Path) -> None:
    seen: list[int] = []
    bundle = make_bundle()
    published = publish(bundle, repository, verify=seen.append)
    assert (published.version, published.verified, seen) == (1, True, [1])
    assert published.manifest_sha256 == bundle.manifest_sha256
    assert listing(repository) == [
        "m/1/config.pbtxt",
        "m/1/golden.npz",
        "m/1/manifest.json",
        "m/1/model.onnx",
        "m/1/parts/extra.bin",
        "m/config.pbtxt",
    ]
    assert manifests.read_intact(repository / "m" / "1") == bundle.manifest
    assert (repository / "m" / "config.pbtxt").read_text() == triton_config.with_version(bundle.config, 1)
    assert litter(repository) == []


def test_versions_count_up_and_the_newest_serves(make_bundle, repository: Path) -> None:
    for number in (1, 2, 3):
        published = publish(make_bundle(f"model {number}".encode()), repository)
        assert (published.version, published.verified) == (number, False)
        assert served_version(repository, "m") == number
    entries = versions(repository, "m")
    assert [(entry.version, entry.served) for entry in entries] == [(1, False), (2, False), (3, True)]
    for entry in entries:
        assert manifests.verify_files(entry.folder) == []
        own = (entry.folder / "config.pbtxt").read_text()
        assert triton_config.served(own, [1, 2, 3]) == (entry.version,)
    assert find_version(repository, "m") == repository / "m" / "3"
    assert find_version(repository, "m", 2) == repository / "m" / "2"


def test_other_users_can_read_what_was_published(make_bundle, repository: Path) -> None:
    mask = os.umask(0o022)
    try:
        bundle = make_bundle()
        for path in bundle.folder.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        publish(bundle, repository)
    finally:
        os.umask(mask)
    for path in [repository, *repository.rglob("*")]:
        expected = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_the_same_content_is_not_published_twice(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    seen: list[int] = []
    again = make_bundle(created="2031-01-01")
    assert publish(again, repository, verify=seen.append).version == 1
    assert seen == [1]
    assert publish(make_bundle(b"new"), repository).version == 2
    assert publish(make_bundle(), repository).version == 3, "version 1 doesn't serve any more"


def test_what_is_to_be_signed_is_published_again(make_bundle, repository: Path) -> None:
    def sign(folder: Path) -> None:
        (folder / manifests.SIGNATURE_FILE).write_text("signed")

    assert publish(make_bundle(), repository).version == 1
    assert [publish(make_bundle(), repository, sign=sign).version for _ in range(2)] == [2, 2]
    assert (repository / "m" / "2" / manifests.SIGNATURE_FILE).is_file()
    assert publish(make_bundle(), repository).version == 2


def test_a_damaged_version_is_published_anew(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    (repository / "m" / "1" / "model.onnx").write_bytes(b"damaged")
    assert publish(make_bundle(), repository).version == 2


def test_a_configuration_changed_by_hand_is_published_anew(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    config = repository / "m" / "config.pbtxt"
    config.write_text(config.read_text().replace("count: 1", "count: 2"))
    assert publish(make_bundle(), repository).version == 2
    assert "count: 1" in config.read_text()


def test_models_do_not_touch_each_other(make_bundle, repository: Path) -> None:
    publish(make_bundle(name="one"), repository)
    publish(make_bundle(name="two"), repository)
    assert sorted(path.name for path in repository.iterdir() if path.is_dir()) == ["one", "two"]
    assert publish(make_bundle(b"new", name="one"), repository).version == 2
    assert served_version(repository, "two") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ParityError("row 3 differs by 0.5", "Look there."), r"row 3 differs by 0\.5"),
        (KeyboardInterrupt(), "interrupted by Ctrl-C"),
        (RuntimeError("the server went away"), "RuntimeError: the server went away"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_first_version_that_fails_leaves_no_model(
    make_bundle, repository: Path, error: BaseException, said: str
) -> None:
    told: list[int | None] = []

    def verify(version: int) -> None:
        assert served_version(repository, "m") == version
        raise error

    with pytest.raises(PublicationError, match=f"{said}; no version of the model serves") as caught:
        publish(make_bundle(), repository, verify=verify, restored=told.append)
    assert caught.value.exit_code == 7
    assert caught.value.hint == getattr(error, "hint", "")
    assert (listing(repository), told, litter(repository)) == ([], [None], [])


def unloadable(_: int) -> None:
    raise NoBackendError("unable to find backend library")


def test_a_first_version_that_no_server_could_load_gives_its_number_back(make_bundle, repository: Path) -> None:
    """Nobody was answered by it. A later version's number is gone all the same: other servers may read the folder."""
    with pytest.raises(PublicationError, match="unable to find backend library; no version of the model serves"):
        publish(make_bundle(b"a"), repository, verify=unloadable)
    assert publish(make_bundle(b"b"), repository, verify=lambda _: None).version == 1
    with pytest.raises(PublicationError, match="unable to find backend library; version 1 still serves"):
        publish(make_bundle(b"c"), repository, verify=unloadable)
    assert publish(make_bundle(b"d"), repository).version == 3

    shutil.rmtree(repository / "m")  # and what served before the model was removed isn't forgotten
    with pytest.raises(PublicationError):
        publish(make_bundle(b"e"), repository, verify=unloadable)
    assert publish(make_bundle(b"f"), repository).version == 4


def test_a_later_version_that_fails_leaves_the_one_before(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    before = {path: (repository / path).read_bytes() for path in listing(repository)}
    told: list[int | None] = []

    def verify(version: int) -> None:
        assert (served_version(repository, "m"), unfinished(repository, "m").version) == (2, 2)
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong; version 1 still serves"):
        publish(make_bundle(b"new"), repository, verify=verify, restored=told.append)
    assert {path: (repository / path).read_bytes() for path in listing(repository)} == before
    assert (told, litter(repository), unfinished(repository, "m")) == ([1], [], None)
    assert publish(make_bundle(b"newer"), repository).version == 3, "2 has been seen by a server"


def test_a_served_version_that_fails_its_verification_stays(make_bundle, repository: Path) -> None:
    def verify(_: int) -> None:
        raise ParityError("wrong")

    publish(make_bundle(), repository)
    with pytest.raises(PublicationError, match="wrong; version 1 still serves"):
        publish(make_bundle(), repository, verify=verify)
    assert served_version(repository, "m") == 1


def test_a_server_that_cannot_be_reloaded_is_said(make_bundle, repository: Path) -> None:
    def verify(_: int) -> None:
        raise ParityError("wrong")

    def restored(_: int | None) -> None:
        raise ConnectionError("no server")

    publish(make_bundle(), repository)
    with pytest.raises(PublicationError, match=r"wrong; the server couldn't .*no server.*; version 1 still serves"):
        publish(make_bundle(b"new"), repository, verify=verify, restored=restored)
    assert (served_version(repository, "m"), unfinished(repository, "m")) == (1, None)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_a_bundle_changed_since_it_was_sealed_is_refused(make_bundle, repository: Path, file: str) -> None:
    bundle = make_bundle()
    content = (bundle.folder / file).read_bytes()
    (bundle.folder / file).write_bytes(content.replace(b"a model", b"another") + b" ")
    with pytest.raises(PublicationError, match=file.replace(".", r"\.")):
        publish(bundle, repository)
    assert (listing(repository), litter(repository)) == ([], [])


def test_a_bundle_that_reaches_out_of_its_folder_is_refused(make_bundle, repository: Path) -> None:
    bundle = make_bundle()
    entry = msgspec.structs.replace(bundle.manifest.files[0], path="../outside")
    manifest = msgspec.structs.replace(bundle.manifest, files=(entry,))
    with pytest.raises(PublicationError, match=r"'\.\./outside' is outside the bundle's folder"):
        publish(msgspec.structs.replace(bundle, manifest=manifest), repository)
    assert litter(repository) == []


def test_a_link_to_the_repository_is_the_repository(make_bundle, repository: Path, tmp_path: Path) -> None:
    publish(make_bundle(), repository)
    (tmp_path / "link").symlink_to(repository)
    assert publish(make_bundle(b"new"), tmp_path / "link").version == 2
    assert not (tmp_path / ".link.millwork").exists()


def test_asking_for_what_is_not_there(make_bundle, repository: Path) -> None:
    assert (versions(repository, "m"), served_version(repository, "m"), unfinished(repository, "m")) == ([], None, None)
    with pytest.raises(UsageError, match="no model called 'm'"):
        find_version(repository, "m")
    publish(make_bundle(), repository)
    with pytest.raises(UsageError, match="no version 5 in this repository") as caught:
        find_version(repository, "m", 5)
    assert "The versions here: 1." in str(caught.value)


def test_a_configuration_that_cannot_be_read_is_named(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    config = repository / "m" / "config.pbtxt"
    config.write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"m/config\.pbtxt: "):
        find_version(repository, "m")
    config.unlink()
    config.mkdir()
    with pytest.raises(ModelError, match=r"m/config\.pbtxt: this is a folder, not a file"):
        versions(repository, "m")
    with pytest.raises(PublicationError, match=r"m/config\.pbtxt: this is a folder"):
        publish(make_bundle(b"new"), repository)
