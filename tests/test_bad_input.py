"""What can be wrong with what a user gives: each ends with its exit code and one clear message, nothing is left behind,
and the version that served before still serves."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from models import jobs
from models.jobs import COLUMNS, LABEL, QUICK, Desk, Files, contents, litter, millwork, refused

from millwork.artifacts.repository import served_version, unfinished, versions
from millwork.values import Record

if TYPE_CHECKING:
    from millwork.triton.install import Installation

NAME = "clicks"


@pytest.fixture(autouse=True)
def untouched(desk: Desk) -> Iterator[None]:
    """Whatever a test here gets wrong, version 1 serves as before and nothing lies about."""
    before = contents(desk.repository)
    yield
    now = contents(desk.repository)
    assert {name: now.get(name) for name in before} == before
    assert litter(desk.folder) == []
    assert unfinished(desk.repository, NAME) is None


# ── the model ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_is_not_there(desk: Desk) -> None:
    said = millwork("optimize", "nothing.json", *QUICK, "--repository", desk.repository)
    refused(said, 3, "nothing.json: there is no such file", "Check the path")
    assert not (desk.folder / ".millwork").exists()


@pytest.mark.parametrize("suffix", ["json", "ubj", "cbm", "pkl", "joblib"])
def test_an_empty_file(desk: Desk, suffix: str) -> None:
    path = desk.folder / f"model.{suffix}"
    path.touch()
    refused(desk.optimize(path), 3, f"{path}: the file is empty")


@pytest.fixture(scope="session")
def saved(files: Files) -> dict[str, bytes]:
    """One model's file in each format."""
    model = pickle.loads(files.clicks.read_bytes()).get_booster()
    return {
        "json": bytes(model.save_raw("json")),
        "ubj": bytes(model.save_raw("ubj")),
        "pkl": files.clicks.read_bytes(),
        "cbm": files.prices.read_bytes(),
    }


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["json", "ubj", "cbm", "pkl"])
def test_a_file_that_was_cut_short(desk: Desk, saved: dict[str, bytes], suffix: str, share: float) -> None:
    path = desk.folder / f"model.{suffix}"
    path.write_bytes(saved[suffix][: int(len(saved[suffix]) * share)])
    refused(desk.optimize(path), 3, str(path))


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_of_something_else(desk: Desk) -> None:
    from sklearn.linear_model import LogisticRegression

    others = {"a dict": {"model": 1}, "another estimator": LogisticRegression().fit([[0], [1]], [0, 1])}
    expected = {"a dict": "a pickle of dict", "another estimator": "LogisticRegression; expected one fitted xgboost"}
    for name, other in others.items():
        path = desk.folder / "model.pkl"
        path.write_bytes(pickle.dumps(other))
        refused(desk.optimize(path), 3, f"{path}: ", expected[name])


def test_a_pickle_that_runs_a_command_is_not_run(desk: Desk) -> None:
    canary, path = desk.folder / "canary", desk.folder / "model.pkl"
    path.write_bytes(pickle.dumps(Canary(canary)))
    refused(desk.optimize(path), 3, f"{path}: a pickle of ", "system")
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists(), "or this test shows nothing"


def test_files_of_another_kind(desk: Desk) -> None:
    text, folder = desk.folder / "notes.txt", desk.folder / "model.json"
    text.write_text("not a model")
    folder.mkdir()
    refused(desk.optimize(text), 3, "this isn't a model in a supported format")
    refused(desk.optimize(folder), 3, str(folder), "folder")


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────────


def given(desk: Desk, table: pd.DataFrame, *words: str) -> jobs.Said:
    path = desk.folder / "given.parquet"
    table.to_parquet(path, index=False)
    return desk.optimize(desk.files.clicks, "--data", path, *words)


def test_rows_that_lack_a_feature(desk: Desk) -> None:
    refused(given(desk, desk.files.table().drop(columns=["c"])), 2, "lacks 1 of the model's 5 features: c", "a, b, d")


def test_columns_in_another_order_are_found_by_name(desk: Desk) -> None:
    """And the answers are those of the columns in the model's order: the run before published the same content."""
    table = desk.files.table()
    said = given(desk, table[[LABEL, *reversed(COLUMNS)]], "--label", LABEL, "--json")
    assert said.code == 0, said.err
    in_order = given(desk, table, "--label", LABEL, "--json")
    metrics = [run.document()["candidates"][0]["parity"]["metric"] for run in (said, in_order)]
    assert metrics[0] == metrics[1]
    assert metrics[0]["rows"] == len(table)


