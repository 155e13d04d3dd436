"""Trees as tensors on a GPU that is made up: the graphs that would run there, and how they'd be judged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from models.forests import hard_rows, program_of, random_forest, source_of

from millwork import gpus, triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.tensor import gpu as tensor_gpu
from millwork.compile.backends.tensor.gpu import TensorRtTrees
from millwork.compile.backends.tensor.trees import TensorTrees
from millwork.compile.backends.tensorrt import candidate
from millwork.compile.runners.onnx_runner import ProviderError
from millwork.gpus import Gpu
from millwork.passes.forest import leaves
from millwork.passes.program import Program, encode
from millwork.triton.config_settings import carried
from millwork.triton.settings import Settings
from millwork.validators import parity

L4 = Gpu(name="NVIDIA L4", driver="580.95.05", compute_capability="8.9", memory_gib=24.0)
RELEASE = triton_releases.find("25.12")
SOURCE = source_of()


@pytest.fixture
def l4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=(L4,)))


@pytest.fixture
def program() -> Program:
    return program_of(random_forest(5, trees=7, depth=5, outputs=1, comparison="<", categorical=1))


def judged(backend: Any, made: Artifact, folder: Path, program: Program) -> None:
    """Leaf by leaf, and by its constants."""
    rows = hard_rows(5, 3000, program.n_columns, 1)
    leaf = leaves(program.forest, encode(program, rows))
    np.testing.assert_array_equal(backend.leaves(made, folder, rows), backend.expected(program, leaf, leaf))
    table = backend.node_table(made, folder, program)
    assert table is not None
    assert parity.different(*table) == 0


@pytest.mark.parametrize("name", ["onnx-cuda", "onnx-tensorrt", "tensorrt"])
@pytest.mark.parametrize("precision", backends.EXACT)
def test_without_a_gpu_they_say_so(
    name: str, precision: str, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=()))
    backend = backends.find(name, precision)
    assert (backend.name, backend.precision, backends.row(name).gpu) == (name, precision, True)
    made = backend.build(program, SOURCE, tmp_path, RELEASE)
    assert isinstance(made, Unsupported)
    assert made.reason.startswith(f"{name}: this machine has no NVIDIA GPU")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "providers"),
    [
        ("onnx-cuda", "CUDAExecutionProvider"),
        ("onnx-tensorrt", "TensorrtExecutionProvider,CUDAExecutionProvider"),
    ],
)
def test_a_provider_that_is_not_there_is_never_the_cpus(
    name: str, providers: str, program: Program, tmp_path: Path, l4: None
) -> None:
    backend = backends.find(name, "int32")
    made = backend.build(program, SOURCE, tmp_path, RELEASE)
    assert isinstance(made, Artifact)
    assert (made.id, made.parameters, made.requirements) == (
        f"{name}-int32",
        {"providers": providers},
        ("onnxruntime-gpu",),
    )
    if set(providers.split(",")) <= set(onnxruntime.get_available_providers()):
        pytest.skip("this onnxruntime has the provider")
    with pytest.raises(ProviderError, match="has no "):
        backend.leaves(made, tmp_path, np.zeros((1, program.n_columns), np.float32))


@pytest.mark.parametrize("precision", backends.EXACT)
def test_leaves_are_asked_of_the_provider(precision: str, program: Program, tmp_path: Path, l4: None) -> None:
    backend = TensorTrees(precision, "onnx-cuda", providers="CPUExecutionProvider")
    made = backend.build(program, SOURCE, tmp_path, RELEASE)
    assert isinstance(made, Artifact)
    judged(backend, made, tmp_path, program)


def test_an_engine_has_a_twin_that_says_leaves(
    program: Program, tmp_path: Path, l4: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT is made up: its engine is the graph itself, which ONNX Runtime runs."""
    profiles: list[Sequence[Any]] = []

    def build(graph: Path, precision: str, ranges: Sequence[Any], folder: Path) -> Artifact:
        profiles.append(ranges)
        shutil.copy(graph, folder / candidate.PLAN_FILE)
        return Artifact(
            backend="tensorrt",
            precision=precision,
            model_file=candidate.PLAN_FILE,
            runner=candidate.RUNNER,
            triton_backend="tensorrt",
            parameters={},
            requirements=(),
        )

    class Runner:
        def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
            self.session = onnxruntime.InferenceSession(model_file.read_bytes(), providers=["CPUExecutionProvider"])
            self.output = parameters["output"]

        def predict(self, rows: Any) -> Any:
            return self.session.run([self.output], {"input__0": rows})[0]

    monkeypatch.setattr(candidate, "build", build)
    monkeypatch.setattr(tensor_gpu, "_runner", lambda: Runner)
    backend = TensorRtTrees("fp16").tuned_for((1, 64))
    made = backend.build(program, SOURCE, tmp_path, RELEASE)
    assert isinstance(made, Artifact)
    assert made.id == "tensorrt-fp16"
    assert profiles[0] == profiles[1]
    assert {tuned for _, tuned, _ in profiles[0]} >= {1, 64}
    served = onnx.load_model(str(tmp_path / made.model_file))
    assert [one.name for one in served.graph.output] == ["output__0"]
    judged(backend, made, tmp_path, program)
    assert made.files == (), "the engine that says leaves isn't served"


def test_a_category_of_text_is_none_of_tensorrts(tmp_path: Path, l4: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Artifact(
        backend="tensorrt",
        precision="fp32",
        model_file="model.onnx",
        runner="",
        triton_backend="",
        parameters={},
        requirements=(),
        foreign=("LabelEncoder",),
    )
    monkeypatch.setattr(TensorTrees, "build", lambda *_: plain)
    made = TensorRtTrees().build(program_of(random_forest(1, trees=1, depth=1)), SOURCE, tmp_path, RELEASE)
    assert isinstance(made, Unsupported)
    assert made.reason == "tensorrt: TensorRT has no LabelEncoder, which encode categories"


def test_tritons_onnxruntime_is_told_who_runs_the_graph() -> None:
    gpu = Settings(kind="gpu")
    parameters = {"providers": "TensorrtExecutionProvider,CUDAExecutionProvider"}
    told = carried(gpu, "onnxruntime", parameters, RELEASE)
    assert told.own == {"gpu_execution_accelerator": "tensorrt"}
    tuned = Settings(kind="gpu", own={"gpu_execution_accelerator": "cuda"})
    assert carried(tuned, "onnxruntime", parameters, RELEASE) == tuned
    assert carried(gpu, "onnxruntime", {"providers": "CUDAExecutionProvider"}, RELEASE) == gpu
    assert carried(Settings(), "onnxruntime", parameters, RELEASE) == Settings()
