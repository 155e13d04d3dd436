"""Arrays that a step or a repository left are looked at before they are read, and a step's memory is limited."""

from __future__ import annotations

import contextlib
import os
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millwork import worker
from millwork.artifacts import bundle_rehearsal
from millwork.artifacts.bundle_rehearsal import golden_rows
from millwork.cli import app
from millwork.commands import predict as predict_command
from millwork.commands.options import PredictOptions
from millwork.errors import MillworkError, ModelError, TargetError
from millwork.executors import LocalExecutor
from millwork.tuning import service_times
from millwork.tuning.service_times import ProfileRequest
from millwork.validators import gate_steps, latency
from millwork.values import Manifest
from millwork.worker import Done, Limits

GIB = 1 << 30


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


# ── arrays ────────────────────────────────────────────────────────────────────────────────────────────────


def bomb(path: Path, mib: int) -> None:
    """A few kilobytes that are so many MiB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member,
            {"descr": "<f4", "fortran_order": False, "shape": (mib << 18, 1)},  # type: ignore[arg-type]
        )
        for _ in range(mib):
            member.write(bytes(1 << 20))


def pickled(path: Path) -> None:
    np.savez(path, x=np.array([{}], dtype=object))


def hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 64 * GIB)


def long_header(path: Path) -> None:
    """An array's header of 3 GiB, of which numpy reads all before it refuses it."""
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + (3 * GIB).to_bytes(4, "little"))
        file.truncate(4 * GIB)


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


HARMFUL: list[Callable[[Path], object]] = [
    lambda path: bomb(path, 40), pickled, hole, long_header, lambda path: path.write_bytes(b"\x80\x04."),
    one_array, Path.mkdir, lambda _: None,
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMFUL)
def test_samples_that_a_step_left_harmful_are_refused_before_they_are_read(
    own: Path, harm: Callable[[Path], object]
) -> None:
    path = own / gate_steps.SAMPLES_FILE
    harm(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"samples\.npz"):
        gate_steps.read_samples(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


TIMES = np.full((latency.SAMPLES // latency.BLOCK, latency.BLOCK), 3.0)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a@b": TIMES},
        {"a": TIMES},
        {"a@1": TIMES.astype(np.float32)},
        {"a@1": TIMES[:, :3]},
        {"a@1": TIMES[:0]},
        {"a@1": np.concatenate([TIMES, TIMES])},
        {"a@1": TIMES * 0},
        {"a@1": TIMES * np.nan},
        {"a@1": TIMES * np.inf},
        {"a@1": TIMES * -1},
        {"a@" + "9" * 5000: TIMES},
        {"a@\u0661": TIMES},
    ],
)
def test_samples_are_times(own: Path, arrays: dict[str, Any]) -> None:
    np.savez(own / "samples.npz", **arrays)
    with pytest.raises(ModelError, match="isn't an array of times"):
        gate_steps.read_samples(own / "samples.npz")


@pytest.mark.parametrize("harm", HARMFUL)
def test_golden_rows_of_any_repository_are_refused_before_they_are_read(
    own: Path, harm: Callable[[Path], object], manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_rehearsal, "LARGEST_GOLDEN", 16 << 20)
    harm(own / "golden.npz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"golden\.npz"):
        golden_rows(own, manifest)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


ROWS = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": ROWS},
        {"y": ROWS},
        {"x": ROWS, "y": ROWS[:2]},
        {"x": ROWS[0], "y": ROWS[0]},
        {"x": ROWS.astype(np.float64), "y": ROWS},
        {"x": ROWS, "y": ROWS, "c": ROWS},
        {"x": ROWS, "y": ROWS, "c": np.array([["a"]])},
    ],
)
def test_golden_rows_are_rows_and_answers(own: Path, arrays: dict[str, Any], manifest: Manifest) -> None:
    np.savez(own / "golden.npz", **arrays)
    with pytest.raises(ModelError, match=r"golden\.npz: expected golden rows"):
        golden_rows(own, manifest)


