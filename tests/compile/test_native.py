"""The forest kernel against the interpreter of the IR: every instruction set, both plans, every shape of forest; and
what a damaged file or a wrong call does to it: an error, nothing else."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from models.emulated import COMPILER
from models.forests import hard_rows, one_sided, perfect_forest, program_of, random_forest, source_of

from millwork.compile import kernel
from millwork.compile.backends.native import cpu, cpu_file
from millwork.compile.frontends.read import read
from millwork.compile.runners import native_runner
from millwork.compile.runners.native_runner import Runner
from millwork.passes import base
from millwork.passes.forest import leaves, margins
from millwork.passes.pass_table import LOWERING
from millwork.passes.program import MissingSentinel, Program, encode, run
from millwork.triton_releases import newest

ISAS = ("avx512", "avx2", "portable")
PLANS = ("rows", "blocks", "auto")
SHAPES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**9),
        "trees": st.integers(1, 24),
        "depth": st.integers(0, 9),
        "features": st.integers(2, 6),
        "categorical": st.integers(0, 2),
        "outputs": st.integers(1, 3),
        "comparison": st.sampled_from(["<", "<="]),
        "vector_leaves": st.booleans(),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


def here(isa: str) -> bool:
    """Whether this CPU has it; the library refuses by name what it hasn't."""
    flags = Path("/proc/cpuinfo").read_text()
    return {"avx512": "avx512_vbmi" in flags, "avx2": "avx2" in flags, "portable": True}[isa]


