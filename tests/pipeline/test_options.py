"""Options, understood: what follows from several of them together."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from models import records
from models.forests import source_of

from millwork.artifacts import report
from millwork.errors import UsageError
from millwork.pipeline.options import Options
from millwork.pipeline.plan import understand
from millwork.progress import Silent
from millwork.storage import files
from millwork.storage.run_directory import RunDirectory
from millwork.validators import gate_steps
from millwork.values import OutputContract


def test_a_dry_run_for_a_repository_does_all_but_publish(tmp_path: Path) -> None:
    for dry_run in (False, True):
        plan, _ = understand(Options(model="m.json", repository=str(tmp_path), dry_run=dry_run))
        assert plan.rehearsed
        assert (plan.repository is None) is dry_run
    plan, _ = understand(Options(model="m.json", dry_run=True))
    assert not plan.rehearsed
    (tmp_path / "config.pbtxt").touch()
    with pytest.raises(UsageError, match="this is a model's folder in a repository"):
        understand(Options(model="m.json", repository=str(tmp_path), dry_run=True))


@pytest.mark.parametrize(
    ("traffic", "said", "meant"),
    [
        ("batch=1 rate=5/s", "throughput", "latency"),
        ("batch=1 rate=5/s", None, "latency"),
        ("batch=1 rate=5/s", "cost", "cost"),
        ("batch=1 clients=2", "throughput", "throughput"),
        ("batch=1 clients=2", None, "throughput"),
    ],
)
def test_an_open_loops_throughput_is_given(traffic: str, said: str | None, meant: str) -> None:
    plan, _ = understand(Options(model="m.json", traffic=traffic, objective=said))
    assert plan.objective == meant


def test_a_label_that_no_metric_uses_is_told() -> None:
    ranking = OutputContract(kind="value", task="ranking", labels=("value",))
    signature = msgspec.structs.replace(source_of().signature, output=ranking)
    request = gate_steps.RowsRequest(lowered="", signature=signature, label="y")
    (note,) = gate_steps._require_labels(request, np.zeros(3))
    assert "--label y isn't used" in note
    plain = OutputContract(kind="value", task="regression", labels=("value",))
    used = msgspec.structs.replace(request, signature=msgspec.structs.replace(signature, output=plain))
    assert gate_steps._require_labels(used, np.zeros(3)) == ()


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_report_that_cannot_be_written_takes_no_publication_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "atomic_write", full)
    told = Told()
    with RunDirectory(tmp_path / "run") as directory:
        report.keep(records.PUBLISHED, directory, told)
        assert any("is published, but the report can't be written" in note for note in told.notes)
        with pytest.raises(UsageError, match="the report can't be written"):
            report.keep(msgspec.structs.replace(records.PUBLISHED, publication=None), directory, told)
