"""The CUDA kernel's own source on a CPU, lane by lane, against the interpreter of the IR: every plan, every shape of
forest. That blocks run at the same time on a GPU is the one thing that isn't tried here: they share nothing but the
count of those that are done."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
import xgboost
from conftest import once
from hypothesis import given, settings
from hypothesis import strategies as st
from models import emulated
from models.emulated import Emulated
from models.forests import HARD, hard_rows, one_sided, program_of, random_forest

from millwork.compile.backends.native import cpu_file, cuda_file
from millwork.compile.frontends.read import read
from millwork.compile.runners import cuda_runner, native_runner
from millwork.compile.runners.cuda_runner import Runner
from millwork.passes import base
from millwork.passes.forest import Forest, leaves, margins
from millwork.passes.pass_table import LOWERING
from millwork.passes.program import MissingSentinel, Program, encode, run, transform

PLANS = ("few", "rows", "tiles")
SHAPES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**9),
        "trees": st.integers(1, 24),
        "depth": st.integers(0, 10),
        "features": st.integers(2, 6),
        "categorical": st.integers(0, 2),
        "outputs": st.integers(1, 6),
        "comparison": st.sampled_from(["<", "<="]),
        "vector_leaves": st.booleans(),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)
ORDERS = st.integers(0, 99)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once(tmp_path_factory, "emulated-gpu", emulated.build) / "libemulated.so"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda")


def opened(program: Program, folder: Path, device: Emulated, **parameters: str) -> Runner:
    path = folder / "forest.cuda"
    assert not cuda_file.refused(program)
    cuda_file.write(program, path)
    return Runner(path, parameters, 1, device)


def assert_is_the_interpreters(program: Program, rows: Any, runner: Runner) -> None:
    leaf = leaves(program.forest, encode(program, rows))
    np.testing.assert_array_equal(runner.leaves(rows), leaf)
    wanted = margins(program.forest, leaf)
    if program.forest.leaf_value.dtype == np.float32:
        assert runner.margins(rows).astype(np.float32).tobytes() == wanted.tobytes()
    else:  # CatBoost's base scores are added last
        zero = program.forest.replacing(base_scores=np.zeros_like(program.forest.base_scores))
        assert runner.margins(rows).tobytes() == (margins(zero, leaf) + program.forest.base_scores).tobytes()


def test_the_parameters_are_those_of_the_source(library: Path) -> None:
    assert ctypes.CDLL(str(library)).given_bytes() == ctypes.sizeof(cuda_runner.Given)
    text = emulated.SOURCE.read_text()
    fields = [name for name, _ in cuda_runner.Given._fields_]
    inside = text[text.index("struct MwGiven {") : text.index("enum : u32 { kAnswers")]
    declared = re.findall(r"[\s*](\w+)(?=[,;])", re.sub(r"//.*", "", inside))
    assert declared == fields
    assert f"kTreeBytes = {cuda_file.TREE_BYTES};" in text
    assert f"kWide = {cuda_file.WIDE};" in text


@pytest.mark.parametrize("plan", PLANS)
@given(
    shape=SHAPES,
    sentinel=st.none() | st.sampled_from([-3.0, 0.0]),
    order=ORDERS,
    n=st.sampled_from([0, 1, 2, 3, 8, 9, 63, 64, 65, 129, 300]),
)
@settings(max_examples=60)
def test_leaves_and_margins_are_the_interpreters(
    plan: str, library: Path, folder: Path, shape: dict[str, Any], sentinel: float | None, order: int, n: int
) -> None:
    program = program_of(random_forest(**shape))
    if sentinel is not None:
        program = replace(program, encoders=(MissingSentinel(value=sentinel),))
    rows = hard_rows(shape["seed"] + 1, n, shape["features"], shape["categorical"])
    device = Emulated(library, order)
    assert_is_the_interpreters(program, rows, opened(program, folder, device, plan=plan))
    assert all(kernel.startswith(("mw_rank", "mw_finish", f"mw_{plan}")) for kernel in device.launched)


def with_thresholds(seed: int, forest: Forest, each: dict[int, int]) -> Forest:
    """The forest with so many different thresholds of a feature, if it has as many tests of it."""
    rng = np.random.default_rng(seed)
    threshold = forest.threshold.copy()
    for feature, many in each.items():
        own = np.flatnonzero(forest.feature == feature)
        threshold[own] = rng.permutation(np.arange(len(own)) % many).astype(np.float32)
    return forest.replacing(threshold=threshold)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    ("each", "size", "columns"),
    [({0: 255}, 1, 2), ({0: 256}, 1, 4), ({0: 900, 1: 2}, 2, 4), ({0: 255, 1: 255, 2: 255, 3: 256}, 1, 10)],
)
def test_bytes_or_16_bits_as_the_thresholds_ask(
    plan: str, each: dict[int, int], size: int, columns: int, library: Path, folder: Path
) -> None:
    """Both ways that NaN goes; a byte counts 255 thresholds, and a feature may have several."""
    forest = random_forest(1, trees=150, depth=6, features=max(each) + 1)
    forest = with_thresholds(2, forest, each)
    program = program_of(forest)
    runner = opened(program, folder, Emulated(library, 5), plan=plan)
    assert (runner.numbers["rank_bytes"], runner.numbers["columns"]) == (size, columns)
    rows = np.random.default_rng(3).integers(-1, max(each.values()) + 1, (150, len(each))).astype(np.float32)
    rows = np.concatenate([rows, rows + np.float32(0.5), np.full((1, len(each)), np.nan, np.float32)])
    assert_is_the_interpreters(program, rows, runner)


@pytest.mark.parametrize("plan", ["rows", "tiles"])
def test_ranks_that_dont_fit_into_shared_memory_are_read_where_they_are(plan: str, library: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    forest = random_forest(1, trees=60, depth=5, features=90)
    program = program_of(forest)
    rows = rng.choice(np.append(HARD, np.float32(np.nan)), (140, 90)).astype(np.float32)
    for shared, staged in ((17_000, 0), (100_000, 1)):
        runner = opened(program, folder, Emulated(library, 3, shared_bytes=shared), plan=plan)
        assert runner.launches(140)[1].staged == staged
        assert_is_the_interpreters(program, rows, runner)


def test_features_read_any_column_and_several_may_read_one(library: Path, folder: Path) -> None:
    rng = np.random.default_rng(0)
    forest = random_forest(3, trees=20, depth=6, features=6, categorical=1)
    program = replace(program_of(forest), columns=np.array([70, 3, 3, 40, 0, 71], np.int32), n_columns=75)
    rows = np.full((200, 75), np.nan, np.float32)
    rows[:, [70, 3, 40, 0]] = rng.choice(np.append(HARD, np.float32(np.nan)), (200, 4))
    rows[:, 71] = hard_rows(1, 200, 1, 1)[:, 0]
    for plan in PLANS:
        assert_is_the_interpreters(program, rows, opened(program, folder, Emulated(library, 9), plan=plan))


@pytest.mark.parametrize("depth", [1, 20, 64])
def test_trees_that_are_chains(depth: int, library: Path, folder: Path) -> None:
    """Unbalanced to the utmost: one test a level."""
    rng = np.random.default_rng(depth)
    chain = one_sided(depth, rng)
    rows = rng.normal(size=(150, 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    program = program_of(chain)
    for plan in PLANS:
        assert_is_the_interpreters(program, rows, opened(program, folder, Emulated(library, depth), plan=plan))


def test_no_trees_and_an_output_without_any(library: Path, folder: Path) -> None:
    whole = random_forest(3, trees=9, outputs=3)
    one = whole.replacing(tree_output=np.full(9, 1, np.int32))
    rows = hard_rows(1, 70, 5)
    for plan in PLANS:
        assert_is_the_interpreters(program_of(one), rows, opened(program_of(one), folder, Emulated(library), plan=plan))
        empty = {
            name: getattr(whole, name)[:0]
            for name in (
                "feature",
                "threshold",
                "left",
                "right",
                "default_left",
                "leaf_value",
                "leaf_number",
                "tree_output",
            )
        }
        none = whole.replacing(tree_start=np.zeros(1, np.int32), **empty)
        runner = opened(program_of(none), folder, Emulated(library), plan=plan)
        assert runner.leaves(rows).shape == (70, 0)
        np.testing.assert_array_equal(runner.margins(rows), np.tile(none.base_scores, (70, 1)))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("postprocess", "outputs"),
    [
        ("sigmoid", 2),
        ("binary", 1),
        ("softmax", 3),
        ("exp", 1),
        ("hinge", 2),
        ("binary-hinge", 1),
        ("binary-raw", 1),
        ("sort", 7),
        ("mean-variance", 2),
        ("identity", 2),
    ],
)
def test_answers_are_those_of_the_kernel_for_cpus(
    postprocess: str, outputs: int, dtype: type, plan: str, library: Path, folder: Path
) -> None:
    """To the bit: both are computed by the same formulas, here in the same compiler's arithmetic."""
    program = program_of(random_forest(5, trees=30, outputs=outputs, dtype=dtype), postprocess)
    rows = hard_rows(6, 200, 5)
    cpu_file.write(program, folder / "forest.packed")
    wanted = native_runner.Runner(folder / "forest.packed", {}, 1).predict(rows)
    got = opened(program, folder, Emulated(library, 2), plan=plan).predict(rows)
    assert got.tobytes() == wanted.tobytes()
    plain = transform(program.postprocess, margins(program.forest, leaves(program.forest, rows)).astype(np.float64))
    np.testing.assert_allclose(got, plain, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("vector_leaves", [False, True])
def test_averages(plan: str, vector_leaves: bool, library: Path, folder: Path) -> None:
    program = program_of(random_forest(7, outputs=2, vector_leaves=vector_leaves).replacing(reduction="average"))
    rows = hard_rows(8, 70, 5)
    wanted = margins(program.forest, leaves(program.forest, rows))
    got = opened(program, folder, Emulated(library, 2), plan=plan).margins(rows)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "Logloss", "MultiClass"])
