"""The managed Triton, for real: started, asked, stopped, killed. Nothing may be left of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psutil
import pytest

from millwork.errors import PublicationError, UsageError
from millwork.triton import install, ports, server, shared_memory
from millwork.triton.client import Session
from millwork.triton.golden import check_golden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millwork.triton.install import Installation
    from millwork.triton.server import RunningServer

pytestmark = pytest.mark.triton

MODELS = Path(__file__).parent / "triton_models"
CONFIG = """backend: "python"
max_batch_size: 64
input [{ name: "input__0" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "output__0" data_type: TYPE_FP32 dims: [3] }]
instance_group [{ count: 1 kind: KIND_CPU }]
"""


def put(repository: Path, name: str, version: int, source: str) -> None:
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    shutil.copy(MODELS / source, folder / "model.py")
    (folder.parent / "config.pbtxt").write_text(f'name: "{name}"\n{CONFIG}')


def rows(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    put(folder, "scale", 1, "scale.py")
    put(folder, "broken", 1, "broken.py")
    return folder


@pytest.fixture(scope="module")
def running(
    triton_installation: Installation, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with server.start(triton_installation, repository, log=log) as one:
        yield one


@pytest.fixture
def session(running: RunningServer) -> Iterator[Session]:
    with Session(running.grpc_url) as one:
        one.load("scale")
        yield one


# ── what it answers ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [1, 3, 64])
def test_a_python_model_answers_batches_right(session: Session, count: int) -> None:
    x = rows(count)
    answers = session.infer("scale", x)
    assert answers.dtype == np.float32
    np.testing.assert_array_equal(answers, 2 * x)


def test_the_server_says_its_release_and_what_is_loaded(session: Session) -> None:
    assert session.server_version() == install.TRITON_VERSION
    release = session.release()
    assert release is not None
    assert release.name == "24.10"
    assert session.versions("scale") == (1,)
    assert session.versions("broken") == ()
    assert session.ready("scale")
    assert session.ready("scale", 1)
    assert not session.ready("scale", 9)
    assert set(session.models()) == {"scale", "broken"}
    assert session.max_batch_size("scale") == 64


def test_more_rows_than_the_model_takes_is_the_servers_own_reason(session: Session) -> None:
    with pytest.raises(PublicationError, match="batch-size must be <= 64"):
        session.infer("scale", rows(65))


def test_a_configuration_can_be_given_with_the_load(session: Session) -> None:
    override = (
        '{"name": "scale", "backend": "python", "max_batch_size": 5,'
        ' "input": [{"name": "input__0", "data_type": "TYPE_FP32", "dims": [3]}],'
        ' "output": [{"name": "output__0", "data_type": "TYPE_FP32", "dims": [3]}]}'
    )
    session.load("scale", override)
    assert session.max_batch_size("scale") == 5
    session.load("scale")
    session.unload("scale")


# ── golden rows ───────────────────────────────────────────────────────────────────────────────────────────


def test_golden_rows_agree(session: Session) -> None:
    x = rows(100)
    x[5, 1] = np.nan
    x[6, 2] = np.inf
    verdict = check_golden(session, "scale", 1, x, 2 * x, 0.0)
    assert verdict.agreed, verdict.reason
    assert (verdict.rows, verdict.max_abs) == (100, 0.0)


@pytest.mark.parametrize(("row", "wrong"), [(0, 1e-3), (2, np.nan), (99, np.inf)])
def test_one_wrong_answer_is_caught_and_named(session: Session, row: int, wrong: float) -> None:
    x = rows(100)
    expected = 2 * x
    expected[row, 1] += np.float32(wrong)
    verdict = check_golden(session, "scale", 1, x, expected, 1e-5, 1e-5)
    assert not verdict.agreed
    assert f"row {row}, output 1" in verdict.reason
    assert verdict.max_abs > 5e-4


def test_a_version_that_is_not_served_is_a_verdict_with_the_reason(session: Session) -> None:
    verdict = check_golden(session, "scale", 7, rows(2), rows(2), 0.0)
    assert not verdict.agreed
    assert "7" in verdict.reason


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────


def test_a_load_that_fails_says_why_in_a_line(session: Session) -> None:
    with pytest.raises(PublicationError) as caught:
        session.load("broken")
    assert "KeyError: 'the weights'" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_broken_version_leaves_the_old_one_serving(
    running: RunningServer, session: Session, repository: Path
) -> None:
    put(repository, "scale", 2, "broken.py")
    try:
        with pytest.raises(PublicationError, match="the weights"):
            session.load("scale")
        x = rows(3)
        np.testing.assert_array_equal(session.infer("scale", x), 2 * x)
        assert session.versions("scale") == (1,)
        with Session(running.grpc_url) as other:
            assert other.ready("scale", 1)
    finally:
        shutil.rmtree(repository / "scale" / "2")


def test_an_unknown_model_is_said_by_name(session: Session) -> None:
    with pytest.raises(PublicationError, match="nobody"):
        session.load("nobody")


def test_nothing_at_the_address_is_one_clear_message() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"grpc://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(PublicationError, match=f"no Triton answers at {url}"), Session(url):
            pass


def test_the_http_port_is_not_the_grpc_port(running: RunningServer) -> None:
    url = f"127.0.0.1:{running.ports.http}"
    with pytest.raises(PublicationError, match="no Triton answers") as caught, Session(url):
        pass
    assert "gRPC port" in caught.value.hint


# ── what it leaves ────────────────────────────────────────────────────────────────────────────────────────


def start(installation: Installation, repository: Path, folder: Path, **given: int) -> RunningServer:
    return server.start(installation, repository, log=folder / "triton.log", **given)


def free_and_never_given_out() -> int:
    """A port below those that the kernel gives to whoever asks for any: nobody else here takes it meanwhile."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in range(first - 1, 1024, -1):
        with socket.socket() as held, contextlib.suppress(OSError):
            held.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def own_memory() -> list[Path]:
    return list(shared_memory.SHARED_MEMORY.glob(f"millwork_*_{os.getpid()}_*"))


