"""Random models are served as the trained object answers, on rows that training never saw. ``make fuzz-models`` has 300
of other seeds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
SEEDS = range(30)

FAILED: tuple[tuple[str, int], ...] = (("catboost", 20043), ("catboost", 20238))
"""Seeds that once were answered otherwise, or refused: (kind, seed)."""


def _campaign() -> ModuleType:
    spec = importlib.util.spec_from_file_location("random_models_campaign", HERE / "campaign.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


campaign = _campaign()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_model_is_served_as_it_was_trained(seed: int, tmp_path: Path) -> None:
    found = campaign.run(seed, tmp_path)
    assert not found.failed, f"{found.words}\n{found.why}"


@pytest.mark.parametrize(("kind", "seed"), FAILED)
def test_what_once_failed_is_served_as_it_was_trained(kind: str, seed: int, tmp_path: Path) -> None:
    found = campaign.run(seed, tmp_path, kind)
    assert not found.failed, f"{found.words}\n{found.why}"


def test_another_answer_than_the_frameworks_is_seen() -> None:
    import numpy as np

    case = campaign.RandomCase("", "", None, Path(), np.array([[0.25, 0.75], [0.5, 0.5]]), "")
    assert campaign.difference(case, np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)) == ""
    assert "1 of 2 rows" in campaign.difference(case, np.array([[0.25, 0.75], [0.51, 0.49]], np.float32))
    assert "1 of 2 rows" in campaign.difference(case, np.array([[0.25, 0.75], [np.nan, 0.5]], np.float32))
    assert "answers" in campaign.difference(case, np.array([[0.25], [0.5]], np.float32))
