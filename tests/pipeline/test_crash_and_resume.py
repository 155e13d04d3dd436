"""A run that is killed, or stopped by Ctrl-C, at any stage: the same command goes on from there, nothing is published
by halves, and nothing is left behind: no half-made stage, no process, no temporary folder, no shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from crashing.dying_runs import ORDER, PLACES, in_order
from models.jobs import LABEL, QUICK, Desk, Files, litter

from millwork.artifacts.repository import unfinished, versions
from millwork.triton import server
from millwork.triton.client import Session
from millwork.triton.supervisor import SHARED_MEMORY

if TYPE_CHECKING:
    from millwork.triton.install import Installation

SCRIPT = Path(__file__).parents[1] / "crashing" / "dying_runs.py"
NAME = "clicks"

WHOLE = [
    stage for stage in ORDER if stage in ("load", "lower", "rows", "oracle", "build-onnx", "check-onnx", "measure")
]
"""The stages in the order in which they are made; ``serve`` is made without a worker."""

IDS = [f"{where} {name.split()[0]}" for where, name in in_order()]


@dataclass(frozen=True)
class Deaths:
    """What dying_runs.py says: one run for each place, then one that ended by itself."""

    desk: Desk
    temporary: Path
    runs: list[dict[str, Any]]


def deaths(files: Files, folder: Path, number: int, which: str = "stages", quick: tuple[str, ...] = QUICK) -> Deaths:
    temporary = folder / "tmp"
    temporary.mkdir()
    desk = Desk(folder, files)
    words = [
        files.clicks,
        "--data",
        files.rows,
        "--label",
        LABEL,
        *quick,
        "--name",
        NAME,
        "--json",
        "--repository",
        desk.repository,
        "--run-dir",
        desk.run_dir,
    ]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(number), which, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    return Deaths(desk, temporary, json.loads((folder / "deaths.json").read_bytes()))


@pytest.fixture(scope="module")
def killed(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Deaths:
    return deaths(files, tmp_path_factory.mktemp("killed"), signal.SIGKILL)


@pytest.fixture(scope="module")
def stopped(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Deaths:
    return deaths(files, tmp_path_factory.mktemp("stopped"), signal.SIGINT)


def gone(pid: int) -> bool:
    """Whether the process has ended; waited for, since a death takes the kernel a moment."""
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    return process in psutil.wait_procs([process], timeout=60)[0]


STOPPED = {
    signal.SIGINT: "interrupted by Ctrl-C", signal.SIGTERM: "interrupted by SIGTERM",
    signal.SIGHUP: "interrupted by SIGHUP",
}  # fmt: skip


def half_made(stages: dict[str, int]) -> set[str]:
    return {name.split("-")[0] for name in stages if ".tmp-" in name}


def kept(stages: dict[str, int]) -> dict[str, int]:
    return {name: made for name, made in stages.items() if ".tmp-" not in name}


def before(name: str) -> list[str]:
    """The stages that are whole when a run comes to ``name``."""
    return [stage for stage in WHOLE if ORDER.index(stage) < ORDER.index(name)]


@pytest.mark.parametrize("at", range(len(PLACES)), ids=IDS)
def test_a_killed_run_leaves_whole_stages_and_one_half_made(killed: Deaths, at: int) -> None:
    where, name = in_order()[at]
    run = killed.runs[at]
    assert (run["where"], run["name"], run["signal"]) == (where, name, signal.SIGKILL), run["err"]
    whole = {stage.rpartition("-")[0] for stage in kept(run["stages"])} - {"serve"}
    assert whole == set(before(name))
    assert half_made(run["stages"]) == ({name.split("-")[0]} if where == "worker" else set())
    if where == "worker":
        assert run["processes"]
        assert all(gone(pid) for pid in run["processes"]), "a worker outlived its run"


@pytest.mark.parametrize("at", range(1, len(PLACES) + 1), ids=[*IDS[1:], "the last"])
def test_the_next_run_goes_on_from_there(killed: Deaths, at: int) -> None:
    """What was whole isn't touched again, and is said to be kept; what was half-made is gone."""
    earlier, run = killed.runs[at - 1], killed.runs[at]
    again = {name: run["stages"].get(name) for name in kept(earlier["stages"])}
    assert again == kept(earlier["stages"])
    assert not [name for name in earlier["stages"] if ".tmp-" in name and name in run["stages"]]
    lines = [line for line in run["err"].splitlines() if line.endswith("(kept)")]
    whole = {stage.rpartition("-")[0] for stage in kept(earlier["stages"])}
    said = {"load": {"load", "lower"}, "build": {"build-onnx"}, "check": {"check-onnx"}}
    for stage in ("load", "rows", "oracle", "build", "check", "measure"):
        if said.get(stage, {stage}) <= whole:
            assert [line for line in lines if line.startswith(f"{stage} ")], f"{stage} was made again"


