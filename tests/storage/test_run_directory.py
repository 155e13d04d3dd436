"""What a run made is there the next time, whole or not at all, and never when something that decides it changed."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

import millwork
from millwork.errors import InternalError, ModelError, UsageError
from millwork.storage import permissions, run_directory
from millwork.storage.files import atomic_write, remove_tree, sha256_file
from millwork.storage.run_directory import RunDirectory, changes
from millwork.targets import Target
from millwork.values import SCHEMA, ModelSummary, Record, TargetSummary, Value


class Built(Value, frozen=True):
    file: Path
    trees: int
    seconds: float = 0.0


KEY = {"model": "ab" * 32, "options": {"opset": 17, "precision": "fp32"}, "versions": ["1", "2"]}


def build(folder: Path) -> Built:
    (folder / "model").mkdir()
    (folder / "model" / "model.onnx").write_bytes(b"a model")
    return Built(file=Path("model/model.onnx"), trees=3)


def never(folder: Path) -> Built:
    raise AssertionError(f"made again: {folder}")


def entries(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "stages").iterdir())


@pytest.fixture
def notes() -> list[str]:
    return []


# ── hit and miss ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_key_is_made_once(tmp_path: Path, notes: list[str]) -> None:
    with RunDirectory(tmp_path, notes.append) as run:
        first = run.stage("build", KEY, build, Built)
    with RunDirectory(tmp_path, notes.append) as run:
        again = run.stage("build", dict(reversed(KEY.items())), never, Built)
    assert (first.cached, again.cached) == (False, True)
    assert first.value == again.value == Built(file=Path("model/model.onnx"), trees=3)
    assert (again.folder / again.value.file).read_bytes() == b"a model"
    assert notes == []


@pytest.mark.parametrize(
    "changed",
    [
        {**KEY, "model": "ac" * 32},
        {**KEY, "options": {"opset": 18, "precision": "fp32"}},
        {**KEY, "options": {"opset": 17}},
        {**KEY, "options": {"opset": "17", "precision": "fp32"}},
        {**KEY, "versions": ["2", "1"]},
        {**KEY, "gpu": None},
    ],
)
def test_whatever_changes_in_the_key_is_made(tmp_path: Path, changed: dict[str, object]) -> None:
    with RunDirectory(tmp_path) as run:
        run.stage("build", KEY, build, Built)
        assert not run.stage("build", changed, build, Built).cached
        assert run.stage("build", KEY, never, Built).cached


def test_stages_of_the_same_key_are_apart(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        run.stage("build", KEY, build, Built)
        assert not run.stage("check", KEY, build, Built).cached


def test_another_version_of_millwork_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunDirectory(tmp_path) as run:
        run.stage("build", KEY, build, Built)
        monkeypatch.setattr("millwork.storage.run_directory.__version__", "999")
        assert not run.stage("build", KEY, build, Built).cached


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, math.nan),
        (0.0, -0.0),
        (1, 1.0),
        (Target(name="a", kind="cpu"), Target(name="b", kind="cpu")),
        (Path("a"), Path("b")),
    ],
)
def test_keys_tell_apart_what_answers_may_depend_on(tmp_path: Path, one: object, other: object) -> None:
    with RunDirectory(tmp_path) as run:
        run.stage("load", {"value": one}, build, Built)
        assert run.stage("load", {"value": one}, never, Built).cached
        assert not run.stage("load", {"value": other}, build, Built).cached


def test_the_key_file_holds_all_that_decides(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        folder = run.stage("build", KEY, build, Built).folder
    kept = json.loads((folder / "key.json").read_text())
    assert kept["material"]["key"] == KEY
    assert kept["material"]["stage"] == "build"
    assert len(kept["sha256"]) == 64
    assert folder.name == f"build-{kept['sha256'][:16]}"


# ── what isn't whole isn't there ──────────────────────────────────────────────────────────────────────────


def flip(path: Path, bit: int = 0, at: int | None = None) -> None:
    """One bit of a byte, the one in the middle unless ``at`` says which. Bit 7 leaves no UTF-8."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1 << bit
    path.write_bytes(content)


FLIPS = [pytest.param(partial(flip, bit=bit), id=f"bit {bit}") for bit in range(8)]


