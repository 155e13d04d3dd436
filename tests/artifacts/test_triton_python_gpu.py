"""model.py of the python backend with rows on a GPU: one that is emulated, with Triton's tensors as numpy arrays."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import once
from models import emulated
from models.emulated import Emulated
from models.forests import hard_rows, program_of, random_forest

from millwork.artifacts import package_code
from millwork.compile.backends.native import cuda, cuda_file
from millwork.compile.runners import cuda_runner
from millwork.passes.program import run
from millwork.triton import config as triton_config
from millwork.triton.config import ConfigRequest, render
from millwork.triton_releases import find
from millwork.values import OutputContract

PROGRAM = program_of(random_forest(3, trees=20, depth=5), "binary")


@dataclass
class Tensor:
    """As ``pb_utils.Tensor``; ``there``: on the GPU, where it can't be had as an array."""

    name: str
    array: Any
    there: bool = False

    def is_cpu(self) -> bool:
        return not self.there

    def as_numpy(self) -> Any:
        assert not self.there, "a tensor on a GPU has no array"
        return self.array

    def __dlpack__(self, **given: Any) -> Any:
        return self.array.__dlpack__(**given)

    @staticmethod
    def from_dlpack(name: str, given: Any) -> Tensor:
        return Tensor(name, np.from_dlpack(given), there=True)


@dataclass
class Response:
    output_tensors: Any = ()
    error: Any = None


@pytest.fixture
def model(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    library = once(tmp_path_factory, "emulated-gpu", emulated.build) / "libemulated.so"
    (tmp_path / "1").mkdir()
    built = cuda.built(PROGRAM, (), 256)
    cuda_file.write(PROGRAM, tmp_path / "1" / built.model_file)
    manifest = {
        "parameters": {**built.parameters, "threads": "1"},
        "features": {"names": list("abcde")},
        "model_file": built.model_file,
    }
    (tmp_path / "1" / "manifest.json").write_text(json.dumps(manifest))
    asked: dict[str, str] = {}

    def opened(path: Path, parameters: dict[str, str], threads: int) -> Any:
        asked.update(parameters)
        return cuda_runner.Runner(path, parameters, threads, Emulated(library))

    triton, own = ModuleType("triton_python_backend_utils"), ModuleType("millwork_runner")
    triton.__dict__.update(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=str,
        get_input_tensor_by_name=lambda request, name: request.get(name),
    )
    own.__dict__["Runner"] = opened
    monkeypatch.setitem(sys.modules, triton.__name__, triton)
    monkeypatch.setitem(sys.modules, own.__name__, own)
    spec = importlib.util.spec_from_file_location("served_model", package_code.MODEL_PY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    served = module.TritonPythonModel()
    served.initialize(
        {
            "model_repository": str(tmp_path),
            "model_version": "1",
            "model_config": "{}",
            "model_instance_kind": "GPU",
            "model_instance_device_id": "3",
        }
    )
    assert asked["device"] == "3"
    return served


def asked(rows: Any, *, there: bool) -> dict[str, Tensor]:
    return {"input__0": Tensor("input__0", rows, there)}


def test_rows_stay_where_they_are(model: Any) -> None:
    """Three on the GPU and one that isn't, in the order that they came."""
    rows = hard_rows(4, 30, 5)
    parts = [rows[:3], rows[3:4], rows[4:20], rows[20:]]
    there = [True, False, True, True]
    replies = model.execute([asked(part, there=own) for part, own in zip(parts, there, strict=True)])
    answers = [reply.output_tensors[0] for reply in replies]
    assert [answer.there for answer in answers] == there
    got = np.concatenate([answer.array for answer in answers])
    np.testing.assert_allclose(got, run(PROGRAM, rows), rtol=1e-6)


def test_a_bad_batch_is_an_error_of_its_own(model: Any) -> None:
    good, bad = hard_rows(4, 3, 5), np.zeros((2, 4), np.float32)
    replies = model.execute([asked(good, there=False), asked(bad, there=True)])
    assert replies[0].error is None
    assert "rows of 4 numbers; the model takes 5" in replies[1].error
    assert model.execute([asked(good, there=True)])[0].error is None


def test_its_configuration_asks_for_the_gpu() -> None:
    built = cuda.built(PROGRAM, (), 256)
    text = render(
        ConfigRequest(
            name="delays",
            triton_backend="python",
            release=find("26.03"),
            model_file=built.model_file,
            model_sha256="5e" * 32,
            features=5,
            parameters=built.parameters,
            output=OutputContract(kind="probability", task="binary", labels=("0", "1"), threshold=0.5),
        )
    )
    config = triton_config.parse(text)
    assert config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"
    (group,) = config.instance_group
    assert group.kind == group.KIND_GPU
    assert triton_config.settings_of(text).kind == "gpu"