@pytest.mark.parametrize("categories", [None, np.array([["a"], ["b"], ["c"]]), np.array([[1], [2], [3]])])
def test_golden_rows_that_are_some_are_read(own: Path, categories: Any, manifest: Manifest) -> None:
    more = {} if categories is None else {"c": categories}
    np.savez(own / "golden.npz", x=ROWS, y=ROWS, **more)
    given, answers = golden_rows(own, manifest)
    assert given.numbers.shape == answers.shape == (3, 2)
    assert (given.categories is None) == (categories is None)


# ── predicted ─────────────────────────────────────────────────────────────────────────────────────────────


def asked(answers: Path, *, trust: bool = False) -> PredictOptions:
    return PredictOptions(
        repository="m", name="m", version=1, rows=str(answers.with_name("rows.npy")), answers=str(answers), trust=trust
    )


@pytest.fixture
def predicting(tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``predict`` of a version whose step leaves a file of ours and replies with 3 rows of 2 outputs."""

    class Somewhere:
        def find(self, name: str, number: int | None) -> int:
            return 1

        def files(self, name: str, number: int, scratch: Path) -> Path:
            return tmp_path / "1"

    np.save(tmp_path / "rows.npy", ROWS)

    def predict(leave: Callable[[Path], object]) -> str:
        def run(*_: object, folder: Path, **__: object) -> Done[predict_command.PredictReply]:
            leave(folder / predict_command.ANSWERS_FILE)
            return Done(value=predict_command.PredictReply(rows=3, outputs=2, notes=()), seconds=1.0, peak_bytes=1)

        monkeypatch.setattr(predict_command.worker, "run", run)
        return predict_command.predict(asked(tmp_path / "answers.npy"))

    monkeypatch.setattr(predict_command.repository, "at", lambda _url: Somewhere())
    monkeypatch.setattr(predict_command.manifests, "read_intact", lambda _folder: manifest)
    return predict


def with_a_tail(path: Path) -> None:
    np.save(path, ROWS)
    os.truncate(path, 8 * GIB)


@pytest.mark.parametrize(
    "leave", [hole, with_a_tail, long_header, lambda _: None, Path.mkdir, lambda path: np.save(path, ROWS[:2])]
)
def test_predictions_that_are_not_as_told_are_refused(
    tmp_path: Path, predicting: Callable[..., str], leave: Callable[[Path], object]
) -> None:
    with pytest.raises(ModelError, match="Version 1 of m, asked to predict, left other answers than it said"):
        predicting(leave)
    assert not (tmp_path / "answers.npy").exists()


def test_predictions_as_told_are_taken(tmp_path: Path, predicting: Callable[..., str]) -> None:
    assert predicting(lambda path: np.save(path, ROWS)).startswith("3 rows, 2 outputs")
    np.testing.assert_array_equal(np.load(tmp_path / "answers.npy"), ROWS)


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_step_that_reads_a_model_has_a_limit_of_memory(
    tmp_path: Path, predicting: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Limits] = []

    def supervise(*_: object, limits: Limits, **__: object) -> None:
        seen.append(limits)
        raise TargetError("enough")

    run = worker.run
    with contextlib.suppress(MillworkError):
        predicting(lambda _: None)
    monkeypatch.setattr(predict_command.worker, "run", run)
    monkeypatch.setattr(worker, "supervise", supervise)
    with pytest.raises(TargetError, match="enough"):
        predict_command.predict(asked(tmp_path / "answers.npy", trust=True))
    (tmp_path / "model.ubj").touch()
    (tmp_path / "own").mkdir()
    assert app.run(app.millwork, ["inspect", str(tmp_path / "model.ubj"), "--trust"]) == 5
    request = ProfileRequest(files=(), rows="", batches=(1,), threads=(1,))
    with pytest.raises(TargetError, match="enough"):
        service_times.measured(LocalExecutor(), request, tmp_path / "own", gpu=False, confined=False)
    assert len(seen) == 3
    assert {limits.memory_bytes for limits in seen} == {worker.MOST_MEMORY}
