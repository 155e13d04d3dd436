"""A step that crashes, hangs, grows or raises is one failure, told apart, and leaves no process behind."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import msgspec
import pytest

from millwork import executors, worker
from millwork.errors import InternalError, MachineError, MillworkError, ModelError, TargetError, UsageError
from millwork.storage.run_directory import LONGEST_LOG
from millwork.targets import Target
from millwork.values import TargetSummary
from millwork.worker import Done, Failure, Limits
from millwork.worker.process import DROPPED, Ending

CRASHING = Path(__file__).parents[1] / "crashing"
SMALL = Limits(seconds=60, memory_bytes=300 << 20)
PATIENCE_MS = 60_000
"""How long a test waits for the end of a process before it says that the process lives."""


class Text(msgspec.Struct):
    text: str


def run(
    name: str, folder: Path, text: str = "hello", limits: Limits = SMALL, threads: int | None = None
) -> Done[Text] | Failure:
    return worker.run(
        f"crashing_steps:{name}",
        Text(text),
        Text,
        folder=folder,
        limits=limits,
        threads=threads,
        extra_path=CRASHING,
        sandbox=worker.NO_SANDBOX,  # tests/worker/test_sandbox.py has what a sandbox changes
    )


def done(outcome: Done[Text] | Failure) -> str:
    assert isinstance(outcome, Done), outcome
    return outcome.value.text


def failed(outcome: Done[Text] | Failure) -> Failure:
    assert isinstance(outcome, Failure), outcome
    return outcome


def test_a_step_answers(tmp_path: Path) -> None:
    assert done(run("echo", tmp_path)) == "hello"


def test_long_requests_and_replies_pass(tmp_path: Path) -> None:
    long = "x" * (3 << 20)
    assert done(run("echo", tmp_path, long)) == long


def test_noise_on_stdout_is_no_reply(tmp_path: Path) -> None:
    assert done(run("noisy", tmp_path)) == "hello"
    log = (tmp_path / "noisy.log").read_text()
    assert "forged" in log
    assert "native noise" in log


@pytest.mark.parametrize(
    ("step", "kind", "message"),
    [
        ("segfault", "segfault", "crashed with a segmentation fault"),
        ("abort", "abort", "aborted"),
        ("bad_alloc", "out-of-memory", "ran out of memory"),
        ("memory_error", "out-of-memory", "ran out of memory"),
        ("grows", "out-of-memory", "used more than 300 MiB of memory"),
        ("child_grows", "out-of-memory", "used more than 300 MiB of memory"),
        ("killed", "killed", "was killed from outside (SIGKILL)"),
        ("exits", "exit", "ended with exit status 3"),
        ("exits_well", "exit", "ended without a reply"),
        ("raises", "error", "ValueError: expected 3 columns, got hello"),
    ],
)
def test_ways_to_fail_are_told_apart(tmp_path: Path, step: str, kind: str, message: str) -> None:
    failure = failed(run(step, tmp_path))
    assert (failure.kind, failure.message) == (kind, message)
    assert Path(failure.log) == tmp_path / f"{step}.log"


def test_a_hang_is_ended_and_its_log_says_where_it_hung(tmp_path: Path) -> None:
    failure = failed(run("hangs_in_a_lock", tmp_path, limits=Limits(seconds=4)))
    assert (failure.kind, failure.message) == ("hang", "did not finish within 4 s")
    assert "in hangs_in_a_lock" in failure.log_tail


@pytest.mark.parametrize("step", ["segfault", "abort", "raises"])
def test_the_log_has_the_stack(tmp_path: Path, step: str) -> None:
    assert f"in {step}" in failed(run(step, tmp_path)).log_tail


def test_the_log_begins_with_the_call_that_repeats_it(tmp_path: Path) -> None:
    failed(run("exits", tmp_path))
    first = (tmp_path / "exits.log").read_text().splitlines()[0]
    call = json.loads(first.removeprefix("# millwork worker <<< "))
    assert call == {"step": "crashing_steps:exits", "request": {"text": "hello"}}


def test_of_a_log_without_an_end_both_ends_are_kept(tmp_path: Path) -> None:
    assert done(run("prints_a_lot", tmp_path)) == "hello"
    log = (tmp_path / "prints_a_lot.log").read_bytes()
    assert len(log) <= LONGEST_LOG + len(DROPPED)
    assert log.startswith(b"# millwork worker <<< ")
    assert DROPPED in log
    assert log.endswith(b"the last line\n")


def test_what_a_step_refuses_is_raised_as_it_was(tmp_path: Path) -> None:
    failure = failed(run("refuses", tmp_path))
    assert failure.refused
    with pytest.raises(ModelError) as raised:
        failure.raise_()
    assert raised.value.message == "model.ubj: it has no trees"
    assert raised.value.hint == "Save the model after training it."


def test_a_crash_is_raised_as_the_caller_says(tmp_path: Path) -> None:
    failure = failed(run("segfault", tmp_path))
    assert not failure.refused
    with pytest.raises(ModelError, match=r"Reading model.ubj crashed with a segmentation fault\."):
        failure.raise_(ModelError, "Reading model.ubj")
    with pytest.raises(InternalError, match=r"segfault\.log"):
        failure.raise_()


def test_a_full_disk_in_a_step_is_the_users_to_solve(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the disk is full"):
        failed(run("disk_full", tmp_path)).raise_()


@pytest.mark.parametrize(
    ("step", "code", "said"),
    [("says_damaged_of_a_full_disk", 2, "the disk is full"), ("no_threads", 5, "no more threads or processes")],
)
def test_the_machines_fault_is_not_the_models(tmp_path: Path, step: str, code: int, said: str) -> None:
    with pytest.raises(MillworkError, match=said) as raised:
        failed(run(step, tmp_path)).raise_(ModelError, "Reading model.ubj")
    assert raised.value.exit_code == code
    assert raised.value.hint


def test_a_step_that_somebody_kills_is_tried_once_more(tmp_path: Path) -> None:
    assert done(run("killed_once", tmp_path)) == "hello"
    with pytest.raises(MachineError, match=r"Reading model.ubj was killed from outside \(SIGKILL\)\.") as raised:
        failed(run("killed", tmp_path)).raise_(ModelError, "Reading model.ubj")
    assert raised.value.exit_code == 5


def test_a_reply_of_another_type_is_a_failure(tmp_path: Path) -> None:
    failure = failed(run("wrong_reply", tmp_path))
    assert failure.kind == "error"
    assert "the reply isn't a Text" in failure.message


def test_thread_variables_are_set_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert done(run("threads", tmp_path)) == "7"
    assert done(run("threads", tmp_path, threads=2)) == "2"


def test_stray_files_fall_into_the_folder_and_temporary_ones_go(tmp_path: Path) -> None:
    assert done(run("working_folder", tmp_path)) == str(tmp_path.resolve())
    assert not Path(done(run("scratch", tmp_path))).exists()


# ── what may be a step ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "step",
    [
        "os:system",
        "millwork:__version__",
        "millwork.storage.files:atomic_write",
        "millwork.storage.files:Path",
        "millwork.step_protocol:_problem",
        "millwork.nothing_of_that_name:build",
        "millwork.targets:nothing_of_that_name",
        "crashing_steps:_hidden",
        "crashing_steps:takes_two",
        "crashing_steps:takes_a_number",
        "crashing_steps:Text",
        "crashing_steps:subprocess.run",
        "../crashing_steps:echo",
        "",
    ],
)
def test_only_public_functions_of_one_struct_are_steps(tmp_path: Path, step: str) -> None:
    outcome = worker.run(step, Text("hello"), Text, folder=tmp_path, limits=SMALL, extra_path=CRASHING)
    with pytest.raises(InternalError, match="step"):
        failed(outcome).raise_()


def test_only_the_caller_can_allow_steps_outside_millwork(tmp_path: Path) -> None:
    outcome = worker.run("crashing_steps:echo", Text("hello"), Text, folder=tmp_path, limits=SMALL)
    with pytest.raises(InternalError, match="isn't a step"):
        failed(outcome).raise_()


def test_a_request_of_another_type_is_refused(tmp_path: Path) -> None:
    outcome = worker.run(
        "crashing_steps:echo",
        Target(name="host", kind="cpu"),
        Text,
        folder=tmp_path,
        limits=SMALL,
        extra_path=CRASHING,
    )
    assert "expects a Text as its request" in failed(outcome).message


# ── nothing is left alive ─────────────────────────────────────────────────────────────────────────────────


class Pipe:
    """A named pipe that processes hold open: its end says that they are all dead, without asking the time."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.poller = select.poll()
        self.poller.register(self.descriptor, select.POLLIN)

    def read(self) -> bytes:
        """What the next one to write says; nothing once every writer has gone."""
        assert self.poller.poll(PATIENCE_MS), "a process is still alive"
        return os.read(self.descriptor, 100)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    return Pipe(tmp_path / "pipe")


