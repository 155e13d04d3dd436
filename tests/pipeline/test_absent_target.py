"""``--target a100`` on a machine without one: everything proved that can be, and the same run goes on where one is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb
from models.jobs import SCREEN, millwork

from millwork import gpus
from millwork.environments import Environment
from millwork.gpus import Gpu

A100 = Gpu(name="NVIDIA A100-SXM4-40GB", driver="580.95.05", compute_capability="8.0", memory_gib=40.0)
WORDS = ("--triton", "none", "--backends", "onnx", "--traffic", "batch=1", "--dry-run")


@pytest.fixture
def linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A linear model: its ONNX is plain operators, as a net's is."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    model = xgb.XGBClassifier(booster="gblinear", n_estimators=5, n_jobs=1).fit(rows, (rows.sum(1) > 0).astype(int))
    path = tmp_path / "linear.json"
    model.save_model(path)
    monkeypatch.chdir(tmp_path)
    return path


def test_a_laptop_proves_all_but_what_takes_the_gpu_and_the_run_goes_on_there(
    rtx: Environment, linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = millwork("optimize", linear, *WORDS, "--target", "a100", "--run-dir", "run", "--json")
    assert said.code == 5
    assert (
        "the target a100 isn't here: onnx-fp32 built and through the parity gate, engines of onnx-fp32 known to"
        in said.err
    )
    assert "Left to do where a100 is: engines, parity of what runs on the GPU, latency, tuning" in said.err
    assert len(said.err.split("error:")[1].splitlines()) <= SCREEN
    (line,) = said.document()["candidates"]
    assert line["preflight"]["verdict"] == "builds"
    assert line["preflight"]["compute_capability"] == "8.0"
    portable = next((tmp_path / "run" / "stages").glob("build-onnx-*")) / "model.onnx"
    assert str(portable.relative_to(tmp_path / "run")) in said.err

    again = millwork("optimize", linear, *WORDS, "--target", "a100", "--run-dir", "run")
    assert again.code == 5
    assert "engines  onnx-fp32: builds for a100" in again.err
    assert "(kept)" in next(line for line in again.err.splitlines() if line.startswith("engines"))

    # Another machine, with the GPU and another path; its driver's answer is the only thing that is made up.
    shutil.move(tmp_path / "run", tmp_path / "carried")
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=(A100,)))
    there = millwork("optimize", linear, *WORDS, "--target", "a100", "--run-dir", "carried", "--json")
    assert there.code == 0, there.err
    kept = {line.split()[0] for line in there.err.splitlines() if line.endswith("(kept)")}
    assert kept == {"load", "rows", "oracle", "build"}, "parity and latency are the new machine's own"
    found = there.document()
    assert found["target"]["is_target"] is True
    assert "NVIDIA A100-SXM4-40GB" in found["target"]["measured_on"]
    assert found["winner"]["id"] == "onnx-fp32"
    assert [line["preflight"] for line in found["candidates"]] == [None]


def test_without_the_toolchain_it_says_how_to_have_it(
    linear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path / "cache"))
    said = millwork("optimize", linear, *WORDS, "--target", "l4", "--json")
    assert said.code == 5
    assert "millwork toolchain install tensorrt-rtx" in said.err
    assert said.document()["candidates"][0]["preflight"]["verdict"] == "unknown"
    assert "known to build" not in said.err


def test_a_tree_ensemble_is_told_as_none_of_tensorrts(rtx: Environment, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    model = xgb.XGBRegressor(n_estimators=3, max_depth=2, n_jobs=1).fit(rows, rows.sum(1))
    model.save_model(tmp_path / "trees.json")
    said = millwork("optimize", tmp_path / "trees.json", *WORDS, "--target", "a100", "--run-dir", tmp_path / "run")
    assert said.code == 5
    assert "onnx-fp32: not for TensorRT: TreeEnsembleRegressor (ai.onnx.ml)" in said.err
    record = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert record["candidates"][0]["preflight"]["operator"] == "TreeEnsembleRegressor"
    assert record["candidates"][0]["status"] == "passed", "it is right, and runs on a CPU"
