"""``fil-cuda``: nvForest's own CPU engine through the gate where it is installed (make test-nvforest), and what is said
where there is no GPU. Its kernels have never run on one."""

from __future__ import annotations

import contextlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from google.protobuf import text_format
from models.forests import program_of, random_forest
from models.gate import Gate, gate
from models.xgboost_models import model, save
from tritonclient.grpc import model_config_pb2

from millwork import gpus, triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, ForBatches, Source, Unsupported
from millwork.compile.backends.fil import cuda as fil_cuda
from millwork.compile.backends.fil.cpu import write
from millwork.compile.backends.fil.cuda import FilCuda, near_thresholds
from millwork.compile.backends.forms import forms
from millwork.gpus import Gpu
from millwork.passes.forest import Rows, leaves
from millwork.triton import config_settings
from millwork.triton.config import ConfigRequest, render
from millwork.values import OutputContract

H100 = Gpu(name="NVIDIA H100 80GB HBM3", driver="580.95.05", compute_capability="9.0", memory_gib=79.6)

with_nvforest = pytest.mark.skipif(
    importlib.util.find_spec("nvforest") is None, reason="nvForest isn't installed: make test-nvforest (60 MB)"
)


def test_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "look", gpus.DetectedGpus)
    assert fil_cuda.no_gpu().startswith("this machine has no NVIDIA GPU")
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=(H100,)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "nvForest isn't installed" in fil_cuda.no_gpu()


def test_it_is_tried_on_a_gpu_or_where_it_is_named() -> None:
    usual = [one.backend for one in forms((), (), net=False)]
    assert "fil-cuda" not in usual
    assert "fil-cuda" in [one.backend for one in forms((), (), net=False, gpu=True)]
    assert [one.id for one in forms(("fil-cuda",), (), net=False)] == ["fil-cuda-fp32"]
    found = backends.find("fil-cuda")
    assert isinstance(found, ForBatches)
    assert found.tuned_for((1, 64)) == FilCuda(batches=(1, 64))


def test_the_rows_that_it_is_tuned_by_take_many_ways() -> None:
    program = program_of(random_forest(3, trees=8))
    rows = near_thresholds(program, 500)
    assert rows.shape == (500, program.n_encoded)
    reached = leaves(program.forest, rows)
    assert (np.array([len(np.unique(tree)) for tree in reached.T]) > 1).sum() >= 6, "trees of one leaf have one way"
    assert 0.03 < np.isnan(rows).mean() < 0.1


@pytest.mark.parametrize(("release", "carried"), [("25.12", True), ("24.10", False)])
def test_what_was_tuned_is_in_the_configuration(release: str, carried: bool) -> None:
    found = triton_releases.find(release)
    tuned = {"answer": "binary", "device": "gpu", "layout": "layered", "chunk_size": "8", "align_bytes": "128"}
    settings = config_settings.carried(config_settings.Settings(kind="gpu"), "fil", tuned, found)
    config = text_format.Parse(
        render(
            ConfigRequest(
                name="m",
                triton_backend="fil",
                release=found,
                model_file="checkpoint.tl",
                model_sha256="0" * 64,
                features=3,
                output=OutputContract(kind="probability", task="binary", labels=("0", "1")),
                settings=settings,
                parameters=tuned,
            )
        ),
        model_config_pb2.ModelConfig(),
    )
    assert config.instance_group[0].kind == config.instance_group[0].KIND_GPU
    said = {
        name: config.parameters[name].string_value for name in ("layout", "chunk_size") if name in config.parameters
    }
    assert said == ({"layout": "layered", "chunk_size": "8"} if carried else {})
    measured = config_settings.Settings(kind="gpu", own={"layout": "depth_first"})
    if carried:
        assert config_settings.carried(measured, "fil", tuned, found).own["layout"] == "depth_first"
    assert config_settings.carried(config_settings.Settings(), "fil", tuned, found).own == {}, "a CPU has its own"


def on_the_cpu(model_file: Path, rows: Rows, batches: tuple[int, ...]) -> dict[str, str]:
    from millwork.compile.runners.nvforest_runner import tuned

    return {"device": "cpu", **tuned(model_file, rows, batches, "cpu", seconds=0.0)}


def built(found: Gate, folder: Path) -> Artifact | Unsupported:
    folder.mkdir()
    backend = FilCuda(batches=(1, 33), lacking=lambda: "", tune=on_the_cpu)
    source = Source(native=str(found.native), signature=found.signature)
    with contextlib.chdir(folder):
        return backend.build(found.lowered, source, folder, triton_releases.find("25.12"))


@with_nvforest
@pytest.mark.filterwarnings("ignore::UserWarning")  # Treelite of a checkpoint that another release wrote
@pytest.mark.parametrize("name", ["binary", "multiclass", "squarederror", "poisson", "parallel-trees", "missing--999"])
def test_nvforest_gives_the_frameworks_leaves_and_answers(name: str, tmp_path: Path) -> None:
    found = gate(save(model(name), tmp_path / "model.json"), tmp_path / "gate")
    candidate = built(found, tmp_path / "built")
    if isinstance(candidate, Unsupported):
        assert name == "missing--999", candidate.reason
        assert candidate.reason == "fil-cuda: FIL can't compute this model's answer"
        return
    assert set(candidate.parameters) >= {"layout", "chunk_size", "align_bytes"}
    for layout in ("depth_first", "breadth_first", "layered"):
        one = msgspec.structs.replace(candidate, parameters={**candidate.parameters, "layout": layout})
        verdict = found.check(one, tmp_path / "built")
        assert verdict.passed, f"{layout}: {verdict.reason}"
        assert verdict.parity.leaf_mismatches == 0
        assert verdict.engine.startswith("nvForest ")


@with_nvforest
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_another_forests_leaves_are_told(tmp_path: Path) -> None:
    """The gate sees through nvForest what it is to see: a checkpoint of a threshold that was moved."""
    found = gate(save(model("binary"), tmp_path / "model.json"), tmp_path / "gate")
    candidate = built(found, tmp_path / "built")
    assert isinstance(candidate, Artifact)
    lowered = found.lowered
    moved = np.where(lowered.forest.is_leaf, lowered.forest.threshold, lowered.forest.threshold + 0.5)
    forest = replace(lowered.forest, threshold=moved.astype(lowered.forest.threshold.dtype))
    with (tmp_path / "built" / candidate.model_file).open("wb") as file:
        write(replace(lowered, forest=forest), triton_releases.find("25.12").treelite, file)
    verdict = found.check(candidate, tmp_path / "built")
    assert not verdict.passed
    assert verdict.parity.leaf_mismatches
