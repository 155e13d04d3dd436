"""model.py of the python backend when it is loaded: it answers the version's golden rows first."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from millwork.artifacts import package_code
from millwork.storage import texts


class Runner:
    """It keeps what it was asked."""

    asked: list[Any] = []  # noqa: RUF012 (emptied by each test)

    def __init__(self, *_: Any) -> None:
        self.asked.clear()

    def predict(self, numbers: Any, categories: Any) -> Any:
        self.asked.append((numbers.copy(), categories.copy()))
        return categories[:, 0]


@pytest.mark.parametrize(
    "words", [["a", "b\0"], ["Tromsø", ""], ["x" * 50, "\0"]], ids=["a NUL at the end", "text", "NUL alone"]
)
def test_golden_rows_of_text_are_asked_as_triton_sends_them(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1").mkdir()
    categories = texts.packed(texts.column(words)[:, None])
    np.savez(tmp_path / "1" / "golden.npz", x=np.zeros((2, 1), np.float32), c=categories, y=np.zeros((2, 1)))
    manifest = {
        "parameters": {"threads": "1"},
        "features": {"names": ["size"], "category_names": ["place"]},
        "model_file": "forest.packed",
        "golden_file": "golden.npz",
    }
    (tmp_path / "1" / "manifest.json").write_text(json.dumps(manifest))
    own = ModuleType("millwork_runner")
    own.__dict__["Runner"] = Runner
    monkeypatch.setitem(sys.modules, own.__name__, own)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    spec = importlib.util.spec_from_file_location("served_model_with_text", package_code.MODEL_PY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.TritonPythonModel().initialize(
        {"model_repository": str(tmp_path), "model_version": "1", "model_config": "{}", "model_instance_kind": "CPU"}
    )
    one, both = (found.tolist() for _, found in Runner.asked)
    assert one == [[words[0].encode()]]
    assert both == [[word.encode()] for word in words]
