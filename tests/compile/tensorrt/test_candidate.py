"""An engine as a candidate: why there is none here, and what one says of itself where there is a GPU (made up)."""

from __future__ import annotations

import importlib
import importlib.util
import types
from pathlib import Path

import pytest
from models import graphs

from millwork import gpus
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.tensorrt import candidate, engine
from millwork.gpus import Gpu

L4 = Gpu(name="NVIDIA L4", driver="580.95.05", compute_capability="8.9", memory_gib=24.0)
PROFILES = ((1, 1, 1), (2, 64, 64), (65, 4096, 4096))


def see(monkeypatch: pytest.MonkeyPatch, *found: Gpu) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=found))


def test_without_a_gpu_or_tensorrt_it_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = graphs.mlp(tmp_path / "net.onnx")
    see(monkeypatch)
    found = candidate.build(onnx, "fp32", PROFILES, tmp_path)
    assert isinstance(found, Unsupported)
    assert "this machine has no NVIDIA GPU" in found.reason
    see(monkeypatch, L4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    found = candidate.build(onnx, "fp32", PROFILES, tmp_path)
    assert isinstance(found, Unsupported)
    assert "TensorRT isn't installed" in found.reason


def test_where_both_are_it_knows_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timings of one build are given to the next."""
    onnx = graphs.mlp(tmp_path / "net.onnx")
    asked: list[engine.Settings] = []

    def build(_: object, path: Path, settings: engine.Settings) -> engine.EnginePlan | engine.Refused:
        assert path == onnx
        asked.append(settings)
        if settings.hardware == "AMPERE_PLUS":
            return engine.Refused("build", (engine.Problem("no", "first", "Gemm"),))
        return engine.EnginePlan(plan=b"plan", seconds=1.0, layers=3, timing_cache=b"timings")

    see(monkeypatch, L4)
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(importlib, "import_module", lambda _: types.SimpleNamespace(__version__="11.4.0.106"))
    monkeypatch.setattr(engine, "build", build)
    for _ in range(2):
        found = candidate.build(onnx, "fp16", PROFILES, tmp_path)
    assert isinstance(found, Artifact)
    assert [settings.timing_cache for settings in asked] == [b"", b"timings"]
    assert (tmp_path / found.model_file).read_bytes() == b"plan"
    assert (found.id, found.triton_backend, found.parameters) == ("tensorrt-fp16", "tensorrt", {"graphs": "1,64"})
    assert found.plan is not None
    assert (found.plan.gpu, found.plan.build, found.plan.profiles) == ("NVIDIA L4", "11.4.0.106", PROFILES)
    refused = candidate.build(onnx, "fp16", PROFILES, tmp_path, hardware="AMPERE_PLUS")
    assert isinstance(refused, Unsupported)
    assert refused.reason == "tensorrt: Gemm 'first': no"


def test_what_the_inspector_says_is_read() -> None:
    text = """{"Layers": ["plain", {"Name": "first", "LayerType": "gemm", "TacticName": "sm80_xmma",
               "Outputs": [{"Name": "h", "Format/Datatype": "Half"}]}, {"Name": "last", "Outputs": []}]}"""
    assert engine.layers_of(text) == (
        engine.Layer("plain", ""),
        engine.Layer("first", "gemm", "sm80_xmma", "Half"),
        engine.Layer("last", ""),
    )
