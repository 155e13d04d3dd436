"""The main job on a real Triton: from a trained model's file to a served version that answers as the framework does."""

from __future__ import annotations

import json
import pickle
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catboost as cb
import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tritonclient.grpc as grpc
import xgboost as xgb
from models import catboost_cases, jobs, xgboost_cases
from models.jobs import COLUMNS, LABEL, Desk, Files, Said, litter, millwork

from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import find_version, served_version, unfinished, versions
from millwork.triton import server
from millwork.triton.server import RunningServer
from millwork.values import Record

if TYPE_CHECKING:
    from millwork.triton.install import Installation

pytestmark = pytest.mark.triton

MANAGED = ("--backends", "onnx", "--traffic", "batch=1", "--tune-budget", "0")
CLICKS, PRICES = "clicks", "prices"


@pytest.fixture(scope="module")
def shop(files: Files, triton_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A repository where the clicks model was published and verified on the managed Triton."""
    desk = Desk(tmp_path_factory.mktemp("shop"), files)
    said = desk.optimize(files.clicks, "--label", LABEL, quick=MANAGED)
    assert said.code == 0, said.err
    shutil.copytree(desk.run_dir, desk.folder / "first", ignore=shutil.ignore_patterns("stages"))
    return desk


@pytest.fixture(scope="module")
def running(shop: Desk, triton_installation: Installation) -> Iterator[RunningServer]:
    """A Triton of the user's own on that repository."""
    with server.start(triton_installation, shop.repository, log=shop.folder / "triton.log") as started:
        yield started


@pytest.fixture
def remote(running: RunningServer) -> tuple[str, ...]:
    return ("--triton", running.grpc_url, *MANAGED)


def record(said: Said) -> Record:
    """The record on stdout, whole: no field that the type doesn't know, none that it lacks."""
    found = msgspec.json.decode(said.out, type=Record)
    assert json.loads(msgspec.json.encode(found)) == said.document()
    return found


def ask(
    running: RunningServer,
    name: str,
    rows: npt.NDArray[Any] | pd.DataFrame,
    *,
    load: bool = False,
    categories: tuple[str, npt.NDArray[Any]] | None = None,
) -> Any:
    """As any client would, with nothing of ours. ``categories``: their Triton type, and values for input__1."""
    tensors = []
    sent = np.ascontiguousarray(rows, np.float32)
    for tensor_name, kind, values in [("input__0", "FP32", sent), *([("input__1", *categories)] if categories else [])]:
        tensors.append(grpc.InferInput(tensor_name, list(values.shape), kind))
        tensors[-1].set_data_from_numpy(values)
    with grpc.InferenceServerClient(running.grpc_url.removeprefix("grpc://")) as client:
        if load:
            client.load_model(name)
        return client.infer(name, tensors).as_numpy("output__0")


def proba(path: Path, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
    return np.asarray(pickle.loads(path.read_bytes()).predict_proba(rows))


def near(given: Any, wanted: Any) -> None:
    assert given.dtype == np.float32
    assert given.shape == wanted.shape
    np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)


def test_published_and_verified(shop: Desk) -> None:
    found = msgspec.json.decode((shop.folder / "first" / "run.json").read_bytes(), type=Record)
    assert found.publication is not None
    assert found.publication.verified
    assert (found.publication.name, found.publication.version) == (CLICKS, 1)
    assert found.publication.server == "Triton 2.51.0"
    assert found.winner is not None
    assert found.winner.id == "onnx-fp32"
    assert found.tuning is not None
    assert found.tuning.triton == "24.10"
    assert found.tuning.config == (shop.repository / CLICKS / "config.pbtxt").read_text()
    (line,) = found.candidates
    assert line.parity is not None
    assert (line.status, line.served_by, line.parity.leaf_mismatches) == ("passed", "python", 0)
    assert line.parity.metric is not None
    assert line.parity.metric.rows == len(shop.files.table())
    assert [latency.batch for latency in line.latency] == [1]
    assert (found.model.features, found.model.outputs) == (tuple(COLUMNS), ("0", "1"))
    assert found.stopped == ""
    assert "early stopping" in " ".join(found.notes)
    for name in ("report.html", "report.md"):
        assert CLICKS in (shop.folder / "first" / name).read_text()
    assert litter(shop.folder) == []


def test_the_same_run_again_publishes_nothing_new(shop: Desk) -> None:
    """Every stage is kept; the version that serves is verified again."""
    before = jobs.contents(shop.repository)
    said = shop.optimize(shop.files.clicks, "--label", LABEL, "--json", quick=MANAGED)
    publication = record(said).publication
    assert publication is not None
    assert (publication.version, publication.verified) == (1, True)
    assert jobs.contents(shop.repository) == before
    for stage in ("load", "rows", "oracle", "build", "check", "measure"):
        assert [line for line in said.err.splitlines() if line.startswith(f"{stage} ") and line.endswith("(kept)")]


def test_a_newer_model_asked_predicted_and_rolled_back(
    shop: Desk, running: RunningServer, remote: tuple[str, ...], tmp_path: Path
) -> None:
    rows = shop.files.features()
    near(ask(running, CLICKS, rows, load=True), proba(shop.files.clicks, rows))

    said = shop.optimize(shop.files.again, "--name", CLICKS, "--json", quick=remote)
    assert said.code == 0, said.err
    publication = record(said).publication
    assert publication is not None
    assert (publication.version, publication.verified) == (2, True)
    assert running.grpc_url in publication.server
    near(ask(running, CLICKS, rows), proba(shop.files.again, rows))
    assert not np.allclose(proba(shop.files.again, rows), proba(shop.files.clicks, rows), atol=1e-3)

    where = ("--repository", shop.repository, "--name", CLICKS)
    shuffled = tmp_path / "rows.parquet"
    shop.files.table()[[LABEL, *reversed(COLUMNS)]].to_parquet(shuffled)
    for number, model in ((None, shop.files.again), (1, shop.files.clicks)):
        wanted = () if number is None else ("--version", str(number))
        said = millwork("predict", *where, *wanted, "--input", shuffled, "--output", tmp_path / "answers.npy")
        assert said.code == 0, said.err
        near(np.load(tmp_path / "answers.npy"), proba(model, rows))

    said = millwork("rollback", *where, "--triton", running.grpc_url)
    assert said.code == 0, said.err
    assert "version 1 of clicks, verified on" in said.err
    near(ask(running, CLICKS, rows), proba(shop.files.clicks, rows))
    assert [(entry.version, entry.served) for entry in versions(shop.repository, CLICKS)] == [(1, True), (2, False)]


def the_client_is_answered(folder: Path, running: RunningServer) -> None:
    """``client.py`` as it is, by gRPC and HTTP, and the line that it prints for a shell: the framework's answers."""
    program = [sys.executable, "client.py"]
    for url in (running.grpc_url, running.http_url):
        told = subprocess.run([*program, url], cwd=folder, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr
        assert "rows are answered as the framework answers them" in told.stdout
    line = subprocess.run([*program, "--curl", running.http_url], cwd=folder, capture_output=True, text=True).stdout
    told = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    example = msgspec.json.decode((folder / "run.json").read_bytes(), type=Record).example
    assert example is not None
    near(np.float32(json.loads(told.stdout)["outputs"][0]["data"]), np.float32(example.answer))


def test_the_client_beside_the_report_is_answered_and_a_missing_value_can_be_sent(
    shop: Desk, running: RunningServer
) -> None:
    with grpc.InferenceServerClient(running.grpc_url.removeprefix("grpc://")) as client:
        client.load_model(CLICKS)
    first = shop.folder / "first"
    the_client_is_answered(first, running)
    client = runpy.run_path(str(first / "client.py"))
    absent = [row for row in client["ROWS"] if None in row.values()]
    assert absent, "one of the rows lacks a number"
    line = client["curl"](running.http_url, absent)
    assert "NaN" in line
    told = json.loads(subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout)
    answers = [answer for row, answer in zip(client["ROWS"], client["ANSWERS"], strict=True) if row in absent]
    near(np.float32(told["outputs"][0]["data"]), np.float32(answers).ravel())


def test_catboost(shop: Desk, running: RunningServer, remote: tuple[str, ...]) -> None:
    said = shop.optimize(shop.files.prices, "--json", quick=remote)
    assert said.code == 0, said.err
    found = record(said)
    assert (found.model.framework, found.model.output_kind) == ("catboost", "value")
    rows = shop.files.features()
    own = cb.CatBoost().load_model(str(shop.files.prices)).predict(rows)
    near(ask(running, PRICES, rows), np.asarray(own, np.float32)[:, None])


def test_three_classes_and_a_number_that_means_missing(
    shop: Desk, running: RunningServer, remote: tuple[str, ...], tmp_path: Path
) -> None:
    """FIL reads no such number: Treelite does, behind an encoder. The client may send the number or NaN."""
    rows = shop.files.features().fillna(-999.0).to_numpy(copy=True)
    rows[0, 0] = np.nan
    label = np.digitize(np.where(rows == -999, 0.5, rows)[:, 1:].sum(axis=1), [-1, 1])
    model = xgb.XGBClassifier(n_estimators=8, max_depth=3, missing=-999.0, n_jobs=1).fit(rows, label)
    path = tmp_path / "sizes.pkl"
    path.write_bytes(pickle.dumps(model))
    np.save(tmp_path / "rows.npy", rows)
    said = shop.optimize(path, "--data", tmp_path / "rows.npy", "--backends", "onnx,fil", "--json", quick=remote)
    assert said.code == 0, said.err
    found = record(said)
    onnx, fil = found.candidates
    assert (onnx.status, fil.status) == ("passed", "passed")
    assert fil.served_by == "python"
    assert (found.model.missing, found.model.outputs) == (-999.0, ("0", "1", "2"))
    near(ask(running, "sizes", rows), model.predict_proba(rows))
    # The framework reads a NaN as missing too, whatever number stands for it.
    np.testing.assert_array_equal(
        ask(running, "sizes", np.where(rows == -999, np.nan, rows)), ask(running, "sizes", rows)
    )


CATEGORIES = {
    "shops": ("BYTES", catboost_cases.CASES["CTRs, combinations"]),
    "colours": ("BYTES", xgboost_cases.CASES["categories, strings"]),
    "codes": ("INT64", catboost_cases.CASES["CTRs of integers"]),
}
"""CatBoost's strings with CTRs, XGBoost's strings (some of them missing), CatBoost's integers with CTRs."""


def text(column: pd.Series) -> list[str]:
    """A column's values as text, an empty one for a missing value. Integers among which some are missing come out of a
    .parquet as pandas' floats."""
    whole = pd.api.types.is_float_dtype(column.dtype)
    return ["" if pd.isna(value) else str(int(value) if whole else value) for value in column]


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories_are_sent_as_they_are(
    name: str, shop: Desk, running: RunningServer, remote: tuple[str, ...], tmp_path: Path
) -> None:
    """Published and verified; a client that sends the values, and ``predict``, get the framework's answers."""
    kind, make = CATEGORIES[name]
    case = make(tmp_path)
    said = shop.optimize(case.model, "--data", case.data, "--name", name, "--json", quick=remote)
    assert said.code == 0, said.err
    publication = record(said).publication
    assert publication is not None
    assert publication.verified
    features = manifests.read_intact(find_version(shop.repository, name, publication.version)).features
    frame = pd.read_parquet(case.data)
    columns = [text(frame[column]) for column in features.category_names]
    values = np.array(columns, object).T
    values = values.astype(np.int64) if kind == "INT64" else values
    near(ask(running, name, frame[list(features.names)], categories=(kind, values)), case.expected)

    said = millwork(
        "predict",
        "--repository",
        shop.repository,
        "--name",
        name,
        "--input",
        case.data,
        "--output",
        tmp_path / "answers.npy",
    )
    assert said.code == 0, said.err
    near(np.load(tmp_path / "answers.npy"), case.expected)
    the_client_is_answered(shop.run_dir, running)


def test_published_from_a_dry_run(shop: Desk) -> None:
    said = shop.optimize(shop.files.clicks, "--name", "later", "--dry-run", "--json", quick=MANAGED)
    assert said.code == 0, said.err
    assert record(said).publication is None
    assert "nothing is published" in said.err
    assert served_version(shop.repository, "later") is None
    where = ("--repository", shop.repository, "--triton", "none")
    said = millwork("publish", shop.run_dir, *where)
    assert said.code == 0, said.err
    assert "version 1 of later, NOT verified" in said.err
    assert served_version(shop.repository, "later") == 1


def test_answers_that_differ_once_published_leave_the_old_version(
    shop: Desk, running: RunningServer, remote: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if what is served answered otherwise than what was judged: the golden answers are made wrong by a little."""
    from millwork.pipeline import serve

    honest = serve.golden_rows

    def wrong(*given: Any, **more: Any) -> Any:
        rows, answers = honest(*given, **more)
        return rows, answers + np.float32(1e-3)

    rows = shop.files.features()
    before, old = jobs.contents(shop.repository / CLICKS), ask(running, CLICKS, rows, load=True)
    served = served_version(shop.repository, CLICKS)
    monkeypatch.setattr(serve, "golden_rows", wrong)
    words = ("--name", CLICKS, "--threads", "2", "--json")
    said = shop.optimize(shop.files.again, *words, quick=remote)
    assert said.code == 7, said.err
    assert "answers wrong: row 0" in said.err
    assert f"version {served} still serves" in said.err
    assert record(said).publication is None
    assert "still serves" in record(said).stopped
    assert jobs.contents(shop.repository / CLICKS) == before
    assert unfinished(shop.repository, CLICKS) is None
    np.testing.assert_array_equal(ask(running, CLICKS, rows), old)


def test_the_framework_itself_is_served_where_it_wins(shop: Desk) -> None:
    """The managed Triton is given the framework; nothing of it is in millwork's own environment's way."""
    words = ("--name", "own", "--backends", "reference", "--json")
    said = shop.optimize(shop.files.clicks, *words, quick=MANAGED)
    assert said.code == 0, said.err
    found = record(said)
    assert found.winner is not None
    assert found.publication is not None
    assert (found.winner.id, found.publication.verified) == ("reference-fp32", True)
    assert (shop.repository / "own" / "1" / "millwork_runner.py").is_file()


def test_answers_that_differ_before_anything_is_published(shop: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a server of ours the bundle is rehearsed first: the repository isn't touched at all."""
    from millwork.pipeline import serve

    monkeypatch.setattr(serve, "golden_rows", lambda rows, answers, _, **_more: (rows[:4], answers[:4] * 2))
    said = shop.optimize(shop.files.again, "--name", "never", quick=MANAGED)
    assert said.code == 7, said.err
    assert "onnx-fp32 can't be served: as python: row 0" in said.err
    assert not (shop.repository / "never").exists()