def test_rows_without_names_of_another_width(desk: Desk) -> None:
    path = desk.folder / "rows.npy"
    np.save(path, np.zeros((5, 4), np.float32))
    refused(desk.optimize(desk.files.clicks, "--data", path), 2, "each row has 4 values; the model takes 5")


def test_rows_that_are_not_numbers(desk: Desk) -> None:
    refused(given(desk, desk.files.table().assign(c="x")), 2, "column 'c' holds text; the model takes numbers")


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("given.parquet", None, "no such file"),
        ("given.parquet", b"PAR1 and no more", "not a readable parquet file"),
        ("given.csv", b"", "not a readable csv file"),
        ("given.csv", b"a,b,c,d,e\n", "the file has no rows"),
        ("given.npy", b"\x93NUMPY", "not a readable numpy file"),
        ("given.xlsx", b"PK", "this kind of data file isn't supported"),
    ],
)
def test_a_file_of_rows_that_cannot_be_read(desk: Desk, name: str, content: bytes | None, phrase: str) -> None:
    if content is not None:
        (desk.folder / name).write_bytes(content)
    refused(desk.optimize(desk.files.clicks, "--data", name), 2, name, phrase)


def test_labels(desk: Desk) -> None:
    table = desk.files.table()
    refused(given(desk, table, "--label", "price"), 2, "the file has no column 'price' (--label)", LABEL)
    unknown = table.assign(**{LABEL: 7})
    refused(given(desk, unknown, "--label", LABEL), 2, "holds '7'", "--label bought", "The model's classes: 0, 1.")
    said = millwork("optimize", desk.files.clicks, *QUICK, "--label", LABEL)
    refused(said, 2, "--label without --data")


# ── options ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (["--target", "b9000"], ["unknown target 'b9000'", "host, cpu"]),
        (["--backends", "onnx,magic"], ["unknown backend 'magic'", "reference, onnx, fil"]),
        (["--slo", "p99=5ms", "--triton", "managed"], ["'p99=5ms' isn't a limit", "p99<5ms"]),
        (["--slo", "p99<5ms"], ["--slo with --triton none", "measured on a server"]),
        (["--slo", "p99<5ms", "--triton", "managed", "--tune-budget", "0"], ["--slo with --tune-budget 0"]),
        (["--objective", "speed"], ["--objective 'speed'", "throughput, latency, cost"]),
        (["--tune-budget", "-1"], ["--tune-budget -1", "0 to 3600"]),
        (["--traffic", "batch=1 rate=5/s clients=2"], ["open loop", "closed one"]),
        (["--precision", "int4"], ["--precision 'int4'", "fp32, fp16, int8, int32"]),
        (["--task", "ranking"], ["--task 'ranking'", "multiclass"]),
        (["--module", "nets.make"], ["--module 'nets.make'", "package.module:factory"]),
        (["--executor", "ray://head:10001"], ["Ray isn't supported in this version"]),
        (["--executor", "elsewhere"], ["--executor elsewhere: expected local"]),
        (["--name", "team/clicks"], ["'team/clicks' can't be a model's name", "letters, digits"]),
        (["--name", "x" * 129], ["can't be a model's name", "1 to 128"]),
        (["--repository", "hdfs://host/models"], ["this kind of repository isn't supported"]),
        (["--traffic", "often"], ["--traffic 'often'", "batch=1:0.9,64:0.1"]),
        (["--tolerance", "small"], ["--tolerance 'small'", "abs=1e-6"]),
        (["--output", "logits"], ["expected probability, margin or label"]),
        (["--threads", "0"], ["--threads 0: expected 1"]),
        (["--triton", "http://127.0.0.1:8000"], ["http:// is not supported", "grpc://HOST:PORT"]),
        (["--triton", "./nowhere"], ["--triton ./nowhere: there is no such file or folder"]),
        (["--triton-release", "3.1"], ["this Triton release isn't known", "YY.MM"]),
        (["--fast"], ["No such option", "--fast"]),
    ],
)
def test_options_that_cannot_be_right(desk: Desk, words: list[str], phrases: list[str]) -> None:
    refused(desk.optimize(desk.files.clicks, *words), 2, *phrases)


