"""The commands beside ``optimize``, as a user types them: what they print, their JSON, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from models.catboost_cases import CASES
from models.jobs import COLUMNS, QUICK, Desk, contents, millwork, refused

from millwork.artifacts.repository import versions
from millwork.environments import Environment

BENCH = ("--batch", "1", "--backends", "onnx")


def test_help_names_every_command() -> None:
    from millwork.cli.app import COMMANDS

    said = millwork("--help")
    assert said.code == 0
    assert all(f"│ {command} " in said.out for command in COMMANDS)
    for command in COMMANDS:
        assert millwork(command, "--help").code == 0
    assert millwork("--version").out.startswith("millwork, version 0.")


def test_inspect(desk: Desk) -> None:
    said = millwork("inspect", desk.files.clicks)
    assert (said.code, said.err) == (0, "")
    for shown in ("XGBClassifier", "binary:logistic (binary)", ", ".join(COLUMNS), "probability: 0, 1", "7 trees"):
        assert shown in said.out
    said = millwork("inspect", desk.files.prices, "--json")
    assert said.code == 0
    assert said.document()["model"]["signature"]["features"]["names"] == COLUMNS
    refused(millwork("inspect", "nothing.cbm"), 3, "nothing.cbm: there is no such file")
    refused(millwork("inspect", "nothing.cbm", "--json"), 3)


def test_inspect_a_model_that_holds_only_hashes_of_its_categories(desk: Desk, tmp_path: Path) -> None:
    """With the rows that ``optimize`` takes; other values in as many rows won't do."""
    case = CASES["CTRs"](tmp_path)
    refused(millwork("inspect", case.model), 3, "not known: place (4 of 5), kind", "--data FILE")
    said = millwork("inspect", case.model, "--data", case.data)
    assert (said.code, said.err) == (0, "")
    assert "place (5 values), who (60 values), kind (2 values); text" in " ".join(said.out.split())
    document = millwork("inspect", case.model, "--data", case.data, "--json").document()
    features = document["model"]["signature"]["features"]
    assert (features["names"], features["category_names"]) == (["height", "width"], ["place", "who", "kind"])
    assert len(features["categories"]["who"]) == 60

    rows = pd.read_parquet(case.data)
    rows.assign(place=rows["place"] + "!").to_parquet("wrong.parquet")
    refused(millwork("inspect", case.model, "--data", "wrong.parquet"), 3, "not known: place (4 of 5)")
    rows.drop(columns="who").to_parquet("narrow.parquet")
    refused(millwork("inspect", case.model, "--data", "narrow.parquet"), 2, "lacks 1 of the model's 5 features: who")
    refused(millwork("inspect", case.model, "--label", "y"), 2, "--label without --data")


def test_inspect_takes_the_label_out_of_rows_whose_columns_the_model_doesnt_name(desk: Desk) -> None:
    words = np.array(["a", "b", "c"])[np.arange(60) % 3]
    table = pd.DataFrame({"x": np.arange(60.0), "word": words, "y": (words == "a").astype(int)})
    pool = cb.Pool(table[["x", "word"]].to_numpy(object), table["y"], cat_features=[1])
    cb.CatBoostClassifier(iterations=3, verbose=0, allow_writing_files=False).fit(pool).save_model("words.cbm")
    table.to_parquet("rows.parquet")
    asked = ("inspect", "words.cbm", "--data", "rows.parquet")
    refused(millwork(*asked), 2, "the file has 3 columns besides the label; the model takes 2 features")
    assert "f1 (3 values); text" in millwork(*asked, "--label", "y").out


def test_bench(desk: Desk) -> None:
    said = millwork("bench", desk.files.clicks, *BENCH, "--data", desk.files.rows, "--run-dir", desk.run_dir, "--json")
    assert said.code == 0, said.err
    document = said.document()
    assert [line["id"] for line in document["candidates"]] == ["onnx-fp32"]
    assert document["candidates"][0]["latency"][0]["batch"] == 1
    assert (document["winner"], document["publication"]) == (None, None)
    assert "onnx-fp32" in said.err
    refused(millwork("bench", desk.files.clicks, "--batch", "many"), 2, "--batch 'many': expected row counts")
    refused(millwork("bench", "nothing.json"), 3, "there is no such file")


def test_doctor() -> None:
    said = millwork("doctor")
    assert said.code == 0
    for what in ("millwork", "machine", "xgboost", "onnxruntime", "managed Triton", "NVIDIA GPU", "cache"):
        assert what in said.out
    findings = {finding["what"]: finding for finding in millwork("doctor", "--json").document()}
    assert findings["catboost"]["there"] is True
    assert findings["millwork"]["version"].startswith("0.")


def test_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError, version

    from millwork.commands import doctor as doctor_command

    def lacking(name: str) -> str:
        if name == "treelite":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(doctor_command, "version", lacking)
    findings = {finding["what"]: finding for finding in millwork("doctor", "--json").document()}
    assert (findings["treelite"]["there"], findings["treelite"]["hint"]) == (False, "pip install 'millwork[treelite]'")


def test_report(desk: Desk) -> None:
    (desk.run_dir / "report.html").unlink()
    said = millwork("report", desk.run_dir)
    assert said.code == 0
    assert Path(said.out.strip()).read_text().startswith("<!doctype html>")
    refused(millwork("report", desk.folder / "nowhere"), 2, "run.json: no such file", ".millwork/NAME")
    whole = (desk.run_dir / "run.json").read_bytes()
    for damaged in (b"{}", whole.replace(b"onnx-fp32", b"onn\xf8-fp32", 1)):
        (desk.run_dir / "run.json").write_bytes(damaged)
        refused(millwork("report", desk.run_dir), 2, "run.json: not a run's record")