@pytest.mark.parametrize("harm", [*FLIPS, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["model/model.onnx", "result.json", "key.json", "done"])
def test_a_damaged_stage_is_made_again_and_said(
    tmp_path: Path, notes: list[str], name: str, harm: Callable[[Path], object]
) -> None:
    with RunDirectory(tmp_path, notes.append) as run:
        folder = run.stage("build", KEY, build, Built).folder
        harm(folder / name)
        again = run.stage("build", KEY, build, Built)
        assert not again.cached
        assert (folder / again.value.file).read_bytes() == b"a model"
        assert run.stage("build", KEY, never, Built).cached
    assert len(notes) == 1
    assert folder.name in notes[0]


def test_any_flipped_bit_of_done_is_seen(tmp_path: Path, notes: list[str]) -> None:
    """Every byte of what says how the others were. Its key is compared only where the stage is asked for."""
    with RunDirectory(tmp_path, notes.append) as run:
        folder = run.stage("build", KEY, build, Built).folder
        whole = (folder / "done").read_bytes()
        key = whole.index(b'"key":"') + len(b'"key":"')
        for at in range(len(whole)):
            for bit in (at % 7, 7):
                flip(folder / "done", bit, at)
                assert changes(folder) or (bit < 7 and 0 <= at - key < 64), f"byte {at}, bit {bit}"
                (folder / "done").write_bytes(whole)
        assert changes(folder) == []
        for at in range(0, len(whole), 40):
            flip(folder / "done", at // 40 % 8, at)
            assert not run.stage("build", KEY, build, Built).cached, f"byte {at}"
    assert len(notes) == len(range(0, len(whole), 40))


def test_a_stage_that_raises_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> Built:
        build(folder)
        raise ModelError("model.ubj: it has no trees")

    with RunDirectory(tmp_path) as run:
        with pytest.raises(ModelError):
            run.stage("build", KEY, refuse, Built)
        assert entries(tmp_path) == []
        assert not run.stage("build", KEY, build, Built).cached


@pytest.mark.parametrize(
    "bad",
    [
        lambda folder: Built(file=folder / "model.onnx", trees=3),
        lambda _: Built(file=Path(), trees=3, seconds=math.nan),
    ],
)
def test_a_value_that_a_later_run_could_not_use_is_a_bug_now(tmp_path: Path, bad: Callable[[Path], Built]) -> None:
    with RunDirectory(tmp_path) as run:
        with pytest.raises(InternalError, match="stage build"):
            run.stage("build", KEY, bad, Built)
        assert entries(tmp_path) == []


# ── killed, and two at once ───────────────────────────────────────────────────────────────────────────────

PROGRAM = """
    import sys
    from pathlib import Path
    from millwork.storage.run_directory import RunDirectory

    def first(folder):
        (folder / "a").write_text("a")
        return 1

    def second(folder):
        (folder / "half").write_text("half of it")
        print("at work", flush=True)
        sys.stdin.read()
        return 2

    with RunDirectory(Path(sys.argv[1])) as run:
        run.stage("first", {}, first, int)
        run.stage("second", {}, second, int)
"""


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in the middle of its second stage."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_run_resumes_from_its_last_whole_stage(
    tmp_path: Path, at_work: subprocess.Popen[str], notes: list[str]
) -> None:
    at_work.send_signal(signal.SIGKILL)
    at_work.wait()
    left = [name for name in entries(tmp_path / "run") if name.startswith("second")]
    assert [name.partition(".tmp-")[2] for name in left] == [str(at_work.pid)]
    atomic = tmp_path / "run" / ".run.json.tmp-1-abc"
    atomic.write_text("half a record")
    with RunDirectory(tmp_path / "run", notes.append) as run:
        assert not [name for name in entries(tmp_path / "run") if name.startswith("second")]
        assert not atomic.exists()
        assert run.stage("first", {}, lambda _: 0, int)[:2] == (1, True)
        assert run.stage("second", {}, lambda _: 5, int)[:2] == (5, False)
    assert notes == []


def test_a_folder_that_nothing_came_of_goes_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="nothing"), RunDirectory(tmp_path / "outer" / "run") as run:
            run.stage("first", {}, lambda _: int("nothing"), int)
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with RunDirectory(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir(), "a folder of the user's stays"


def test_a_second_run_at_once_is_told_who_is_there(tmp_path: Path, at_work: subprocess.Popen[str]) -> None:
    with pytest.raises(UsageError, match=f"process {at_work.pid}"):
        RunDirectory(tmp_path / "run")
    assert len(entries(tmp_path / "run")) == 2, "the other run's work was touched"
    at_work.communicate("")
    assert at_work.returncode == 0
    with RunDirectory(tmp_path / "run") as run:
        assert run.stage("second", {}, lambda _: 5, int)[:2] == (2, True)


# ── where it can't be written ─────────────────────────────────────────────────────────────────────────────


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UsageError, match=r"(?s)run/stages: a part of this path is a file.*--run-dir"):
        RunDirectory(tmp_path / "run")
    with pytest.raises(UsageError, match="a file, not a folder"):
        RunDirectory(tmp_path / "run" / "below")


