"""The CUDA runner on a GPU that is emulated lane by lane: which plan it takes, graphs, memory that grows, DLPack; and
the candidate that is built of it."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from conftest import once
from models import emulated
from models.emulated import Emulated
from models.forests import hard_rows, program_of, random_forest
from models.gate import gate

from millwork import gpus
from millwork.compile.backends.base import Artifact, Unsupported
from millwork.compile.backends.native import cuda as native_cuda
from millwork.compile.backends.native import cuda_file
from millwork.compile.runners import cuda_device, cuda_dlpack, cuda_runner, load
from millwork.compile.runners.cuda_runner import FEW, Runner
from millwork.passes.forest import leaves
from millwork.passes.program import Decision, decide, run


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "emulated-gpu", emulated.build) / "libemulated.so"


PROGRAM = program_of(random_forest(3, trees=40, depth=6, features=5, outputs=3), "softmax")


@pytest.fixture
def runner(library: Path, tmp_path: Path) -> Runner:
    cuda_file.write(PROGRAM, tmp_path / "forest.cuda")
    return Runner(tmp_path / "forest.cuda", {}, 1, Emulated(library))


def test_the_plan_is_chosen_by_the_number_of_rows(runner: Runner) -> None:
    def kinds(n: int) -> list[str]:
        return [one.kernel for one in runner.launches(n)]

    assert kinds(1) == kinds(FEW) == ["mw_few_u8_f32"]
    assert kinds(FEW + 1) == ["mw_rank_u8", "mw_rows_u8_f32", "mw_finish_f32"]
    assert kinds(128 * 8 * runner.device.processors)[1] == "mw_tiles_u8_f32"
    assert [runner.launches(n)[0].few for n in (1, 2, 3, 4, 5, 8, 9)] == [0, 1, 2, 2, 3, 3, 3]


@pytest.mark.parametrize("processors", [1, 8, 132])
@pytest.mark.parametrize("shared", [49_152, 101_376, 232_448])
def test_every_plan_is_one_that_a_gpu_takes(processors: int, shared: int, library: Path, tmp_path: Path) -> None:
    cuda_file.write(PROGRAM, tmp_path / "forest.cuda")
    for plan in ("auto", "few", "rows", "tiles"):
        device = Emulated(library, processors=processors, shared_bytes=shared)
        own = Runner(tmp_path / "forest.cuda", {"plan": plan}, 1, device)
        for n in (1, 7, 128, 1024, 5000, 65_536, 1_048_576):
            for one in own.launches(n):
                assert 0 < one.x < 1 << 31
                assert 0 < one.y <= 65_535
                assert one.threads in range(32, 257, 32)
                assert one.shared <= shared


def test_calls_of_few_rows_are_replayed(runner: Runner) -> None:
    """A graph a number of rows; memory that grows for a larger call ends them, and they are made anew."""
    rows = hard_rows(4, 2000, 5)
    wanted = run(PROGRAM, rows)
    for n in (3, 1, 3, 1500, 3, 0, 1):
        np.testing.assert_allclose(runner.predict(rows[:n]), wanted[:n], rtol=1e-5, atol=1e-6)
        if 0 < n <= FEW:
            assert n in runner.graphs
    assert runner.copies_us is None
    runner.predict(rows)
    assert runner.copies_us == 2
    for n in range(1, 80):
        np.testing.assert_allclose(runner.predict(rows[n : 2 * n]), wanted[n : 2 * n], rtol=1e-5, atol=1e-6)
    assert len(runner.graphs) <= 64


def test_rows_of_a_wrong_width_are_refused(runner: Runner) -> None:
    with pytest.raises(ValueError, match=r"rows of shape \(2, 4\); the model takes \[N, 5\]"):
        runner.predict(np.zeros((2, 4), np.float32))


def test_arrays_come_and_go_by_dlpack(runner: Runner) -> None:
    rows = hard_rows(4, 90, 9)
    wanted = run(PROGRAM, np.ascontiguousarray(rows[:, 2:7]))
    (one,) = runner.predict_tensors([rows[:, 2:7]])
    many = runner.predict_tensors([rows[:40, 2:7], np.ascontiguousarray(rows[40:41, 2:7]), rows[41:, 2:7]])
    np.testing.assert_allclose(np.from_dlpack(one), wanted, rtol=1e-5, atol=1e-6)
    taken = [np.from_dlpack(part) for part in many]
    np.testing.assert_allclose(np.concatenate(taken), wanted, rtol=1e-5, atol=1e-6)
    memory = many[0].memory.address
    many.clear()
    gc.collect()
    assert memory in runner.device.memory, "an array that somebody took keeps its memory"
    taken.clear()
    gc.collect()
    assert memory not in runner.device.memory
    unused = one.__dlpack__()
    assert unused is not None
    del unused, one
    gc.collect()
    assert not cuda_dlpack._given
    with pytest.raises(ValueError, match="rows of 9 numbers; the model takes 5"):
        runner.predict_tensors([rows])
    with pytest.raises(cuda_dlpack.TensorError, match="float32"):
        runner.predict_tensors([rows.astype(np.float64)])
    runner.device.dl_device = (2, 0)
    with pytest.raises(cuda_dlpack.TensorError, match="on DLPack device 1:0; expected 2:0"):
        runner.predict_tensors([rows[:, 2:7]])


def test_labels_are_decided_as_anywhere(library: Path, tmp_path: Path) -> None:
    cuda_file.write(PROGRAM, tmp_path / "forest.cuda")
    own = Runner(tmp_path / "forest.cuda", {"decision": "largest", "cut": "0.5"}, 1, Emulated(library))
    rows = hard_rows(4, 30, 5)
    wanted = decide(Decision(how="largest"), run(PROGRAM, rows))
    np.testing.assert_array_equal(own.predict(rows), wanted)
    np.testing.assert_array_equal(np.concatenate(own.predict_tensors([rows[:9], rows[9:]])), wanted)


# ── the candidate ─────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_gpu_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "visible", tuple)
    made = native_cuda.backend().build(PROGRAM, None, tmp_path, None)  # type: ignore[arg-type]
    assert made == Unsupported(reason="native-cuda: this machine has no NVIDIA GPU")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def with_gpu(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is emulated, and a compiler for it that isn't asked."""
    gpu = gpus.Gpu(name="H", driver="580", compute_capability="9.0", memory_gib=80)
    monkeypatch.setattr(gpus, "visible", lambda: (gpu,))
    monkeypatch.setattr(native_cuda, "absent", lambda: "")
    monkeypatch.setattr(cuda_device, "compiled", lambda *_: b"code")
    monkeypatch.setattr(cuda_device, "Cuda", lambda *_: Emulated(library))
    monkeypatch.setattr(cuda_runner, "TRIED", (4, 130))


