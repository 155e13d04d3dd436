"""benchmarks/gpu's part of the CUDA kernel, on a GPU that is emulated: leaves and answers first, then times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import once
from models import emulated
from models.emulated import Emulated
from models.forests import hard_rows, program_of, random_forest

from millwork.compile.backends.native import cuda_file
from millwork.passes.forest import leaves
from millwork.passes.program import run

GPU = Path(__file__).parents[3] / "benchmarks" / "gpu"
OURS = ("cuda_runner", "cuda_device", "cuda_dlpack", "cuda_forest", "labels")
"""Loaded by their paths, as on a machine that has no package of ours."""
PROGRAM = program_of(random_forest(3, trees=12, depth=5), "binary")


@pytest.fixture
def asked(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What run.py would ask: one forest, two numbers of rows."""
    library = once(tmp_path_factory, "emulated-gpu", emulated.build) / "libemulated.so"
    monkeypatch.syspath_prepend(str(GPU))
    import engines
    import parts

    runner = engines.runner("cuda_runner")
    monkeypatch.setattr(runner.cuda_device, "Cuda", lambda *_: Emulated(library))
    monkeypatch.setattr(runner, "TRIED", (4, 130))
    cuda_file.write(PROGRAM, tmp_path / "forest.cuda")
    rows = hard_rows(4, 300, 5)
    expected = {"rows": rows, "answers": run(PROGRAM, rows), "leaf_rows": leaves(PROGRAM.forest, rows)}
    model = engines.Model(tmp_path, {"kind": "forest", "features": 5, "answer": "binary"}, expected)
    monkeypatch.setattr(parts, "_l2_bytes", lambda: 1 << 12)
    yield parts, parts.Asked([model], (3, 200), "cuda", tmp_path)
    for name in ("engines", "parts", "gpu_watch", "device_timing", *OURS):
        sys.modules.pop(name, None)


def test_right_answers_are_measured(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, given = asked
    monkeypatch.setattr(parts.timing.measure, "__kwdefaults__", {"samples": 8, "budget_s": 1})
    (line,) = parts.native_cuda(given)
    assert (line.state, line.parity["leaf_mismatches"], line.notes) == ("right", 0, "few to 130 rows"), line.why
    assert [(one["batch"], one["work"]) for one in line.figures] == [
        (3, "launches"),
        (3, "graph"),
        (200, "launches"),
        (200, "graph"),
    ]


def test_a_wrong_leaf_is_wrong_and_not_measured(asked: Any) -> None:
    parts, given = asked
    given.models[0].expected["leaf_rows"][7, 3] += 1
    (line,) = parts.native_cuda(given)
    assert (line.state, line.parity["leaf_mismatches"], line.figures) == ("wrong", 1, [])


def test_answers_that_are_off_are_wrong(asked: Any) -> None:
    parts, given = asked
    given.models[0].expected["answers"] = np.asarray(given.models[0].expected["answers"]) + 1e-4
    (line,) = parts.native_cuda(given)
    assert line.state == "wrong"
    assert line.parity["leaf_mismatches"] == 0