def test_publish_and_rollback_without_a_server(desk: Desk) -> None:
    """The run directory's last run is the newer model's; said to be unverified each time."""
    where = ("--repository", desk.repository, "--triton", "none")
    said = millwork("publish", desk.run_dir, *where)
    assert said.code == 0
    assert "version 1 of again, NOT verified" in said.err
    assert desk.optimize(desk.files.again, "--name", "clicks").code == 0
    assert [entry.version for entry in versions(desk.repository, "clicks") if entry.served] == [2]
    said = millwork("rollback", *where, "--name", "clicks")
    assert said.code == 0
    assert "version 1 of clicks, NOT verified" in said.err
    assert [entry.version for entry in versions(desk.repository, "clicks") if entry.served] == [1]
    before = contents(desk.repository)
    refused(
        millwork("rollback", *where, "--name", "clicks", "--version", "9"), 2, "no version 9 in this repository", "1, 2"
    )
    refused(millwork("rollback", *where, "--name", "nothing"), 2, "no model called 'nothing'")
    refused(millwork("publish", desk.folder / "nowhere", *where), 2, "no run in it that chose a candidate")
    assert contents(desk.repository) == before


def test_predict(desk: Desk) -> None:
    """Also from a .csv and from bare rows; the version that serves, or another."""
    rows = desk.files.features()
    rows.to_csv("rows.csv", index=False)
    np.save("rows.npy", rows.to_numpy(np.float32))
    where = ("predict", "--repository", desk.repository, "--name", "clicks")
    answers = []
    for name in (desk.files.rows, "rows.csv", "rows.npy"):
        said = millwork(*where, "--input", name, "--output", "answers.npy")
        assert said.code == 0, said.err
        assert "400 rows, 2 outputs, version 1 of clicks" in said.err
        answers.append(np.load("answers.npy"))
    assert (answers[0].dtype, answers[0].shape) == (np.float32, (400, 2))
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_predict_refuses(desk: Desk) -> None:
    where = ("predict", "--repository", desk.repository, "--name", "clicks", "--input", desk.files.rows)
    refused(millwork(*where, "--output", "answers.csv"), 2, "--output answers.csv: expected a file ending in .npy")
    refused(
        millwork(*where, "--output", "answers.npy", "--version", "7"),
        2,
        "no version 7 in this repository",
        "versions here: 1",
    )
    refused(millwork(*where, "--output", "nowhere/answers.npy"), 2, "no such folder: nowhere")
    np.save("narrow.npy", np.zeros((2, 3)))
    refused(millwork(*where, "--input", "narrow.npy", "--output", "answers.npy"), 2, "each row has 3 values")
    model = desk.repository / "clicks" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    refused(millwork(*where, "--output", "answers.npy"), 3, "model.onnx")
    assert not Path("answers.npy").exists()


def test_triton_backend_is_a_file_to_copy() -> None:
    said = millwork("triton", "backend")
    assert said.code == 0
    assert Path(said.out.strip()).name == "libtriton_millwork.so"
    assert Path(said.out.strip()).is_file()


def test_triton_status() -> None:
    said = millwork("triton", "status")
    assert said.code == 0
    assert "Triton 2.51.0 (release 24.10)" in said.out
    assert said.err == ""
    assert millwork("triton", "status", "--json").document()["release"] == "24.10"


def test_a_bug_of_ours_is_said_with_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from millwork.pipeline import optimize as pipeline

    def bug(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(pipeline, "understand", bug)
    said = millwork("optimize", desk.files.clicks, *QUICK, "--json")
    refused(said, 70, "a bug in millwork: ZeroDivisionError: by zero")
    details = Path(said.err.split("Details: ")[1].split()[0])
    text = details.read_text()
    details.unlink()
    assert "Traceback" in text
    assert str(desk.files.clicks) in text


def test_only_ctrl_c_is_a_stop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EOFError is a file that is cut short."""
    from millwork.pipeline import optimize as pipeline

    def ends(error: BaseException) -> None:
        def understand(*_: object) -> None:
            raise error

        monkeypatch.setattr(pipeline, "understand", understand)

    ends(KeyboardInterrupt())
    said = millwork("optimize", desk.files.clicks, *QUICK)
    assert (said.code, said.out, said.err.strip()) == (
        130,
        "",
        "stopped; finished stages are kept, and the same command goes on from there",
    )
    ends(EOFError("No data left in file"))
    said = millwork("optimize", desk.files.clicks, *QUICK)
    refused(said, 70, "a bug in millwork: EOFError: No data left in file")
    Path(said.err.split("Details: ")[1].split()[0]).unlink()


def test_the_worker_command_repeats_a_step(desk: Desk) -> None:
    """A step's log begins with its call."""
    log = min(desk.run_dir.glob("stages/lower-*/lower.log"))
    call = log.read_text().splitlines()[0].partition("<<< ")[2]
    worker = Path(sys.executable).with_name("millwork")
    done = subprocess.run([worker, "worker"], input=call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    assert (desk.folder / "lowered.npz").is_file()
    done = subprocess.run([worker, "worker"], input="{", capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["error"]["type"]) == (2, "UsageError")


def test_toolchains_are_listed_and_installed(rtx: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (line,) = [one for one in millwork("toolchain", "list", "--json").document() if one["name"] == "tensorrt-rtx"]
    assert line["path"] == rtx.path
    assert rtx.path in millwork("toolchain", "install", "tensorrt-rtx").err
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path))
    assert "not installed: millwork toolchain install tensorrt-rtx" in millwork("toolchain", "list").out
    refused(millwork("toolchain", "install", "cutlass"), 2, "unknown toolchain 'cutlass'", "tensorrt-rtx")
