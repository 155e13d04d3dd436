"""Very deep, very wide, very many outputs: lowered and judged within bounds, or refused by the limit's name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from models.forests import one_sided, program_of, source_of

from millwork import triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.onnx.trees import DEEPEST
from millwork.pipeline import stages
from millwork.validators.rows import adversarial


def test_a_tree_too_deep_for_onnxruntime_is_refused_with_the_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for depth, fits in ((DEEPEST, True), (DEEPEST + 1, False)):
        program = program_of(one_sided(depth, rng))
        made = backends.find("onnx").build(program, source_of(), tmp_path, triton_releases.newest())
        assert isinstance(made, Artifact if fits else Unsupported)
        assert fits or f"{DEEPEST + 1:,} tests deep" in made.reason


def test_the_rows_for_a_long_chain_are_fewer_and_still_try_its_tests(monkeypatch) -> None:
    program = program_of(one_sided(200, np.random.default_rng(0)))
    whole = adversarial.adversarial(program, limit=2000)
    monkeypatch.setattr(adversarial, "PATH_STEPS", 200 * 20)
    few = adversarial.adversarial(program, limit=2000)
    assert (whole.tests_covered, few.tests_covered) == (200, 20)


def test_rows_are_bounded_by_features_trees_and_outputs() -> None:
    def limits(features: int, trees: int, outputs: int) -> int:
        output = SimpleNamespace(labels=("",) * outputs, classes=())
        signature = SimpleNamespace(features=SimpleNamespace(all_names=("",) * features), output=output)
        model = SimpleNamespace(signature=signature, lowered=SimpleNamespace(trees=trees))
        return sum(stages._row_limits(cast(Any, model)))

    usual = limits(10, 100, 2)
    assert usual > 100_000
    for wide in ((1 << 20, 1, 1), (1, 1 << 20, 1), (1, 1, 1 << 20)):
        assert 0 < limits(*wide) * (1 << 20) <= stages.CELLS
    assert limits(10, 60_000, 60_000) == 1000
    assert limits(10, 20_000, 2) == 3000
