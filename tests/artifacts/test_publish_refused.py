"""What the operating system refuses: one message, nothing left behind, and the old version still served."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from millwork.artifacts.repository import publish, rollback, served_version, unfinished
from millwork.artifacts.repository.layout import locate
from millwork.artifacts.repository.lock import Waiting, hold
from millwork.errors import PublicationError, UsageError
from millwork.storage import wire


def contents(folder: Path) -> dict[str, bytes]:
    """Its files but for the lock, which stays."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def litter(repository: Path) -> list[Path]:
    state = repository.parent / f".{repository.name}.millwork"
    return [path for part in ("staging", "trash") for path in (state / part).glob("*")]


def steps_of(bundle, repository: Path) -> list[str]:
    """The steps of one publication, in order."""
    names: list[str] = []
    publish(bundle, repository, step=names.append)
    return names


def failing_at(index: int, number: int) -> Callable[[str], None]:
    """A step callback that raises this ``OSError`` at that step, and never again."""
    left = index

    def step(_: str) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(number, os.strerror(number), "/somewhere")

    return step


@pytest.mark.parametrize("published", [0, 1])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_an_error_at_any_step_undoes_them_all(
    make_bundle, repository: Path, tmp_path: Path, published: int, number: int
) -> None:
    rehearsal = tmp_path / "rehearsal" / "models"
    for bundle in [make_bundle()] * published:
        publish(bundle, repository)
        publish(bundle, rehearsal)
    new = make_bundle(b"new")
    steps = steps_of(new, rehearsal)
    before = contents(repository)
    assert len(steps) > 10
    for index, name in enumerate(steps[:-1]):
        with pytest.raises(PublicationError, match=r"m: publishing failed: /somewhere: ") as caught:
            publish(new, repository, step=failing_at(index, number))
        still = "version 1 still serves" if published else "no version of the model serves"
        assert caught.value.message.endswith(still), name
        assert ("Free some space" in caught.value.hint) == (number == errno.ENOSPC)
        assert (contents(repository), litter(repository), unfinished(repository, "m")) == (before, [], None), name
    tidying = len(steps) - 1
    assert publish(new, repository, step=failing_at(tidying, number)).version > published, "it had been published"


def test_an_undoing_that_fails_is_said_and_finished_by_the_next(make_bundle, repository: Path) -> None:
    publish(make_bundle(), repository)
    before = contents(repository)

    def step(name: str) -> None:
        if name.startswith(("verify", "undo: put")):
            raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere")

    with pytest.raises(PublicationError, match="the undo failed too: /somewhere") as caught:
        publish(make_bundle(b"new"), repository, verify=lambda _: None, step=step)
    assert "The next publication or rollback then finishes the undo" in caught.value.hint
    assert rollback(repository, "m").version == 1
    assert (contents(repository), litter(repository), unfinished(repository, "m")) == (before, [], None)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no mount: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(make_bundle, small_disk: Path) -> None:
    repository = small_disk / "models"
    publish(make_bundle(), repository)
    before = contents(repository)
    with pytest.raises(PublicationError, match="the disk is full; version 1 still serves") as caught:
        publish(make_bundle(b"x" * 700_000), repository)
    assert caught.value.hint == "Free some space, and publish again."
    assert (contents(repository), litter(repository)) == (before, [])
    assert publish(make_bundle(b"small"), repository).version == 2


def test_a_disk_that_fills_while_the_new_version_is_verified(make_bundle, small_disk: Path) -> None:
    repository = small_disk / "models"
    publish(make_bundle(), repository)
    before = contents(repository)

    def fill_and_refuse(_: int) -> None:
        with (small_disk / "log").open("wb", buffering=0) as log:
            while True:
                log.write(b"x" * 4096)

    with pytest.raises(PublicationError, match="the disk is full; version 1 still serves"):
        publish(make_bundle(b"new"), repository, verify=fill_and_refuse)
    assert (contents(repository), litter(repository)) == (before, [])
    assert unfinished(repository, "m") is None


def test_a_read_only_repository(make_bundle, small_disk: Path) -> None:
    repository = small_disk / "models"
    publish(make_bundle(), repository)
    before = contents(repository)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(PublicationError, match="the repository isn't writable"):
        publish(make_bundle(b"new"), repository)
    with pytest.raises(PublicationError, match="the repository isn't writable"):
        rollback(repository, "m")
    assert contents(repository) == before


