"""benchmarks/trees.py on forests of a dozen trees: its checks, its document and its page. No time is asserted."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from millwork.compile import kernel

ROOT = Path(__file__).parent.parent
OURS = {"millwork", "millwork-library", "millwork-portable"}


@pytest.fixture(scope="module")
def trees() -> ModuleType:
    path = ROOT / "benchmarks" / "trees.py"
    spec = importlib.util.spec_from_file_location("trees", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trees"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document(trees: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if kernel.library() is None or shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("trees")
    asked = trees.arguments(
        [
            "--forests",
            "xgboost 12x3x5 NaN,catboost 12x3x5",
            "--engines",
            "xgboost,onnxruntime",
            "--isa",
            "portable",
            "--batch",
            "1,64",
            "--seconds",
            "0.05",
            "--models",
            str(folder),
        ]
    )
    return trees.run(asked, folder)


def test_every_engine_is_timed_on_every_forest_and_batch(document: Any) -> None:
    assert [(cell["forest"], cell["batch"]) for cell in document["cells"]] == [
        (forest, batch) for forest in ("xgboost 12x3x5 NaN", "catboost 12x3x5") for batch in (1, 64)
    ]
    for cell in document["cells"]:
        framework = cell["forest"].split()[0]
        assert set(cell["us"]) == {framework, "onnxruntime", *OURS}
        assert set(cell["python"]) == set(cell["us"]) - {"millwork"}
        assert all(low <= high for _, low, high in cell["us"].values())
    assert not any(entry["without"] for entry in document["forests"])


def test_the_page_keeps_what_stands_around_the_section(trees: ModuleType, document: Any) -> None:
    page = "before\n<!-- trees: written by benchmarks/trees.py -->\nold\n<!-- end of trees -->\nafter\n"
    written = trees.report.into_page(page, document)
    assert written.startswith("before\n")
    assert written.endswith("\nafter\n")
    assert "old" not in written
    assert "| catboost 12x3x5 | 180 |" in written
    assert trees.report.into_page(written, document) == written


class Said:
    """An engine that answers what it was told to."""

    def __init__(self, name: str, answer: float) -> None:
        self.name, self.answer = name, answer

    def answers(self, n: int, _file: Path) -> Any:
        return np.linspace(0, self.answer, n).astype(np.float32).astype(np.float64)

    margins = answers


def checked(trees: ModuleType, ours: float, library: float, peer: float) -> tuple[set[str], dict[str, Any]]:
    """The engines that are left, and what is noted of them, where the framework answers up to 1."""
    shape = trees.Shape("xgboost", 1, 1, 1)
    forest = trees.Forest(shape=shape, file=Path(), classifier=False, facts={})
    engines = [Said("xgboost", 1), Said("millwork", ours), Said("millwork-library", library), Said("onedal", peer)]
    entry: dict[str, Any] = {"name": shape.name, "farthest": {}, "without": {}}
    trees.check(forest, engines, entry, Path())
    return {engine.name for engine in engines}, entry


def test_a_peer_that_is_off_is_left_out_and_rounding_isnt_off(trees: ModuleType) -> None:
    left, entry = checked(trees, 1, 1, 1 + 1e-6)
    assert "onedal" in left
    left, entry = checked(trees, 1, 1, 1.001)
    assert left == {"xgboost", "millwork", "millwork-library"}
    assert "off by up to 0.001" in entry["without"]["onedal"]


@pytest.mark.parametrize(("ours", "library"), [(1 + 1e-6, 1 + 1e-6), (1, 1 + 1e-6)])
def test_ours_may_not_be_off_by_a_bit(trees: ModuleType, ours: float, library: float) -> None:
    with pytest.raises(trees.ParityError):
        checked(trees, ours, library, 1)