def test_the_candidate_is_whole(with_gpu: None, tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    backend = native_cuda.backend()
    made = backend.build(PROGRAM, None, folder, None)  # type: ignore[arg-type]
    assert isinstance(made, Artifact)
    assert {made.model_file, *made.files} == {path.name for path in folder.iterdir()}
    assert made.parameters["crossover"] == "130"  # all plans take as long where time stands still
    rows = hard_rows(4, 300, 5)
    leaf = leaves(PROGRAM.forest, rows)
    np.testing.assert_array_equal(backend.leaves(made, folder, rows), leaf)
    held, wanted = backend.node_table(made, folder, PROGRAM)  # type: ignore[misc]
    np.testing.assert_array_equal(held, wanted)
    other = PROGRAM.forest.replacing(leaf_value=PROGRAM.forest.leaf_value * np.float32(1.0000001))
    _, wanted = backend.node_table(made, folder, program_of(other))  # type: ignore[misc]
    assert np.any(held != wanted)


PREDICT = """
import sys
import numpy as np
import importlib.util
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from models.emulated import Emulated
from millwork_runner import Runner
assert "millwork" not in sys.modules, "the artifact needs no package"
folder = Path(sys.argv[1])
runner = Runner(folder / "forest.cuda", {}, 1, Emulated(Path(sys.argv[3])))
np.save(folder / "answers.npy", runner.predict(np.load(folder / "rows.npy")))
"""


def test_the_artifact_runs_without_the_package(with_gpu: None, library: Path, tmp_path: Path) -> None:
    made = native_cuda.backend().build(PROGRAM, None, tmp_path, None)  # type: ignore[arg-type]
    assert isinstance(made, Artifact)
    shutil.copy(load.source("cuda_runner"), tmp_path / "millwork_runner.py")
    for path in load.beside("cuda_runner"):
        shutil.copy(path, tmp_path)
    rows = hard_rows(4, 20, 5)
    np.save(tmp_path / "rows.npy", rows)
    tests: Any = Path(emulated.__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", PREDICT, tmp_path, tests, library], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), run(PROGRAM, rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"linear": object()}, "a linear model has no trees"), ({"categories": object()}, "the model takes categories")],
)
def test_what_it_cant_is_refused_by_name(change: dict[str, Any], reason: str) -> None:
    assert reason in cuda_file.refused(replace(PROGRAM, **change))


def test_trees_of_both_kinds_are_refused_by_name() -> None:
    forest = random_forest(3, outputs=2, vector_leaves=True)
    mixed = forest.replacing(tree_output=np.array([0, *forest.tree_output[1:]], np.int32))
    assert "others have leaves of one value for each output" in cuda_file.refused(program_of(mixed))


def test_it_passes_the_gate(with_gpu: None, tmp_path: Path) -> None:
    """The real steps: adversarial rows, the framework's own leaves and answers; and a leaf that is off is caught."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 4)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    label = np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 1]) > 0
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3}, xgboost.DMatrix(rows, label=label), 6)
    booster.save_model(tmp_path / "model.ubj")
    found = gate(tmp_path / "model.ubj", tmp_path / "gate")
    at = tmp_path / "native-cuda"
    reply = found.build("native-cuda", at)
    assert reply.artifact is not None, reply.unsupported
    verdict = found.check(reply.artifact, at)
    assert verdict.passed, verdict.reason
    assert verdict.parity.leaf_mismatches == 0
    forest = found.lowered.forest
    value = forest.leaf_value.copy()
    value[np.flatnonzero(forest.is_leaf)[0]] += np.float32(1e-3)
    cuda_file.write(replace(found.lowered, forest=forest.replacing(leaf_value=value)), at / reply.artifact.model_file)
    assert not found.check(reply.artifact, at).passed