@pytest.mark.parametrize("at", range(len(PLACES)), ids=IDS)
def test_ctrl_c_sigterm_or_sighup_at_any_stage(stopped: Deaths, at: int) -> None:
    """130 (143, 129) and a line that says how to go on; 7 once the publication has begun, which is undone."""
    where, name = in_order()[at]
    run = stopped.runs[at]
    publishing = where == "publishing"
    assert (run["signal"], run["code"]) == (0, 7 if publishing else 128 + run["sent"]), run["err"]
    if publishing:
        assert f"publishing failed: {STOPPED[run['sent']]}; no version of the model serves" in run["err"]
        assert json.loads(run["out"])["publication"] is None
    else:
        by = STOPPED[run["sent"]].replace(" by Ctrl-C", "").replace("interrupted", "stopped")
        assert run["err"].endswith(f"\n{by}; finished stages are kept, and the same command goes on from there\n")
        assert run["out"] == ""
    assert "Traceback" not in run["err"]
    assert half_made(run["stages"]) == set()
    assert {stage.rpartition("-")[0] for stage in run["stages"]} - {"serve"} == set(before(name))
    if where == "worker":
        assert run["processes"]
        assert all(gone(pid) for pid in run["processes"])


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_last_run_publishes_and_nothing_is_left(how: str, request: pytest.FixtureRequest) -> None:
    left: Deaths = request.getfixturevalue(how)
    last = left.runs[-1]
    assert last["code"] == 0, last["err"]
    published = json.loads(last["out"])["publication"]
    assert published["version"] == 2, "1 was about to serve when the run before died: no number is given twice"
    (entry,) = versions(left.desk.repository, NAME)
    assert (entry.version, entry.served) == (published["version"], True)
    assert unfinished(left.desk.repository, NAME) is None
    assert litter(left.desk.folder) == []
    assert list(left.temporary.iterdir()) == []
    assert all(gone(run["pid"]) for run in left.runs)


@pytest.mark.triton
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "stopped"])
def test_with_a_server_at_work(
    files: Files, tmp_path: Path, triton_installation: Installation, killed: Deaths, number: signal.Signals
) -> None:
    """The server of a run goes with it, at once or (killed) by its supervisor. A version that was published and not yet
    verified when the run was killed is verified by the next, and keeps its number; Ctrl-C takes it back."""
    quick = ("--triton", "managed", "--backends", "onnx", "--traffic", "batch=1", "--tune-budget", "0")
    shutil.copytree(killed.desk.run_dir, tmp_path / "run")  # what was found out about the model is kept
    left = deaths(files, tmp_path, number, "server" if number == signal.SIGKILL else "published", quick)
    *dead, last = left.runs
    for run in dead:
        assert len(run["processes"]) >= 3, run["err"]  # the supervisor, the server and its Python process
        assert all(gone(pid) for pid in run["processes"])
    if number == signal.SIGKILL:
        assert [run["signal"] for run in dead] == [number, number]
    else:
        assert [run["code"] for run in dead] == [7]
        assert f"{STOPPED[dead[0]['sent']]}; no version of the model serves" in dead[0]["err"]
    assert last["code"] == 0, last["err"]
    publication = json.loads(last["out"])["publication"]
    assert publication["verified"]
    assert publication["version"] == (1 if number == signal.SIGKILL else 2)
    assert [entry.version for entry in versions(left.desk.repository, NAME)] == [publication["version"]]
    assert unfinished(left.desk.repository, NAME) is None
    assert litter(left.desk.folder) == []
    assert list(left.temporary.iterdir()) == []
    owners = {f"_{run['pid']}_" for run in left.runs}
    assert not [path for path in SHARED_MEMORY.glob("millwork_*") if any(owner in path.name for owner in owners)]


@pytest.mark.triton
@pytest.mark.parametrize("whose", ["managed", "theirs"])
def test_ctrl_c_while_it_tunes(
    files: Files, tmp_path: Path, triton_installation: Installation, killed: Deaths, whose: str
) -> None:
    """Exit code 130, nothing published, no process left; of a server of the user's nothing of ours is left in it. The
    next run goes on."""
    shutil.copytree(killed.desk.run_dir, tmp_path / "run")
    models = tmp_path / "served" / "models"
    models.mkdir(parents=True)
    with contextlib.ExitStack() as running:
        triton = "managed"
        if whose == "theirs":
            theirs = running.enter_context(server.start(triton_installation, models, log=tmp_path / "t.log"))
            triton = theirs.grpc_url
        quick = ("--triton", triton, "--backends", "onnx", "--traffic", "batch=1", "--tune-budget", "3")
        left = deaths(files, tmp_path, signal.SIGINT, "tuning", quick)
        dead, last = left.runs
        assert (dead["signal"], dead["code"]) == (0, 128 + dead["sent"]), dead["err"]
        assert "Traceback" not in dead["err"]
        assert any(stage.startswith("trial-") for stage in dead["stages"]) or "tune" in dead["err"]
        assert all(gone(pid) for pid in dead["processes"])
        assert last["code"] == 0, last["err"]
        assert json.loads(last["out"])["publication"]["version"] == 1
        if whose == "theirs":
            with Session(triton) as session:
                assert [name for name in session.models() if session.versions(name)] == [NAME]
    assert litter(left.desk.folder) == []
    assert list(left.temporary.iterdir()) == []