def test_a_grandchild_dies_with_the_step(tmp_path: Path, pipe: Pipe) -> None:
    assert done(run("leaves_a_child", tmp_path, str(pipe.path))) == str(pipe.path)
    said = pipe.read()
    assert said in (b"up\n", b"")  # it may have been killed before it could speak
    if said:
        assert pipe.read() == b""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_step_dies_with_its_parent(tmp_path: Path, pipe: Pipe, how: signal.Signals) -> None:
    program = f"""
        from pathlib import Path
        import msgspec
        from millwork import worker
        class Text(msgspec.Struct):
            text: str
        worker.run("crashing_steps:holds", Text({str(pipe.path)!r}), Text,
                   folder=Path({str(tmp_path)!r}), extra_path=Path({str(CRASHING)!r}))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE)
    try:
        assert pipe.read() == b"up\n"
        parent.send_signal(how)
        parent.communicate(timeout=PATIENCE_MS / 1000)
        assert pipe.read() == b""
    finally:
        parent.kill()
        parent.communicate()


# ── a script by another interpreter ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the standard library only."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True, with_pip=False)
    return str(folder / "bin" / "python")


def script(folder: Path, body: str) -> Path:
    path = folder / "oracle.py"
    path.write_text("import os, sys\nreply = int(os.environ['MILLWORK_REPLY_FD'])\n" + textwrap.dedent(body))
    return path


def test_a_script_of_another_interpreter_answers(tmp_path: Path, bare: str) -> None:
    path = script(
        tmp_path,
        """
        print("noise", sys.argv)
        assert __name__ == "__main__"
        try:
            import msgspec
        except ModuleNotFoundError:
            os.write(reply, f"{sys.prefix} {sys.argv[1:]}".encode())
        """,
    )
    outcome = worker.run_script(path, ["a b", "c"], python=bare, folder=tmp_path, limits=SMALL)
    assert isinstance(outcome, Done), outcome
    assert outcome.value == f"{Path(bare).parent.parent} ['a b', 'c']".encode()
    assert "noise" in (tmp_path / "oracle.log").read_text()


GROWS = "import signal; held = [b'1' * (16 << 20) for _ in range(128)]; signal.pause()"


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("import ctypes; ctypes.string_at(0)", "segfault", "crashed with a segmentation fault"),
        ("raise ValueError('no such column')", "error", "ValueError: no such column"),
        ("raise MemoryError", "out-of-memory", "ran out of memory"),
        ("os.write(reply, b'half an answer'); sys.exit(4)", "exit", "ended with exit status 4"),
        (GROWS, "out-of-memory", "used more than 300 MiB of memory"),
    ],
)
def test_a_script_fails_as_a_step_does(tmp_path: Path, bare: str, body: str, kind: str, message: str) -> None:
    outcome = worker.run_script(script(tmp_path, body), [], python=bare, folder=tmp_path, limits=SMALL)
    assert isinstance(outcome, Failure), outcome
    assert (outcome.kind, outcome.message) == (kind, message)


def test_a_reply_without_an_end_is_cut_off(tmp_path: Path, bare: str) -> None:
    """A process in a hostile model's hands can't fill the memory of the one that started it."""
    body = "fd = int(os.environ['MILLWORK_REPLY_FD'])\nwhile True: os.write(fd, bytes(1 << 20))"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = worker.run_script(script(tmp_path, f"import os\n{body}"), [], python=bare, folder=tmp_path, limits=SMALL)
    assert isinstance(outcome, Failure)
    assert outcome.message == "replied with more than 128 MiB"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10  # KiB


@pytest.mark.parametrize("reply", [b"[" * 200_000, b'{"ok":' * 100_000, b"\xff\xfe", b'{"ok": true, "reply": 1}'])
def test_a_reply_that_is_made_to_hurt_is_a_failure(
    tmp_path: Path, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending(
        status=0,
        stopped="",
        reply=reply,
        log=tmp_path / "log",
        log_tail="",
        limits=SMALL,
        seconds=0.1,
        last_bytes=0,
        peak_bytes=0,
        oom_killed=False,
    )
    monkeypatch.setattr(worker, "supervise", lambda *_, **__: ending)
    assert failed(run("reply", tmp_path)).kind == "error"


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no-such-python"):
        worker.run_script(script(tmp_path, ""), [], python=str(tmp_path / "no-such-python"), folder=tmp_path)


# ── the command, and where steps run ──────────────────────────────────────────────────────────────────────


def command(call: str, before: str = "") -> subprocess.CompletedProcess[str]:
    program = f"{before}\nfrom millwork.commands.worker import worker\nraise SystemExit(worker())"
    return subprocess.run([sys.executable, "-c", program], input=call, capture_output=True, text=True, check=False)


def test_the_command_answers_json_whatever_the_step_prints() -> None:
    call = {"step": "millwork.targets:summary", "request": {"name": "host", "kind": "cpu"}}
    noise = "import os, millwork.targets as t; t.machine = lambda: str(os.write(1, b'noise'))"
    ended = command(json.dumps(call), noise)
    assert ended.returncode == 0
    answer = json.loads(ended.stdout)
    assert answer["ok"] is True
    assert answer["reply"] == {"name": "host", "measured_on": "5", "is_target": True, "gpu": None}
    assert "noise" in ended.stderr


@pytest.mark.parametrize(
    ("call", "kind", "status"),
    [
        ("not json", "UsageError", 2),
        ('{"step": "millwork.targets:summary"}', "UsageError", 2),
        ('{"step": "millwork.targets:summary", "request": {"name": 3}}', "UsageError", 2),
        ('{"step": "millwork.targets:summary", "request": {}, "extra": "/tmp"}', "UsageError", 2),
        ('{"step": "os:system", "request": "true"}', "InternalError", 70),
    ],
)
def test_the_command_answers_bad_calls_too(call: str, kind: str, status: int) -> None:
    ended = command(call)
    answer = json.loads(ended.stdout)
    assert (answer["ok"], answer["error"]["type"]) == (False, kind)
    assert ended.returncode == status
    assert "Traceback" not in ended.stderr


def test_the_local_executor_runs_a_step_here(tmp_path: Path) -> None:
    outcome = executors.parse("local").run(
        "millwork.targets:summary", Target(name="host", kind="cpu"), TargetSummary, folder=tmp_path
    )
    assert isinstance(outcome, Done), outcome
    assert outcome.value.name == "host"


@pytest.mark.parametrize("text", ["ray://head:10001", "slurm", ""])
def test_other_executors_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--executor"):
        executors.parse(text)
