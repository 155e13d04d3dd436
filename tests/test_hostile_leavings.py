"""What a hostile step leaves behind: the process that started it neither dies of it, nor hangs, nor grows."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from millwork import targets, worker
from millwork.compile.backends.hummingbird import conversion
from millwork.compile.backends.tensorrt import preflight
from millwork.compile.frontends.loaded_model import Oracle
from millwork.compile.runners import load as runners
from millwork.environments import Environment
from millwork.errors import ModelError
from millwork.storage import files, run_directory, scratch
from millwork.storage.run_directory import RunDirectory
from millwork.validators import oracle
from millwork.worker import Done, Failure, Limits, Sandbox, sandbox

CRASHING = Path(__file__).with_name("crashing")
LIMITS = Limits(seconds=60, memory_bytes=1 << 30)
GIB = 1 << 30
DEPTH = 1100
"""Folders, one in another: more than Python's stack has frames, and than files may usually be open."""


class Text(msgspec.Struct):
    text: str


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder of this process and its children. What a test that fails leaves, pytest couldn't remove."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def run(name: str, folder: Path, text: str = "", *, confined: bool = False) -> Done[Text] | Failure:
    return worker.run(
        f"hostile_steps:{name}",
        Text(text),
        Text,
        folder=folder,
        limits=LIMITS,
        extra_path=CRASHING,
        sandbox=Sandbox(on=confined),
    )


def failed(outcome: Done[Text] | Failure) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


def nest(folder: Path, depth: int, name: str = "n") -> None:
    """Folders one in another, made without a path, a file in each."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=below))
        descriptor = below
    os.close(descriptor)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_confined_step_makes_no_file_that_takes_hours_to_read(own: Path) -> None:
    if sandbox.missing():
        pytest.skip(sandbox.missing())
    assert isinstance(run("holes", own, str(15 * GIB), confined=True), Done)
    failure = failed(run("holes", own, str(16 * GIB + 1), confined=True))
    assert "the file would be larger than this process may write" in failure.message


def test_a_lower_limit_of_the_callers_stays() -> None:
    program = """
        import resource
        from millwork.worker import start
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 40))
        start.limit_files()
        print(resource.getrlimit(resource.RLIMIT_FSIZE))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert ended.stdout == f"{(1 << 20, 16 * GIB)}\n", ended.stderr


@pytest.mark.parametrize(
    ("step", "text", "told"),
    [
        ("holes", str(1 << 40), "left files of more than 16.0 GiB"),
        ("nests", "33", "left folders more than 32 deep"),
        ("nests", str(DEPTH), "left folders more than 32 deep"),
        ("many", "10001", "left more than 10,000 files"),
        ("no_text", "", "left a file whose name isn't text: b'\\xff\\xfe'"),
        ("long_names", "", "left a file whose path is longer than 1,000 bytes"),
    ],
)
def test_what_is_too_much_to_be_read_is_a_failure_of_the_step(own: Path, step: str, text: str, told: str) -> None:
    failure = failed(run(step, own, text))
    assert failure.message == told
    assert failure.log == str(own / f"{step}.log")
    with pytest.raises(ModelError, match=r"^Reading model\.ubj left "):
        failure.raise_(ModelError, "Reading model.ubj")
    files.remove_tree(own)
    assert not own.exists()


def test_what_an_honest_step_leaves_is_taken(own: Path) -> None:
    assert isinstance(run("holes", own, str(8 * GIB)), Done)
    assert isinstance(run("nests", own, "20"), Done)
    assert isinstance(run("many", own, "5000"), Done)


def test_a_script_is_held_to_the_same(own: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os\nos.close(os.open('hole', os.O_CREAT | os.O_WRONLY))\nos.truncate('hole', 1 << 40)\n"
    )
    outcome = worker.run_script(
        tmp_path / "script.py", [], python=sys.executable, folder=own, limits=LIMITS, sandbox=worker.NO_SANDBOX
    )
    assert isinstance(outcome, Failure)
    assert outcome.message == "left files of more than 16.0 GiB"


def test_a_stage_of_such_a_step_ends_the_run_with_its_message(tmp_path: Path) -> None:
    def produce(folder: Path) -> str:
        outcome = run("holes", folder, str(1 << 40))
        if isinstance(outcome, Failure):
            outcome.raise_(ModelError, "Reading model.ubj")
        return outcome.value.text

    with RunDirectory(tmp_path / "run") as directory:
        with pytest.raises(ModelError, match=r"Reading model\.ubj left files of more than"):
            directory.stage("load", {}, produce, str)
        assert list((tmp_path / "run" / "stages").iterdir()) == []