def test_margins_are_the_frameworks_to_the_bit(objective: str, library: Path, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, more = (rng.normal(size=(n, 8)).astype(np.float32) for n in (1500, 700))
    classes = np.abs(rows[:, 0] * 3).astype(int) % 4
    label = classes > 1 if objective in ("binary:logistic", "Logloss") else classes
    if ":" in objective:
        classes_of = {"num_class": 4} if objective.startswith("multi") else {}
        path = tmp_path / "model.ubj"
        booster = xgboost.train(
            {"objective": objective, "eta": 0.8, **classes_of}, xgboost.DMatrix(rows, label=label), 25
        )
        booster.save_model(path)
        margin, answer = (booster.predict(xgboost.DMatrix(more), output_margin=raw) for raw in (True, False))
    else:
        path = tmp_path / "model.cbm"
        model = catboost.CatBoost(
            {
                "loss_function": objective,
                "iterations": 25,
                "verbose": 0,
                "learning_rate": 0.8,
                "allow_writing_files": False,
            }
        ).fit(rows, label)
        model.save_model(str(path))
        margin, answer = (model.predict(more, prediction_type=raw) for raw in ("RawFormulaVal", "Probability"))
    program = base.run(LOWERING, read(path, tmp_path).program).program
    for plan in PLANS:
        runner = opened(program, folder, Emulated(library, 4), plan=plan)
        np.testing.assert_array_equal(runner.margins(more), np.asarray(margin, np.float64).reshape(len(more), -1))
        own = np.asarray(answer, np.float32).reshape(len(more), -1)
        np.testing.assert_allclose(runner.predict(more)[:, -own.shape[1] :], own, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(run(program, more[:50])[:, -own.shape[1] :], own[:50], rtol=1e-5, atol=1e-6)


def barriers() -> list[re.Match[str]]:
    return list(re.finditer(r"^ *__syncthreads\(\);$", emulated.SOURCE.read_text(), re.MULTILINE))


BETWEEN_BLOCKS = 8
"""The barrier before a block is counted as done: only a block that runs at the same time could tell."""

TRY = """
import sys
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from models.emulated import Emulated
from millwork.compile.runners.cuda_runner import Runner
folder = Path(sys.argv[2])
rows, wanted = np.load(folder / "rows.npy"), np.load(folder / "wanted.npy")
for order in (0, 1, 2):
    for plan in ("few", "rows"):
        device = Emulated(folder / "libemulated.so", order, processors=8)
        runner = Runner(folder / "forest.cuda", {"plan": plan}, 1, device)
        if runner.margins(rows).tobytes() != wanted.tobytes():
            sys.exit(f"{plan}, order {order}: other sums")
"""


@pytest.mark.parametrize("which", [None, *(i for i in range(len(barriers())) if i != BETWEEN_BLOCKS)])
def test_a_barrier_that_is_left_out_is_noticed(which: int | None, tmp_path: Path) -> None:
    """What the orders of the lanes are for: a source without one of its barriers fails, or dies, in one of them."""
    text = emulated.SOURCE.read_text()
    assert "atomicAdd" in text[barriers()[BETWEEN_BLOCKS].end() :][:120]
    begins, ends = (0, 0) if which is None else barriers()[which].span()
    (tmp_path / "forest.cu").write_text(text[:begins] + text[ends:])
    emulated.build(tmp_path, tmp_path / "forest.cu")
    program = program_of(random_forest(5, trees=2400, depth=3, features=70, outputs=2))
    rows = np.random.default_rng(1).choice(HARD, (70, 70)).astype(np.float32)
    cuda_file.write(program, tmp_path / "forest.cuda")
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "wanted.npy", margins(program.forest, leaves(program.forest, rows)).astype(np.float64))
    tests = Path(emulated.__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", TRY, tests, tmp_path], capture_output=True, text=True)
    assert (done.returncode == 0) == (which is None), done.stderr