def test_stopping_leaves_no_process_and_no_shared_memory(
    running: RunningServer, triton_installation: Installation, repository: Path, tmp_path: Path
) -> None:
    before = set(own_memory())
    with start(triton_installation, repository, tmp_path) as second:
        assert not set(second.ports.all) & set(running.ports.all)
        with Session(second.grpc_url) as one, Session(running.grpc_url) as two:
            one.load("scale")
            two.load("scale")
            x = rows(3)
            np.testing.assert_array_equal(one.infer("scale", x), two.infer("scale", x))
        tree = [psutil.Process(second.pid), *psutil.Process(second.pid).children(recursive=True)]
        assert len(tree) >= 2, "the server and a stub"
        assert len(set(own_memory()) - before) >= 1
    assert not [process for process in tree if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert set(own_memory()) <= before
    assert not second.alive
    second.stop()
    assert running.alive
    assert not list(repository.rglob("__pycache__"))


OWNER = """
import sys
from pathlib import Path
from millwork.triton import install, server
from millwork.triton.client import Session
one = server.start(install.find(), Path(sys.argv[1]), log=Path(sys.argv[2]))
with Session(one.grpc_url) as session:
    session.load("scale")
print(one.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_owner_leaves_no_server(triton_installation: Installation, repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(repository), str(tmp_path / "triton.log")]
    owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin
    assert owner.stdout
    with owner.stdin, owner.stdout:
        started = psutil.Process(int(owner.stdout.readline()))
        tree = [started, started.parent(), *started.children(recursive=True)]
        owner.kill()
        owner.wait()
    _, alive = psutil.wait_procs([process for process in tree if process], timeout=30)
    assert alive == []
    assert not list(shared_memory.SHARED_MEMORY.glob(f"millwork_*_{owner.pid}_*"))


def test_a_killed_supervisor_leaves_no_server(
    triton_installation: Installation, repository: Path, tmp_path: Path
) -> None:
    with start(triton_installation, repository, tmp_path) as one:
        with Session(one.grpc_url) as session:
            session.load("scale")
        started = psutil.Process(one.pid)
        tree = [started, *started.children(recursive=True)]
        supervisor = started.parent()
        assert supervisor
        supervisor.kill()
        _, alive = psutil.wait_procs(tree, timeout=30)
        assert alive == []
        assert one.ended(60) != 0


def test_memory_of_a_dead_owner_is_removed_and_of_a_living_one_is_not() -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = shared_memory.SHARED_MEMORY / f"{shared_memory.prefix()}region"
    theirs = shared_memory.SHARED_MEMORY / mine.name.replace(f"_{os.getpid()}_", f"_{dead.pid}_")
    try:
        mine.touch()
        theirs.touch()
        shared_memory.remove_stale()
        assert mine.exists()
        assert not theirs.exists()
    finally:
        mine.unlink(missing_ok=True)
        theirs.unlink(missing_ok=True)


# ── what keeps it from starting ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["grpc", "http", "metrics"])
def test_a_port_in_use_is_named(
    running: RunningServer, triton_installation: Installation, repository: Path, tmp_path: Path, kind: str
) -> None:
    port = getattr(running.ports, kind)
    with pytest.raises(UsageError, match=f"--{kind}-port {port}"):
        start(triton_installation, repository, tmp_path, **{f"{kind}_port": port})


def test_a_chosen_port_that_is_free_is_used(
    triton_installation: Installation, repository: Path, tmp_path: Path
) -> None:
    port = free_and_never_given_out()
    with start(triton_installation, repository, tmp_path, grpc_port=port) as one:
        assert one.grpc_url == f"grpc://127.0.0.1:{port}"


def test_a_free_port_that_is_lost_before_the_server_has_it_is_chosen_again(
    running: RunningServer,
    triton_installation: Installation,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first choice is what a lost race looks like: a port that somebody listens on by now."""
    choose = ports.choose
    lost = [msgspec.structs.replace(choose(None, None, None), metrics=running.ports.metrics)]
    monkeypatch.setattr(ports, "choose", lambda *given: lost.pop() if lost else choose(*given))
    with start(triton_installation, repository, tmp_path) as one, Session(one.grpc_url) as session:
        assert lost == []
        assert one.ports.metrics != running.ports.metrics
        assert session.models()


def test_a_proxy_for_the_web_is_not_asked(running: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Session(running.grpc_url) as session:
        assert session.server_version() == install.TRITON_VERSION


def test_a_server_that_dies_shows_the_end_of_its_log(
    triton_installation: Installation, repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(PublicationError, match="the weights") as caught:
        server.start(triton_installation, repository, log=tmp_path / "log", options=["--load-model=broken"])
    assert str(tmp_path / "log") in caught.value.hint
    assert len(str(caught.value).splitlines()) < 15


def test_a_repository_that_is_not_there_is_said(triton_installation: Installation, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        start(triton_installation, tmp_path / "nowhere", tmp_path)


# ── the command line ──────────────────────────────────────────────────────────────────────────────────────


def test_serve_runs_until_ctrl_c(triton_installation: Installation, repository: Path) -> None:
    code = "from millwork.cli import main; main()"
    command = [sys.executable, "-c", code, "triton", "serve", "--repository", str(repository), "--name", "scale"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as serving:
        said: list[str] = []
        try:
            assert serving.stderr
            for line in serving.stderr:
                said.append(line)
                if "Ctrl-C" in line:
                    break
            address = next(word for line in said for word in line.split() if word.startswith("grpc://"))
            with Session(address) as session:
                np.testing.assert_array_equal(session.infer("scale", rows(1)), 2 * rows(1))
            serving.send_signal(signal.SIGINT)
            assert serving.wait(timeout=30) == 0, said
            assert serving.stdout
            assert serving.stdout.read() == ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                serving.kill()
    assert any("scale  version 1" in line for line in said)
    assert not list(shared_memory.SHARED_MEMORY.glob(f"millwork_*_{serving.pid}_*"))