def test_a_repository_that_is_its_own_file_system(
    make_bundle, small_disk: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLWORK_STAGING", str(tmp_path / "staging"))
    repository = small_disk / "models"
    with pytest.raises(PublicationError, match="on another file system than") as caught:
        publish(make_bundle(), repository)
    assert "MILLWORK_STAGING" in caught.value.hint
    assert contents(small_disk) == {}
    monkeypatch.setenv("MILLWORK_STAGING", str(small_disk / "staging"))
    assert publish(make_bundle(), repository).version == 1
    assert rollback(repository, "m", 1).version == 1
    assert not (small_disk / ".models.millwork").exists()
    monkeypatch.delenv("MILLWORK_STAGING")
    assert publish(make_bundle(), small_disk).version == 1
    assert not (tmp_path / ".disk.millwork").exists()


def test_staging_inside_the_repository_is_refused(
    make_bundle, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLWORK_STAGING", str(repository / "staging"))
    with pytest.raises(UsageError, match="Triton would take it for a model"):
        publish(make_bundle(), repository)
    assert not repository.exists()


def test_a_file_where_a_folder_should_be(make_bundle, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PublicationError, match=r"the repository can't be made: .*there is a file of that name"):
        publish(make_bundle(), file)
    with pytest.raises(PublicationError, match=r"the repository can't be made: .*a file, not a folder"):
        publish(make_bundle(), file / "models")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m").write_text("mine")
    with pytest.raises(PublicationError, match="expected the model's folder, but there is a file of that name"):
        publish(make_bundle(), tmp_path / "models")
    assert (tmp_path / "models" / "m").read_text() == "mine"


@pytest.mark.parametrize("content", [b"{", b'{"manifests": {"1": "\xe1b"}}', b'{"flight": ' + b"[" * 9999])
def test_a_ledger_that_cannot_be_read(make_bundle, repository: Path, content: bytes) -> None:
    publish(make_bundle(), repository)
    ledger = repository.parent / ".models.millwork" / "ledger" / "m.json"
    ledger.write_bytes(content)
    with pytest.raises(PublicationError, match=r"^\S+/ledger/m\.json: not a ledger of millwork"):
        publish(make_bundle(b"new"), repository)
    assert served_version(repository, "m") == 1
    ledger.unlink()
    assert publish(make_bundle(b"new"), repository).version == 2


def test_a_second_publisher_waits_and_gets_the_next_version(make_bundle, repository: Path) -> None:
    """The first one's verification starts the second; it ends only once that one waits for the lock."""
    second = make_bundle(b"second")
    published: list[int] = []
    waiting = threading.Thread(target=lambda: published.append(publish(second, repository).version))

    def verify(_: int) -> None:
        waiting.start()
        with pytest.raises(PublicationError, match="is being published by"):
            publish(make_bundle(b"third"), repository, waiting=Waiting(0))

    assert publish(make_bundle(), repository, verify=verify).version == 1
    waiting.join(30)
    assert published == [2]


def test_who_waits_says_for_whom_and_waits_as_long_as_that_one_may_take(make_bundle, repository: Path) -> None:
    second = make_bundle(b"second")
    published: list[int] = []
    told: list[str] = []
    said = threading.Event()

    def say(text: str) -> None:
        told.append(text)
        said.set()

    patient = Waiting(0, say=say)
    waiting = threading.Thread(target=lambda: published.append(publish(second, repository, waiting=patient).version))

    def verify(_: int) -> None:
        waiting.start()
        assert said.wait(30)

    publish(make_bundle(), repository, verify=verify, waiting=Waiting(takes=600.0))
    waiting.join(30)
    assert published == [2]
    assert re.fullmatch(rf"waiting for process {os.getpid()} on .* since .*, who publishes m: up to 600 s", told[0])


def test_who_holds_the_lock_is_said(make_bundle, repository: Path, tmp_path: Path) -> None:
    publish(make_bundle(), repository)
    script = (
        "import sys; from pathlib import Path\n"
        "from millwork.artifacts.repository.layout import locate\n"
        "from millwork.artifacts.repository.lock import Waiting, hold\n"
        "with hold(locate(Path(sys.argv[1]), 'm'), Waiting(0)):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(repository)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(PublicationError, match=rf"published by process {holder.pid} on .* since .*; waited 0 s"):
            publish(make_bundle(b"new"), repository, waiting=Waiting(0))
        holder.kill()
    assert publish(make_bundle(b"new"), repository, waiting=Waiting(5)).version == 2, "a killed holder holds nothing"


def test_the_lock_is_free_after_a_failure(make_bundle, repository: Path) -> None:
    bundle = make_bundle()
    with pytest.raises(PublicationError):
        publish(msgspec.structs.replace(bundle, manifest_sha256="0" * 64), repository)
    with hold(locate(repository, "m"), Waiting(0)):
        pass
    assert wire.decode(wire.encode(bundle), type(bundle)) == bundle