# ── removal ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["n", "n" * 200])
def test_a_folder_is_removed_however_deep(own: Path, name: str) -> None:
    """The longer names make a path that none may have."""
    nest(own, DEPTH, name)
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    files.remove_tree(own)
    assert not own.exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == open_now


def test_a_wide_and_deep_one_is_too(own: Path) -> None:
    for name in "abc":
        for below in "abc":
            (own / name / below).mkdir(parents=True)
            nest(own / name / below, 50)
        (own / name / "file").touch()
    (own / "empty").mkdir()
    files.remove_tree(own)
    assert not own.exists()


def test_links_are_not_followed(own: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "file").touch()
    (own / "deep" / "er").mkdir(parents=True)
    for folder in (own, own / "deep", own / "deep" / "er"):
        (folder / "to-folder").symlink_to(outside)
        (folder / "to-nothing").symlink_to(outside / "nothing")
    link = tmp_path / "link"
    link.symlink_to(outside)
    files.remove_tree(own)
    with pytest.raises(OSError):  # noqa: PT011 (ENOTDIR or ELOOP)
        files.remove_tree(link)
    assert not own.exists()
    assert sorted(path.name for path in outside.iterdir()) == ["file", "folder"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.remove_tree(tmp_path / "nothing")


def test_folders_that_may_not_be_read_are_removed_too(own: Path) -> None:
    """By a user to whom that matters: root may read all."""
    program = """
        import os, sys
        from pathlib import Path
        from millwork.storage import files
        os.chdir(sys.argv[1])
        if os.geteuid() == 0:
            os.chown(".", 65534, 65534)
            os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for path in ("tree/a/b/c", "tree/d/e/f", "tree/g"):
            Path(path).mkdir(parents=True)
            Path(path, "file").touch()
        for path in ("tree/a/b/c", "tree/a/b", "tree/d/e", "tree/d", "tree/g", "tree"):
            os.chmod(path, 0)
        files.remove_tree(Path("tree"))
        print(os.listdir("."))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(own)], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


def test_what_cannot_be_removed_is_said_and_the_rest_is_gone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nest(own, 5)
    (own / "n" / "stays").touch()
    (own / "other").touch()
    unlink = os.unlink

    def refusing(path: str, *, dir_fd: int) -> None:
        if path == "stays":
            raise PermissionError(1, "not permitted", path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refusing)
    with pytest.raises(PermissionError, match="stays"):
        files.remove_tree(own)
    assert [path.relative_to(own) for path in own.rglob("*")] == [Path("n"), Path("n/stays")]
    monkeypatch.undo()
    files.remove_tree(own)


def test_a_steps_temporary_folder_goes_however_deep(own: Path, temporary: Path) -> None:
    """And the next step runs: what is left is looked for before each."""
    failed(run("nests", own, str(DEPTH)))
    assert list(temporary.iterdir()) == []
    left = temporary / "millwork-step-left"
    left.mkdir()
    (left / scratch.HELD).touch()
    nest(left, DEPTH)
    other = temporary.parent / "other"
    other.mkdir()
    assert isinstance(run("says", other, "on"), Done)
    assert list(temporary.iterdir()) == []


def test_a_folder_that_an_error_names_stays_whatever_its_mark_was_made_into(temporary: Path) -> None:
    def fail() -> None:
        with scratch.folder("inspect") as folder:
            (folder / scratch.HELD).unlink()
            (folder / scratch.HELD).mkdir()
            raise ModelError("it crashed", str(folder / "load.log"))

    with pytest.raises(ModelError, match="it crashed"):
        fail()


def test_deep_folders_in_a_run_directory_are_removed(tmp_path: Path) -> None:
    def nested(folder: Path) -> int:
        nest(folder, DEPTH)
        raise ModelError("failed")

    notes: list[str] = []
    with RunDirectory(tmp_path / "run", notes.append) as directory:
        with pytest.raises(ModelError):
            directory.stage("load", {}, nested, int)
        stages = tmp_path / "run" / "stages"
        assert list(stages.iterdir()) == [], "one that failed"
        kept = directory.stage("load", {}, lambda _: 1, int).folder
        (kept / "done").unlink()
        nest(kept, DEPTH)
        assert not directory.stage("load", {}, lambda _: 1, int).cached, "one that is damaged"
    (stages / "load-1.tmp-1").mkdir()
    nest(stages / "load-1.tmp-1", DEPTH)
    with RunDirectory(tmp_path / "run"):
        assert [path.name for path in stages.iterdir()] == [kept.name], "one of a run that was killed"


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_that_the_step_removed_is_still_read(own: Path) -> None:
    failure = failed(run("without_its_log", own))
    assert failure.message == "ValueError: no log"
    assert "in without_its_log" in failure.log_tail


def test_a_folder_in_the_place_of_the_next_steps_log_is_removed(own: Path) -> None:
    assert isinstance(run("in_the_way", own, "says.log"), Done)
    assert isinstance(run("says", own, "on"), Done)
    assert (own / "says.log").is_file()


def test_of_a_long_log_the_ends_are_kept_and_of_others_nothing(tmp_path: Path) -> None:
    def produce(folder: Path) -> str:
        failed(run("floods", folder)).raise_(ModelError, "Reading model.ubj")

    with RunDirectory(tmp_path / "run") as directory, pytest.raises(ModelError) as raised:
        directory.stage("load", {}, produce, str)
    kept = Path(raised.value.hint.removeprefix("Its log: "))
    assert [path.name for path in kept.parent.iterdir()] == ["floods.log"]
    content = kept.read_bytes()
    assert run_directory.LONGEST_LOG <= len(content) < run_directory.LONGEST_LOG + 100
    assert content.startswith(b"# millwork worker <<<")


def test_a_name_that_the_run_directory_writes_is_the_steps_failure(tmp_path: Path) -> None:
    def produce(folder: Path) -> str:
        assert isinstance(run("in_the_way", folder, name), Done)
        return name

    with RunDirectory(tmp_path / "run") as directory:
        for name in ("result.json", "key.json", "done"):
            with pytest.raises(
                ModelError, match=f"stage load-[0-9a-f]+: its step wrote {name}, a name that is reserved"
            ):
                directory.stage("load", {}, produce, str)


# ── replies ───────────────────────────────────────────────────────────────────────────────────────────────

REPLIES = {
    "no text": b"\xff\xfe",
    "nothing": b"",
    "nested": b"[" * 50_000,
    "nested, in a field": b'{"hummingbird":' + b"[" * 50_000,
    "not JSON": b"\0" * 200,
    "no refusal": b'{"version":"1","capabilities":[],"capability":"8.0","built":null,"layers":0,"refused":'
    b'{"stage":"parse","problems":[]}}',
}


@pytest.fixture(params=REPLIES)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A script that removes its request and replies with what isn't an answer."""
    path = tmp_path / "hostile.py"
    path.write_text(
        "import os, sys\n"
        "if sys.argv[1].endswith('.json'):\n"
        "    os.unlink(sys.argv[1]); os.mkdir(sys.argv[1])\n"
        f"os.write(int(os.environ['MILLWORK_REPLY_FD']), {REPLIES[request.param]!r})\n"
    )
    return path


def test_an_oracle_that_replies_with_no_version_is_a_model_error(
    hostile: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners, "source", lambda _name: hostile)
    (own / "model.json").touch()
    asked = Oracle(framework="xgboost", version="3.0.0", native_file="model.json", parameters={})
    with pytest.raises(
        ModelError, match=r"^xgboost itself, asked to predict with the model, didn't reply with its version"
    ):
        oracle.ask(asked, own / "model.json", own / "rows.npy", None, own, sys.executable, LIMITS, confined=False)


def test_a_preflight_that_replies_with_no_answer_is_unknown(
    hostile: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "SCRIPT", hostile)
    found = preflight.ask(own / "net.onnx", targets.find("a100"), [], own, sys.executable, LIMITS, confined=False)
    assert found.verdict == "unknown"
    assert found.reason.startswith("TensorRT-RTX failed: the reply isn't a Reply: ")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    (tmp_path / "environment" / "bin" / "python").symlink_to(sys.executable)
    return Environment(path=str(tmp_path / "environment"))


def test_a_conversion_that_replies_with_no_answer_is_a_failure(
    hostile: Path, own: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SCRIPT", hostile)
    outcome = conversion.convert(own / "feed.npz", own, environment, LIMITS, confined=False)
    assert isinstance(outcome, Failure)
    assert outcome.message.startswith("the reply isn't a Converted: ")


def test_a_conversion_that_is_in_its_replys_way_is_a_failure(
    own: Path, tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = conversion.Converted(hummingbird="1", torch="2", implementation="x", table="t", trees="3")
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nos.mkdir('converted.json')\n"
        f"os.write(int(os.environ['MILLWORK_REPLY_FD']), {msgspec.json.encode(said)!r})\n"
    )
    monkeypatch.setattr(conversion, "SCRIPT", script)
    outcome = conversion.convert(own / "feed.npz", own, environment, LIMITS, confined=False)
    assert isinstance(outcome, Failure)
    assert "converted.json" in outcome.message
