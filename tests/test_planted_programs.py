"""A builder that gets one thing of a program wrong, through every backend's real writer: the gate lets none pass.

Each kind of fault once a backend; benchmarks/faults.py has 200 of each on four models.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from models import planted, planted_reference, xgboost_models
from models.gate import Gate, gate

from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Source
from millwork.passes.program import Program
from millwork.triton_releases import find

RELEASE = "25.12"
WRITERS = ("onnx", "fil", "native", "tensor")
NOT_HERE = {"category_set_altered", "base_score_lost"}
"""Kinds of which this model has none: its base scores are 0, and it takes no categories."""


@functools.cache
def judge(scratch: Path) -> Gate:
    model = xgboost_models.save(xgboost_models.model("multiclass"), scratch / "model.json")
    return gate(model, scratch / "gate", limit=1000)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


def written(gate: Gate, program: Program, backend: str, folder: Path) -> Artifact | None:
    folder.mkdir()
    with contextlib.chdir(folder):
        source = Source(str(gate.native), gate.signature)
        made = backends.find(backend).build(program, source, folder, find(RELEASE))
    return made if isinstance(made, Artifact) else None


@pytest.mark.parametrize("backend", WRITERS)
def test_what_is_written_of_the_right_program_passes(backend: str, scratch: Path, tmp_path: Path) -> None:
    gate = judge(scratch)
    built = written(gate, gate.lowered, backend, tmp_path / "whole")
    assert built is not None
    assert gate.check(built, tmp_path / "whole").passed


@pytest.mark.parametrize("fault", planted.FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_program_fails_in_every_backend(
    fault: Callable[[Program, np.random.Generator], Program | None], scratch: Path, tmp_path: Path
) -> None:
    gate = judge(scratch)
    changed = fault(gate.lowered, np.random.default_rng(1))
    assert (changed is None) == (fault.__name__ in NOT_HERE)
    if changed is None:
        return
    for backend in WRITERS:
        built = written(gate, changed, backend, tmp_path / backend)
        if built is not None:
            verdict = gate.check(built, tmp_path / backend)
            assert not verdict.passed, backend
            assert verdict.reason


@pytest.mark.parametrize("fault", planted_reference.NAMES)
def test_the_frameworks_own_file_must_be_the_models(fault: str, scratch: Path, tmp_path: Path) -> None:
    """Also where no row tells: a leaf that is off by one float, a base score that softmax cancels."""
    gate = judge(scratch)
    built = gate.build("reference", tmp_path / "own").artifact
    assert built is not None
    planted_reference.plant(tmp_path / "own" / built.model_file, fault, np.random.default_rng(0))
    verdict = gate.check(built, tmp_path / "own")
    assert not verdict.passed
    assert verdict.reason
