"""A publisher killed before any of its steps, and many at once: no server ever sees half a version.

A watcher reads the repositories all the time, as a server would: what config.pbtxt names must be whole.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from millwork.artifacts import manifest as manifests
from millwork.artifacts.bundle import Bundle
from millwork.artifacts.repository import publish, rollback, served_version, unfinished, versions
from millwork.artifacts.repository.terms import RefusedError, Terms
from millwork.errors import ModelError
from millwork.storage import wire
from millwork.triton import config as triton_config

PUBLISHER = Path(__file__).parent / "publisher.py"

FOREIGN = '# not ours\nname: "m"\nbackend: "python"\nmax_batch_size: 8\n'


class Watcher(threading.Thread):
    """Reads the models of one repository after another under ``folder``, always the newest or ``chosen``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.chosen: Path | None = None
        self.looks = 0
        self.violations: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.0005):  # lets the publisher have the interpreter
            made = [path for path in self.folder.glob("*") if path.name.isdigit()]
            newest = self.chosen or max(made, key=lambda path: int(path.name), default=None)
            for config in newest.glob("models/*/config.pbtxt") if newest else ():
                self.look(config)

    def look(self, config: Path) -> None:
        """A violation is one that is still there when config.pbtxt, read again, says the same."""
        content = _read(config)
        problem = _problem(config, content)
        self.looks += 1
        if problem and _read(config) == content:
            self.violations.append(f"{config}: {problem}")


@contextmanager
def watching(folder: Path) -> Iterator[Watcher]:
    watcher = Watcher(folder)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop.set()
        watcher.join()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _problem(config: Path, content: bytes | None) -> str:
    """What is wrong with the version that this configuration makes a server load."""
    if content is None:
        return ""
    try:
        numbers = [int(path.name) for path in config.parent.iterdir() if path.name.isdigit()]
        listed = triton_config.parse(content.decode()).version_policy.specific.versions
        named = set(listed) or set(triton_config.served(content.decode(), numbers))
        for number in named:
            folder = config.parent / str(number)
            if (folder / "foreign.py").exists():
                continue
            manifests.read_intact(folder)
            if (folder / "config.pbtxt").read_bytes() != content:
                return f"version {number} is served by another version's configuration"
    except (ModelError, OSError) as error:
        return str(error)
    return ""


def assert_tidy(repository: Path, existing: list[int]) -> None:
    """Nothing in flight, no litter, and every version that is there is whole."""
    state = repository.parent / ".models.millwork"
    assert unfinished(repository, "m") is None
    assert [path.name for part in ("staging", "trash") for path in (state / part).iterdir()] == []
    assert [path.name for path in (state / "ledger").iterdir()] == ["m.json"]
    assert [path.name for path in repository.iterdir() if path.is_dir()] == ["m"]
    names = {path.name for path in (repository / "m").iterdir()}
    assert names == {"config.pbtxt", *(str(number) for number in existing)}
    for entry in versions(repository, "m"):
        assert entry.manifest is None or manifests.verify_files(entry.folder) == []


def run(*arguments: object) -> None:
    subprocess.run([sys.executable, str(PUBLISHER), *map(str, arguments)], check=True, timeout=120)


def template(tmp_path: Path, make_bundle, published: int, foreign: bool) -> Path:
    """A folder ``template`` with a repository ``models`` in it that has served before."""
    folder = tmp_path / "template"
    (folder / "models").mkdir(parents=True)
    if foreign:
        (folder / "models" / "m" / "4").mkdir(parents=True)
        (folder / "models" / "m" / "4" / "foreign.py").write_text("pass")
        (folder / "models" / "m" / "config.pbtxt").write_text(FOREIGN)
    for number in range(published):
        publish(make_bundle(f"model {number}".encode()), folder / "models")
    return folder


@pytest.mark.parametrize(
    ("mode", "published", "foreign"),
    [
        ("publish", 0, False),
        ("publish", 1, False),
        ("publish", 0, True),
        ("refused", 0, False),
        ("refused", 1, False),
        ("refused", 0, True),
        ("rollback", 2, False),
    ],
)
def test_killed_before_every_step(tmp_path: Path, make_bundle, mode: str, published: int, foreign: bool) -> None:
    start = template(tmp_path, make_bundle, published, foreign)
    bundle, other = make_bundle(b"the killed one"), make_bundle(b"another one")
    (tmp_path / "bundle.json").write_bytes(wire.encode(bundle))
    out = tmp_path / "out"
    out.mkdir()
    with watching(out) as watcher:
        run("killed", tmp_path / "bundle.json", start, out, mode)
        last = int((out / "last").read_text())
        assert last >= 2
        for index in range(last):
            watcher.chosen = out / str(index)
            _next_publisher(out / str(index), [bundle, other][index % 2], start)
            _next_publisher(out / str(index), [other, bundle][index % 2], start)
    assert watcher.violations == []
    assert watcher.looks > last