def opened(program: Program, folder: Path, **parameters: str) -> Runner:
    path = folder / "forest.packed"
    cpu_file.write(program, path)
    return Runner(path, parameters, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``make test-native`` says so, with the kernel that sanitizers watch: a library beside a file is the one
    that opens it."""
    made = tmp_path_factory.mktemp("native")
    if "MILLWORK_TEST_KERNEL" in os.environ:
        shutil.copyfile(os.environ["MILLWORK_TEST_KERNEL"], made / native_runner.LIBRARY)
    return made


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("plan", PLANS)
@given(shape=SHAPES, sentinel=st.none() | st.sampled_from([-3.0, 0.0]), n=st.sampled_from([0, 1, 3, 63, 64, 65, 200]))
@settings(max_examples=40, deadline=None)
def test_leaves_and_margins_are_the_interpreters(
    isa: str, plan: str, folder: Path, shape: dict[str, Any], sentinel: float | None, n: int
) -> None:
    if not here(isa):
        return
    program = program_of(random_forest(**shape))
    if sentinel is not None:
        program = replace(program, encoders=(MissingSentinel(value=sentinel),))
    rows = hard_rows(shape["seed"] + 1, n, shape["features"], shape["categorical"])
    runner = opened(program, folder, isa=isa, plan=plan)
    leaf = leaves(program.forest, encode(program, rows))
    np.testing.assert_array_equal(runner.leaves(rows), leaf)
    wanted = margins(program.forest, leaf)
    if program.forest.leaf_value.dtype == np.float32:
        assert runner.margins(rows).astype(np.float32).tobytes() == wanted.tobytes()
    else:  # CatBoost's base scores are added last
        zero = program.forest.replacing(base_scores=np.zeros_like(program.forest.base_scores))
        assert runner.margins(rows).tobytes() == (margins(zero, leaf) + program.forest.base_scores).tobytes()


@given(shape=SHAPES)
@settings(max_examples=30, deadline=None)
def test_averages(folder: Path, shape: dict[str, Any]) -> None:
    program = program_of(random_forest(**shape).replacing(reduction="average"))
    rows = hard_rows(shape["seed"] + 1, 70, shape["features"], shape["categorical"])
    wanted = margins(program.forest, leaves(program.forest, encode(program, rows)))
    np.testing.assert_allclose(opened(program, folder).margins(rows), wanted, rtol=1e-6, atol=1e-6)


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
        ("sort", 3),
        ("mean-variance", 2),
        ("identity", 2),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transforms_are_within_two_units_in_the_last_place(
    postprocess: str, outputs: int, dtype: type, folder: Path
) -> None:
    program = program_of(random_forest(5, trees=30, outputs=outputs, dtype=dtype), postprocess)
    rows = hard_rows(6, 500, 5)
    got = opened(program, folder).predict(rows)
    forest = program.forest
    doubles = {name: getattr(forest, name).astype(np.float64) for name in ("leaf_value", "base_scores")}
    exact = run(replace(program, forest=forest.replacing(**doubles)), rows)
    if dtype is np.float32:  # the sums round, and the transform starts from what they are
        rounded = margins(program.forest, leaves(program.forest, encode(program, rows)))
        from millwork.passes.program import transform

        exact = transform(program.postprocess, rounded.astype(np.float64))
    distance = np.abs(got.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32) + np.float32(1e-38))
    if postprocess in ("binary", "binary-raw", "binary-hinge"):  # the other class is 1 - p, rounded once more
        distance = distance[:, 1:]
    # XGBoost's softmax subtracts the largest margin in float32, and so do we: both are farther from the true value
    # than from one another (the next test).
    assert distance.max() <= (16 if postprocess == "softmax" and dtype is np.float32 else 2)


@pytest.mark.parametrize(
    "objective",
    [
        "binary:logistic",
        "multi:softprob",
        "count:poisson",
        "reg:gamma",
        "Logloss",
        "MultiClass",
        "MultiClassOneVsAll",
        "Poisson",
    ],
)
def test_margins_are_the_frameworks_to_the_bit_and_answers_within_two_units(
    objective: str, folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows, more = (rng.normal(size=(n, 8)).astype(np.float32) for n in (2000, 20_000))
    classes = np.abs(rows[:, 0] * 3).astype(int) % 4
    label = classes > 1 if objective in ("binary:logistic", "Logloss") else classes + objective.startswith("reg")
    if ":" in objective:
        classes_of = {"num_class": 4} if objective.startswith("multi") else {}
        path = tmp_path / "model.ubj"
        booster = xgboost.train(
            {"objective": objective, "eta": 0.8, **classes_of}, xgboost.DMatrix(rows, label=label), 60
        )
        booster.save_model(path)
        margin, answer = (booster.predict(xgboost.DMatrix(more), output_margin=raw) for raw in (True, False))
    else:
        path = tmp_path / "model.cbm"
        model = catboost.CatBoost(
            {
                "loss_function": objective,
                "iterations": 60,
                "verbose": 0,
                "learning_rate": 0.8,
                "allow_writing_files": False,
            }
        ).fit(rows, label)
        model.save_model(str(path))
        kind = "Exponent" if objective == "Poisson" else "Probability"
        margin, answer = (model.predict(more, prediction_type=raw) for raw in ("RawFormulaVal", kind))
    runner = opened(base.run(LOWERING, read(path, tmp_path).program).program, folder)
    np.testing.assert_array_equal(runner.margins(more), np.asarray(margin, np.float64).reshape(len(more), -1))
    own = np.asarray(answer, np.float32).reshape(len(more), -1)
    got = runner.predict(more)[:, -own.shape[1] :]
    if own.shape[1] == 2:  # the other class is 1 - p, rounded once more
        own, got = own[:, 1:], got[:, 1:]
    assert (np.abs(got.astype(np.float64) - own) / np.spacing(np.abs(own) + np.float32(1e-38))).max() <= 2


@pytest.mark.parametrize("depth", [1, 20, 64])
def test_trees_that_are_chains(depth: int, folder: Path) -> None:
    """Unbalanced to the utmost: one test a level, on one of three features."""
    rng = np.random.default_rng(depth)
    chain = one_sided(depth, rng)
    rows = rng.normal(size=(300, 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    program = program_of(chain)
    for plan in PLANS:
        np.testing.assert_array_equal(opened(program, folder, plan=plan).leaves(rows), leaves(chain, rows))


def test_more_thresholds_than_a_byte_or_two_hold(folder: Path) -> None:
    """65,535 of one feature, each a tree of one test."""
    n = 65_535
    threshold = np.zeros(3 * n, np.float32)
    threshold[::3] = np.sort(np.random.default_rng(0).normal(size=n)).astype(np.float32)
    child = np.full(3 * n, -1, np.int32)
    left, right = child.copy(), child.copy()
    left[::3], right[::3] = np.arange(n) * 3 + 1, np.arange(n) * 3 + 2
    feature = np.where(left >= 0, 0, -1).astype(np.int32)
    forest = random_forest(0, features=2).replacing(
        tree_start=(np.arange(n + 1) * 3).astype(np.int32),
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        default_left=np.zeros(3 * n, np.bool_),
        leaf_value=np.ones((3 * n, 1), np.float32),
        leaf_number=np.where(left < 0, np.tile([0, 1, 2], n), -1).astype(np.int32),
        tree_output=np.zeros(n, np.int32),
        n_features=1,
    )
    rows = np.concatenate([threshold[::6001], [np.nan, np.inf, -np.inf]]).astype(np.float32)[:, None]
    program = program_of(forest)
    for plan in ("rows", "blocks"):
        np.testing.assert_array_equal(opened(program, folder, plan=plan).leaves(rows), leaves(forest, rows))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int, folder: Path) -> None:
    program = program_of(random_forest(3, trees=40, depth=7, outputs=2))
    rows = hard_rows(4, 5000, 5)
    one = opened(program, folder)
    many = Runner(folder / "forest.packed", {}, threads)
    assert many.predict(rows).tobytes() == one.predict(rows).tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("outputs", [1, 3])
def test_threads_over_trees_change_no_bit(isa: str, dtype: type, outputs: int, folder: Path) -> None:
    """Few rows and many trees (from 16,384 of both together on): the threads share the trees, the sums keep their
    order."""
    if not here(isa):
        pytest.skip(f"this CPU has no {isa}")
    program = program_of(random_forest(3, trees=331, depth=7, outputs=outputs, dtype=dtype), "softmax")
    rows = hard_rows(4, 60, 5)
    one = opened(program, folder, isa=isa, plan="rows")
    for threads in (2, 3):
        many = Runner(folder / "forest.packed", {"isa": isa, "plan": "rows"}, threads)
        for n in (60, 51, 50, 49):
            assert many.predict(rows[:n]).tobytes() == one.predict(rows[:n]).tobytes()
            assert many.margins(rows[:n]).tobytes() == one.margins(rows[:n]).tobytes()


def test_threads_over_trees_whose_leaves_are_vectors_of_one(folder: Path) -> None:
    program = program_of(random_forest(3, trees=331, depth=4, vector_leaves=True))
    rows = hard_rows(4, 60, 5)
    wanted = margins(program.forest, leaves(program.forest, rows))
    opened(program, folder)
    for plan in PLANS:
        runner = Runner(folder / "forest.packed", {"plan": plan}, threads=2)
        assert runner.margins(rows).astype(np.float32).tobytes() == wanted.tobytes()


def test_few_rows_from_several_threads_are_those_of_many(folder: Path) -> None:
    """Calls of few rows are kept by each thread; nothing of an earlier one may be left in a later answer."""
    program = program_of(random_forest(3, trees=40, depth=7, outputs=2))
    rows = hard_rows(4, 2000, 5)
    runner = opened(program, folder)
    whole = runner.predict(rows)

    def ask(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        same = True
        for _ in range(300):
            at, n = int(rng.integers(1900)), int(rng.integers(0, 20))
            given = rows[at : at + n] if n % 2 else np.asfortranarray(rows[at : at + n].astype(np.float64))
            same = same and runner.predict(given).tobytes() == whole[at : at + n].tobytes()
        return same

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(8)))


def test_rows_that_lie_apart(folder: Path) -> None:
    """A view of a wider matrix, and one that runs backwards."""
    program = program_of(random_forest(3))
    wide = hard_rows(4, 300, 9)
    runner = opened(program, folder)
    for view in (wide[:, 2:7], wide[::2, :5], wide[::-1, 1:6], np.asfortranarray(wide[:, :5])):
        np.testing.assert_array_equal(runner.leaves(view), leaves(program.forest, np.ascontiguousarray(view)))


GUARDED = """
import os, sys
from pathlib import Path
import numpy as np
from millwork.compile.runners.native_runner import Runner
kept = []  # never closed: free() doesn't know the memory
for path in sorted(Path(sys.argv[1]).glob("*.packed")):
    rows, wanted = np.load(path.with_suffix(".rows.npy")), np.load(path.with_suffix(".margins.npy"))
    for isa in sys.argv[2:]:
        for plan in ("rows", "blocks"):
            kept.append(Runner(path, {"isa": isa, "plan": plan}, 2))
            assert kept[-1].margins(rows).astype(wanted.dtype).tobytes() == wanted.tobytes(), (path.name, isa, plan)
print("done", flush=True)
os._exit(0)
"""
"""The answers of every forest in a folder, in a process whose tables lie beside pages that can't be touched."""


@pytest.mark.parametrize("guarded", ["before", "behind"])
def test_nothing_beside_a_table_is_read(guarded: str, tmp_path: Path) -> None:
    """What the vectors read of trees that aren't asked for: nobody sees it in the answers."""
    library = tmp_path / "guarded.so"
    source = Path(__file__).resolve().parents[1] / "native" / "guarded.cpp"
    subprocess.run([*COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    rng = np.random.default_rng(0)
    rows = hard_rows(1, 64, 5)
    rows[:50], rows[50] = rng.normal(size=(50, 5)), np.nan
    mixed = [int(depth) for depth in rng.choice([0, 1, 2, 5, 6, 7], 100)]
    # A stump and then a deep tree: a class that is easily told, and one that isn't. The last is one whose trees the
    # threads share: a share begins within eight trees that are asked for at once, and ends behind the last of them.
    for i, depths in enumerate([[1, 6], [1, 1, 1, 5], [2, 6, 6, 1], [6, 1], mixed, [6, *[1] * 256, 0]]):
        for dtype in (np.float32, np.float64):
            forest = perfect_forest(i, depths, outputs=2, dtype=dtype)
            forest = forest.replacing(base_scores=np.zeros_like(forest.base_scores))
            path = tmp_path / f"{i}-{dtype.__name__}.packed"
            cpu_file.write(program_of(forest), path)
            np.save(path.with_suffix(".rows.npy"), rows)
            np.save(path.with_suffix(".margins.npy"), margins(forest, leaves(forest, rows)))
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path), *filter(here, ISAS)],
        env=os.environ | {"LD_PRELOAD": str(library), "GUARDED": guarded},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_a_wrong_width_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="rows of 4 numbers; the model takes 5"):
        opened(program_of(random_forest(3)), folder).predict(np.zeros((2, 4), np.float32))