SMALL_DISK = """
    import os, sys
    from pathlib import Path
    from millwork.errors import UsageError
    from millwork.storage.files import atomic_write
    from millwork.storage.run_directory import RunDirectory

    def large(folder):
        (folder / "some").write_bytes(b"1" * 1000)
        (folder / "large").write_bytes(b"1" * (4 << 20))
        return 1

    def many(folder):
        (folder / "most").write_bytes(b"1" * (800 << 10))
        return "1" * (1 << 20)

    disk = Path(sys.argv[1])
    refusals = []
    with RunDirectory(disk) as run:
        run.stage("small", {}, lambda folder: 7, int)
        atomic_write(disk / "run.json", b"old")
        for produce, reply in ((large, int), (many, str)):
            try:
                run.stage("build", {}, produce, reply)
            except UsageError as error:
                refusals.append(error.message)
        try:
            atomic_write(disk / "run.json", b"1" * (4 << 20))
        except OSError as error:
            refusals.append(str(error))
        assert len(refusals) == 3, refusals
        assert (disk / "run.json").read_bytes() == b"old"
        assert [path.name.partition("-")[0] for path in (disk / "stages").iterdir()] == ["small"]
        assert sorted(path.name for path in disk.iterdir()) == ["lock", "run.json", "stages"]
        assert run.stage("small", {}, lambda folder: 8, int)[:2] == (7, True)
    print(refusals[0])
"""


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    ended = on_a_small_disk(tmp_path, SMALL_DISK)
    assert f"can't write the run directory {tmp_path}" in ended.stdout
    assert "the disk is full" in ended.stdout


def test_a_limit_on_file_size_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """As on a full disk, and possible on every machine."""
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    program = limited + textwrap.dedent(SMALL_DISK).replace('"1" * (1 << 20)', '"1" * (2 << 20)')
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"can't write the run directory {tmp_path}" in ended.stdout


READ_ONLY = """
    import subprocess, sys
    from pathlib import Path
    from millwork.errors import UsageError
    from millwork.storage.run_directory import RunDirectory

    disk = Path(sys.argv[1])
    RunDirectory(disk).close()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for folder in (disk, disk / "other"):
        try:
            RunDirectory(folder)
        except UsageError as error:
            print(error.message)
"""


def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    said = on_a_small_disk(tmp_path, READ_ONLY).stdout.splitlines()
    assert len(said) == 2
    assert all("the file system is read-only" in line for line in said)