def _next_publisher(work: Path, bundle: Bundle, start: Path) -> None:
    """Whatever was left, the next publisher gets its version to serve, and the old ones are still there."""
    repository = work / "models"
    asked: list[int] = []
    version = publish(bundle, repository, verify=asked.append).version
    assert asked == [version]
    assert served_version(repository, "m") == version
    there = [entry.version for entry in versions(repository, "m")]
    assert version == there[-1]
    assert_tidy(repository, there)
    for path in (path for path in (start / "models").glob("m/*/*") if path.is_file()):
        assert (work / path.relative_to(start)).read_bytes() == path.read_bytes()


@pytest.fixture
def unverified(tmp_path: Path, make_bundle) -> tuple[Path, Bundle]:
    """A repository whose version 2 was committed by a publisher that was killed before it was verified."""
    start = template(tmp_path, make_bundle, published=1, foreign=False)
    bundle = make_bundle(b"the killed one")
    (tmp_path / "bundle.json").write_bytes(wire.encode(bundle))
    out = tmp_path / "out"
    out.mkdir()
    run("killed", tmp_path / "bundle.json", start, out, "publish")
    for index in range(int((out / "last").read_text())):
        repository = out / str(index) / "models"
        if served_version(repository, "m") == 2 and unfinished(repository, "m") is not None:
            return repository, bundle
    raise AssertionError("no publisher was killed between the commit and the verification")


def test_unverified_then_the_same_content_is_verified(unverified: tuple[Path, Bundle]) -> None:
    repository, bundle = unverified
    asked: list[int] = []
    assert publish(bundle, repository, verify=asked.append).version == 2
    assert asked == [2]
    assert_tidy(repository, [1, 2])
    assert rollback(repository, "m").version == 1


def test_unverified_then_another_content_replaces_it(unverified: tuple[Path, Bundle], make_bundle) -> None:
    repository, _ = unverified
    told: list[int | None] = []
    assert publish(make_bundle(b"another"), repository, restored=told.append).version == 3
    assert told == [1]
    assert_tidy(repository, [1, 3])


@pytest.mark.parametrize(
    ("read", "told"), [(1, "version 2 serves, 1 was read"), (2, "version 2 serves and was never verified")]
)
def test_unverified_then_who_read_a_version_leaves_all_as_it_is(
    unverified: tuple[Path, Bundle], make_bundle, read: int, told: str
) -> None:
    repository, bundle = unverified
    with pytest.raises(RefusedError, match=told):
        publish(make_bundle(b"tuned"), repository, terms=Terms(expected=read))
    assert served_version(repository, "m") == 2
    assert unfinished(repository, "m") is not None
    assert publish(bundle, repository, terms=Terms(expected=1)).version == 2, "what was asked for by who read 1"


def test_unverified_then_a_rollback_is_its_undoing(unverified: tuple[Path, Bundle]) -> None:
    repository, _ = unverified
    told: list[int | None] = []
    assert rollback(repository, "m", restored=told.append).version == 1
    assert told == [1]
    assert_tidy(repository, [1])


def test_what_a_killed_publisher_staged_for_another_model_goes_too(
    unverified: tuple[Path, Bundle], make_bundle
) -> None:
    repository, _ = unverified
    left = repository.parent / ".models.millwork" / "staging" / "other"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    publish(make_bundle(name="third"), repository)
    assert not left.exists()


def test_without_the_state_folder_versions_still_count_up(unverified: tuple[Path, Bundle], make_bundle) -> None:
    repository, _ = unverified
    shutil.rmtree(repository.parent / ".models.millwork")
    assert publish(make_bundle(b"another"), repository).version == 3


def test_ten_publishers_at_once_get_ten_versions(tmp_path: Path, make_bundle) -> None:
    bundles = [make_bundle(f"model {number}".encode()) for number in range(10)]
    paths = [tmp_path / f"{number}.json" for number in range(10)]
    for path, bundle in zip(paths, bundles, strict=True):
        path.write_bytes(wire.encode(bundle))
    repository = tmp_path / "out" / "0" / "models"
    with watching(tmp_path / "out") as watcher:
        run("together", repository, *paths)
    assert watcher.violations == []
    entries = versions(repository, "m")
    assert [entry.version for entry in entries] == list(range(1, 11))
    assert {entry.manifest.files for entry in entries} == {bundle.manifest.files for bundle in bundles}
    assert served_version(repository, "m") == 10
    assert_tidy(repository, list(range(1, 11)))