def test_an_instruction_set_that_isnt_known_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="instruction set isn't known"):
        opened(program_of(random_forest(3)), folder, isa="mmx")


def test_the_boundary_checks_what_it_is_given(folder: Path) -> None:
    runner = opened(program_of(random_forest(3)), folder)
    library, out = runner.library, np.zeros((4, 1), np.float32)
    rows = np.zeros((4, 5), np.float32)

    def ask(**changed: Any) -> int:
        given = {
            "handle": runner.handle,
            "kind": 0,
            "plan": 0,
            "threads": 1,
            "rows": rows.ctypes.data,
            "n": 4,
            "stride": 5,
            "categories": None,
            "size": 0,
            "out": out.ctypes.data,
        } | changed
        return int(library.mw_predict(*given.values()))

    assert ask() == 0
    assert ask(handle=None) == 1
    assert ask(rows=None) == 1
    assert ask(out=None) == 1
    assert ask(rows=rows.ctypes.data + 1) == 2
    assert ask(out=out.ctypes.data + 2) == 2
    for wrong in ({"kind": 7}, {"kind": -1}, {"plan": 9}, {"threads": 0}, {"stride": 4}, {"n": 1 << 40}):
        assert ask(**wrong) == 3
    assert ask(categories=b"abc", size=3) == 11
    assert library.mw_open(None, None, None) == 1
    assert library.mw_open(b"/nowhere/at/all", None, ctypes.byref(ctypes.c_void_p())) == 4


