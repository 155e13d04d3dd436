"""ONNX Runtime's providers: what was asked for runs, or it is an error. This machine has the CPU's alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from models import graphs

from millwork.compile.runners import onnx_runner
from millwork.compile.runners.onnx_runner import ProviderError, Runner, require_taken

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


def test_without_a_word_it_is_the_cpu(tmp_path: Path) -> None:
    runner = Runner(graphs.mlp(tmp_path / "net.onnx"), {}, 1)
    assert runner.session.get_providers() == [CPU]
    assert runner.predict(np.zeros((3, graphs.FEATURES))).shape == (3, 1)


@pytest.mark.parametrize("providers", [CUDA, f"{TENSORRT},{CUDA}"])
def test_a_provider_that_is_not_there_is_refused(providers: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match=rf"has no {providers.replace(',', ', ')}; it has .*{CPU}"):
        Runner(graphs.mlp(tmp_path / "net.onnx"), {"providers": providers}, 1)


def test_a_silent_fallback_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where onnxruntime-gpu is installed and no driver is: the session comes up, on the CPU, with a warning."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    session = onnxruntime.InferenceSession

    def falls_back(path: str, options: object, providers: list[str]) -> object:
        assert providers == [CUDA]
        return session(path, options, providers=[CPU])

    monkeypatch.setattr(onnx_runner.onnxruntime, "InferenceSession", falls_back)
    with pytest.raises(ProviderError, match=f"must run by {CUDA}, but it runs by {CPU}"):
        Runner(graphs.mlp(tmp_path / "net.onnx"), {"providers": CUDA}, 1)


def test_in_the_order_asked_and_the_cpu_may_follow() -> None:
    require_taken([CUDA], [CUDA, CPU])
    with pytest.raises(ProviderError):
        require_taken([TENSORRT, CUDA], [CUDA, CPU])