def test_a_command_that_is_not_there(desk: Desk) -> None:
    refused(
        millwork("optimise", "model.json"),
        2,
        "No such command 'optimise'",
        "did you mean 'optimize'?",
        "Commands: optimize,",
    )


def test_a_gpu_target_ends_with_everything_built_and_said(desk: Desk) -> None:
    """Without one here, nothing is measured, and nothing published, whatever the repository has."""
    said = desk.optimize(desk.files.again, "--target", "h100", "--json")
    assert said.code == 5
    assert "the target h100 isn't here: onnx-fp32 built and through the parity gate" in said.err
    assert str(desk.run_dir) in said.err
    record = json.loads((desk.run_dir / "run.json").read_bytes())
    assert said.document() == record
    assert [line["status"] for line in record["candidates"]] == ["passed"]
    assert record["target"] == {**record["target"], "name": "h100", "is_target": False}
    assert (record["winner"], record["publication"]) == (None, None)
    assert "h100 isn't here" in record["stopped"]
    assert (desk.run_dir / "report.html").is_file()


def test_json_on_a_failure_is_one_document_or_nothing(desk: Desk) -> None:
    refused(desk.optimize(desk.folder / "nothing.json", "--json"), 3)
    said = desk.optimize(desk.files.clicks, "--tolerance", "abs=0,rel=0", "--json")
    assert said.code == 4
    assert said.document()["candidates"][0]["status"] == "failed"
    assert said.document()["publication"] is None
    assert "no candidate answers as the framework does" in said.err
    assert len(said.err.splitlines()) <= jobs.SCREEN


# ── the repository ────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_where_the_repository_would_be(desk: Desk) -> None:
    file = desk.folder / "file"
    file.write_text("mine")
    for path in (file, file / "models"):
        refused(desk.optimize(desk.files.clicks, "--repository", path), 7, "the repository can't be made", str(file))
    (desk.repository / "prices").write_text("mine")
    said = desk.optimize(desk.files.prices, "--data", desk.files.rows)
    refused(said, 7, "expected the model's folder, but there is a file of that name", "--name")
    assert (file.read_text(), (desk.repository / "prices").read_text()) == ("mine", "mine")


def test_a_configuration_that_nobody_can_read(desk: Desk) -> None:
    """Somebody else's, under the same name: it is theirs to mend, and is known before the long work."""
    config = desk.repository / "prices" / "config.pbtxt"
    config.parent.mkdir()
    config.write_text("no such thing: {")
    said = desk.optimize(desk.files.prices)
    refused(said, 7, f"{config}: not a Triton model configuration", "another --name")
    where = ("--repository", desk.repository, "--triton", "none")
    said = desk.optimize(desk.files.again, "--name", "prices", "--dry-run")
    assert said.code == 0, said.err
    refused(millwork("publish", desk.run_dir, *where), 7, f"{config}: not a Triton model configuration")
    assert config.read_text() == "no such thing: {"


def test_a_repository_whose_name_is_too_long(desk: Desk) -> None:
    refused(desk.optimize(desk.files.clicks, "--repository", "x" * 300), 7, "the name is too long")