def damaged(blob: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut off, or doubled; half of them with a checksum and a size that are right again."""
    changed = bytearray(blob)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(changed)) if rng.random() < 0.6 else rng.integers(min(1600, len(changed))))
        changed[at] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
    if rng.random() < 0.2:
        changed = changed[: int(rng.integers(len(changed)))]
    if rng.random() < 0.8 and len(changed) > 24:
        struct.pack_into("<Q", changed, 16, len(changed))
        struct.pack_into("<I", changed, 12, zlib.crc32(changed[16:]))
        changed[:12] = blob[:12]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_an_error_or_a_model_never_a_crash(seed: int, folder: Path) -> None:
    """Seeded, so that a failure can be had again."""
    program = program_of(
        random_forest(seed, trees=9, depth=5, features=4, categorical=2, outputs=2, vector_leaves=seed % 2 == 1)
    )
    cpu_file.write(program, folder / "whole.packed")
    blob = (folder / "whole.packed").read_bytes()
    library = native_runner.load(folder)
    rng = np.random.default_rng(seed)
    rows = hard_rows(1, 70, 4, 2)
    out = np.empty((70, 64), np.float32)
    codes = set()
    for _ in range(700):
        bad = damaged(blob, rng)
        held = ctypes.create_string_buffer(bad, len(bad) + 8)
        handle = ctypes.c_void_p()
        code = library.mw_open_bytes(ctypes.addressof(held), len(bad), None, ctypes.byref(handle))
        codes.add(code)
        if code == 0:
            shape = native_runner.Shape()
            library.mw_describe(handle, ctypes.byref(shape))
            if shape.features == 4 and shape.answers <= 64 and not shape.categories:
                library.mw_predict(handle, 0, 0, 1, rows.ctypes.data, 70, 4, None, 0, out.ctypes.data)
            library.mw_close(handle)
    assert codes >= {5, 7, 8}


@pytest.mark.parametrize(
    ("outputs", "output", "code"), [(1, 0, 0), (1, -1, 8), (1, 1, 8), (1, -2, 8), (3, 2, 0), (3, -1, 8), (3, 3, 8)]
)
def test_a_tree_whose_output_isnt_there_is_refused(outputs: int, output: int, code: int, folder: Path) -> None:
    """-1, all outputs, of leaves of one value is one that isn't there."""
    opened(program_of(random_forest(3, trees=300, outputs=outputs)), folder)
    blob = bytearray((folder / "forest.packed").read_bytes())
    kind = cpu_file.SECTIONS.index("tree_output") + 1
    entries = (struct.unpack_from("<IIQQQ", blob, 128 + 32 * i) for i in range(struct.unpack_from("<I", blob, 24)[0]))
    offset = next(entry[2] for entry in entries if entry[0] == kind)
    struct.pack_into("<i", blob, offset + 4 * 17, output)
    struct.pack_into("<I", blob, 12, zlib.crc32(blob[16:]))
    held, handle = ctypes.create_string_buffer(bytes(blob)), ctypes.c_void_p()
    library = native_runner.load(folder)
    assert library.mw_open_bytes(ctypes.addressof(held), len(blob), None, ctypes.byref(handle)) == code
    library.mw_close(handle)


def test_the_same_model_is_the_same_file_whatever_was_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_of(perfect_forest(3, (4, 5)))
    for timed in (2, 65):
        monkeypatch.setattr(cpu, "crossover", lambda _, timed=timed: timed)
        folder = tmp_path / str(timed)
        folder.mkdir()
        artifact = cpu.backend().build(program, source_of(), folder, newest())
        runner = Runner(folder / artifact.model_file, artifact.parameters, threads=1)
        assert (artifact.parameters["crossover"], runner.shape.crossover) == (str(timed), timed)
    one, two = (tmp_path / timed / cpu.MODEL_FILE for timed in ("2", "65"))
    assert one.read_bytes() == two.read_bytes()


def test_the_library_is_built() -> None:
    assert kernel.library() is not None
