"""A step that somebody kills, twice: the machine's fault, whichever step it was, and no word of the model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from millwork.errors import MachineError, ParityError
from millwork.pipeline import optimize, stages
from millwork.pipeline.run import CheckedCandidate
from millwork.pipeline.step import StepError
from millwork.progress import Silent
from millwork.values import CandidateRecord
from millwork.worker import Failure

KILLED = Failure(kind="killed", message="was killed from outside (SIGKILL)", log="/gone/measure.log")


def candidate(name: str, status: Any, died: str = "") -> CheckedCandidate:
    record = CandidateRecord(id=name, backend=name, precision="fp32", status=status, reason="as it says")
    return CheckedCandidate(record, cast(Any, SimpleNamespace(id=name)), died=died)


def test_measuring_that_is_killed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise StepError(KILLED)

    monkeypatch.setattr(stages, "measure", killed)
    run = SimpleNamespace(plan=SimpleNamespace(traffic=SimpleNamespace(batches=(1,)), threads=1), progress=Silent())
    with pytest.raises(MachineError, match="Measuring was killed from outside") as caught:
        optimize._choose(cast(Any, run), cast(Any, None), [candidate("onnx", "passed")])
    assert caught.value.exit_code == 5
    assert "/gone" not in caught.value.hint


def test_candidates_that_were_killed_are_no_failed_comparison() -> None:
    with pytest.raises(MachineError, match="no candidate could be built and checked here"):
        optimize._require_some([candidate("onnx", "error", "killed"), candidate("native", "error", "out-of-memory")])
    with pytest.raises(ParityError):
        optimize._require_some([candidate("onnx", "failed"), candidate("native", "error", "killed")])
    with pytest.raises(ParityError):
        optimize._require_some([candidate("onnx", "error", "segfault")])