def in_a_namespace(desk: Desk, mount: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """``millwork optimize …`` where ``mount`` (a shell command) was done before; skipped where a user may not mount."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*command, mount], cwd=desk.folder, capture_output=True).returncode:
        pytest.skip("this machine doesn't let a user mount a file system")
    program = [str(Path(sys.executable).with_name("millwork")), "optimize", desk.files.again, "--data", desk.files.rows]
    return subprocess.run(
        [*command, f'{mount}; exec "$0" "$@"', *map(str, [*program, *QUICK, *words])],
        cwd=desk.folder,
        capture_output=True,
        text=True,
    )


def test_a_repository_that_is_not_writable(desk: Desk) -> None:
    done = in_a_namespace(
        desk,
        "mount --bind served served; mount -o remount,bind,ro served",
        "--repository",
        desk.repository,
        "--run-dir",
        desk.run_dir,
        "--name",
        NAME,
    )
    refused(
        jobs.Said(done.returncode, done.stdout, done.stderr), 7, f"{desk.repository}: the repository isn't writable"
    )


def test_a_disk_that_is_full_for_the_run(desk: Desk) -> None:
    (desk.folder / "disk").mkdir()
    mount = "mount -t tmpfs -o size=64k tmpfs disk"
    done = in_a_namespace(desk, mount, "--repository", desk.repository, "--run-dir", "disk/run", "--name", NAME)
    said = jobs.Said(done.returncode, done.stdout, done.stderr)
    refused(said, 2, "the disk is full", "Free some space", "--run-dir")


def test_a_disk_that_is_full_for_the_repository(desk: Desk) -> None:
    """The old version is on it, and stays."""
    (desk.folder / "disk").mkdir()
    mount = "mount -t tmpfs -o size=48k tmpfs disk; cp -r served disk; ls -aR disk >before"
    after = "; code=$?; ls -aR disk >after; test -e disk/served/models/clicks/1/model.onnx; exit $code"
    script = f'{mount}; set +e; "$0" "$@"{after}'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if subprocess.run([*command, mount], cwd=desk.folder, capture_output=True).returncode:
        pytest.skip("this machine doesn't let a user mount a file system")
    program = [str(Path(sys.executable).with_name("millwork")), "optimize", desk.files.again, "--data", desk.files.rows]
    words = ["--repository", "disk/served/models", "--run-dir", desk.run_dir, "--name", NAME]
    done = subprocess.run(
        [*command, script, *map(str, [*program, *QUICK, *words])], cwd=desk.folder, capture_output=True, text=True
    )
    assert done.returncode == 7, done.stderr
    assert "the disk is full; version 1 still serves" in done.stderr
    assert "Free some space, and publish again." in done.stderr
    assert (desk.folder / "after").read_text() == (desk.folder / "before").read_text()


# ── Triton, ports, others ─────────────────────────────────────────────────────────────────────────────────


def test_a_triton_that_is_not_there(desk: Desk) -> None:
    said = desk.optimize(desk.files.again, "--triton", "grpc://127.0.0.1:1", "--name", NAME)
    refused(said, 7, "no Triton answers at grpc://127.0.0.1:1", "gRPC port")


@pytest.mark.triton
def test_a_port_that_is_in_use(desk: Desk, triton_installation: Installation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = millwork("triton", "serve", "--repository", desk.repository, "--grpc-port", str(port))
    refused(said, 2, f"--grpc-port {port}", "another --grpc-port")


def test_two_publishers_at_the_same_moment(desk: Desk) -> None:
    """Both have their runs done, and go for the same name: each gets a version of its own, and both are whole."""
    models = {"one": desk.files.clicks, "other": desk.files.again}
    repository = desk.folder / "fresh" / "models"
    for name in models:
        shutil.copytree(desk.run_dir, desk.folder / name)
    program = [str(Path(sys.executable).with_name("millwork")), "optimize"]
    running = [
        subprocess.Popen(
            [
                *program,
                str(model),
                "--data",
                str(desk.files.rows),
                *QUICK,
                "--repository",
                str(repository),
                "--run-dir",
                name,
                "--name",
                NAME,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, model in models.items()
    ]
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    assert [entry.version for entry in versions(repository, NAME)] == [1, 2]
    assert served_version(repository, NAME) == 2
    assert all(entry.manifest is not None for entry in versions(repository, NAME))
    assert litter(repository.parent) == []


def test_two_runs_in_one_run_directory(desk: Desk) -> None:
    from millwork.storage.run_directory import RunDirectory

    with RunDirectory(desk.run_dir):
        refused(
            desk.optimize(desk.files.clicks),
            2,
            f"another run is using this run directory (process {os.getpid()})",
            "--run-dir",
        )


def test_a_candidate_that_is_not_installed_is_a_line_and_not_the_end(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that can't import treelite, as on a machine without it."""
    blocked = desk.folder / "blocked"
    blocked.mkdir()
    (blocked / "treelite.py").write_text("raise ModuleNotFoundError(\"No module named 'treelite'\", name='treelite')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    said = desk.optimize(desk.files.clicks, "--backends", "onnx,fil", "--json")
    assert said.code == 0, said.err
    onnx, fil = Record_of(said).candidates
    assert (onnx.status, fil.status) == ("passed", "unsupported")
    assert "millwork[treelite]" in fil.reason


def Record_of(said: jobs.Said) -> Record:  # noqa: N802
    import msgspec

    return msgspec.json.decode(said.out, type=Record)