def on_a_small_disk(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` with ``folder`` on a file system of 1 MiB, in a namespace of its own."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0"'
    if subprocess.run([*command, mount, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this machine doesn't let a user mount a file system")
    text = textwrap.dedent(program)
    ended = subprocess.run(
        [*command, f'{mount}; exec "$1" -c "$2" "$0"', str(folder), sys.executable, text],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended


# ── the record, and files ─────────────────────────────────────────────────────────────────────────────────


def test_the_record_is_run_json(tmp_path: Path) -> None:
    record = Record(
        schema=SCHEMA,
        model=ModelSummary(framework="xgboost", objective="binary:logistic", sha256="0", features=(), outputs=()),
        target=TargetSummary(name="cpu", measured_on="here", is_target=True),
        candidates=(),
    )
    with RunDirectory(tmp_path) as run:
        run.write_record(record)
    assert msgspec.json.decode((tmp_path / "run.json").read_bytes(), type=Record) == record


def test_an_atomic_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert path.stat().st_mode == ordinary.stat().st_mode


def test_a_files_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_module_of_the_package_decides_what_is_kept(tmp_path: Path) -> None:
    """Stages are kept under a digest of the code. A digest of one folder would keep them when another one changes."""
    package = Path(millwork.__file__).parent
    found = {path.relative_to(package).as_posix() for path in run_directory.sources()}
    wanted = {"__init__.py", "storage/run_directory.py", "compile/frontends/xgboost/model.py", "passes/forest.py",
              "validators/parity.py", "artifacts/repository/transaction.py", "pipeline/stages.py"}  # fmt: skip
    assert wanted <= found
    assert len(found) > 250
    linked = tmp_path / "package"
    linked.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inner.py").write_text("")
    (linked / "linked").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in run_directory.sources(linked)] == ["inner.py"]


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_dangling_link(path: Path) -> None:
    path.symlink_to("/mnt/gone")


def a_link_to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent.parent)


@pytest.mark.parametrize(
    "make", [Path.touch, a_pipe, a_dangling_link, a_link_to_a_folder], ids=lambda made: made.__name__
)
def test_what_was_put_in_a_stages_place_is_removed_and_it_is_made_again(
    make: Callable[[Path], None], tmp_path: Path, notes: list[str]
) -> None:
    with RunDirectory(tmp_path / "run", notes.append) as run:
        folder = run.stage("first", {}, lambda _: 1, int).folder
    remove_tree(folder)
    make(folder)
    with RunDirectory(tmp_path / "run", notes.append) as run:
        again = run.stage("first", {}, lambda _: 1, int)
    assert not again.cached
    assert sorted(path.name for path in folder.iterdir()) == ["done", "key.json", "result.json"]
    assert not folder.is_symlink()
    assert f"the run directory's {folder.name} is damaged" in notes[0]


@pytest.mark.parametrize("name", ["done", "result.json", "key.json"])
def test_a_pipe_among_a_stages_files_is_not_waited_for(name: str, tmp_path: Path, notes: list[str]) -> None:
    with RunDirectory(tmp_path / "run", notes.append) as run:
        folder = run.stage("first", {}, lambda _: 1, int).folder
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert name in changes(folder)[0]
    with RunDirectory(tmp_path / "run", notes.append) as run:
        assert not run.stage("first", {}, lambda _: 1, int).cached


def test_a_stage_that_cannot_be_removed_is_named_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunDirectory(tmp_path / "run") as run:
        folder = run.stage("first", {}, lambda _: 1, int).folder
    (folder / "done").write_text("{")

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(run_directory, "remove", refuse)
    monkeypatch.setattr(permissions, "foreign_owner", lambda _: "somebody")
    with RunDirectory(tmp_path / "run") as run, pytest.raises(UsageError) as caught:
        run.stage("first", {}, lambda _: 1, int)
    assert f"{folder} isn't as a run left it" in caught.value.message
    assert caught.value.message.endswith("permission denied; it belongs to somebody")
    assert "--run-dir" in caught.value.hint


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_lock_that_is_a_link_is_not_written_through(link: Callable[[Path, Path], None], tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("my only copy")
    (tmp_path / "run").mkdir()
    link(tmp_path / "run" / "lock", precious)
    with pytest.raises(UsageError, match=f"{tmp_path / 'run' / 'lock'}: this is a") as caught:
        RunDirectory(tmp_path / "run")
    assert "--run-dir" in caught.value.hint
    assert precious.read_text() == "my only copy"


def test_a_users_file_called_lock_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("[package]\nname = 'mine'\n")
    with pytest.raises(UsageError, match="isn't a lock of millwork's"):
        RunDirectory(tmp_path)
    assert "mine" in (tmp_path / "lock").read_text()


def test_a_users_folder_that_looks_half_written_stays(tmp_path: Path) -> None:
    (tmp_path / ".cache.tmp-1-ab").mkdir()
    with RunDirectory(tmp_path) as run:
        run.stage("first", {}, lambda _: 1, int)
    assert (tmp_path / ".cache.tmp-1-ab").is_dir()


def test_a_file_of_another_size_is_not_read_to_be_compared(tmp_path: Path) -> None:
    with RunDirectory(tmp_path / "run") as run:
        folder = run.stage("first", {}, lambda at: (at / "model").write_bytes(b"model"), int).folder
    os.truncate(folder / "model", 200 << 30)
    assert changes(folder) == ["model has changed"]
