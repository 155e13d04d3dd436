"""Adversarial rows reach the tests they are made for, at, below and above the threshold, and with NaN."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import xgboost_models
from models.forests import program_of, random_forest
from models.gate import gate
from sklearn.metrics import log_loss

from millwork.compile.runners.load import runner
from millwork.errors import UsageError
from millwork.passes import base, pass_table
from millwork.passes.forest import Forest, check
from millwork.passes.linear import Linear
from millwork.passes.program import MissingSentinel, Program, encode
from millwork.passes.trees.reach import reach
from millwork.validators import gate_steps
from millwork.validators.rows.adversarial import VARIANTS, adversarial

SHAPES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**9), "trees": st.integers(1, 8), "depth": st.integers(0, 6),
        "features": st.integers(1, 6), "outputs": st.integers(1, 2), "comparison": st.sampled_from(["<", "<="]),
    }
)  # fmt: skip


def lowered(program: Program) -> Program:
    return base.run(pass_table.LOWERING, program).program


def arrivals(forest: Forest, rows: Any) -> list[Any]:
    """For each node, the values of its own feature with which rows arrive there."""
    values: list[list[Any]] = [[] for _ in range(forest.n_nodes)]
    for root in forest.tree_start[:-1]:
        todo = [(int(root), np.arange(len(rows)))]
        while todo:
            node, here = todo.pop()
            if forest.left[node] < 0 or not len(here):
                continue
            value = rows[here, forest.feature[node]]
            values[node].append(value)
            threshold = forest.threshold[node]
            passes = value < threshold if forest.comparison == "<" else value <= threshold
            left = np.where(np.isnan(value), forest.default_left[node], passes)
            todo += [(int(forest.left[node]), here[left]), (int(forest.right[node]), here[~left])]
    return [np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in values]


def tried(threshold: np.float32) -> list[np.float32]:
    with np.errstate(over="ignore", under="ignore"):
        return [np.nextafter(threshold, np.float32(-np.inf)), threshold, np.nextafter(threshold, np.float32(np.inf))]


@given(shape=SHAPES, unused=st.integers(0, 2))
@settings(max_examples=80, deadline=None)
def test_every_test_is_reached_with_all_that_can_reach_it(shape: dict[str, Any], unused: int) -> None:
    program = program_of(random_forest(**shape))
    columns = np.random.default_rng(shape["seed"]).permutation(shape["features"] + unused)[: shape["features"]]
    program = lowered(replace(program, columns=columns.astype(np.int32), n_columns=shape["features"] + unused))
    forest = program.forest
    made = adversarial(program, limit=60_000)
    tests = np.flatnonzero(~forest.is_leaf)
    assert made.tests == made.tests_covered == len(tests)
    assert made.given.numbers.shape[1] == program.n_columns
    assert made.given.numbers.dtype == np.float32
    arriving, can = arrivals(forest, encode(program, made.given.numbers)), reach(forest)
    for node in tests:
        for value in tried(forest.threshold[node]):
            if can.low[node] <= value < can.high[node]:
                assert np.any(arriving[node] == value), (node, value)
        if can.nan[node]:
            assert np.any(np.isnan(arriving[node]))


def test_thresholds_are_counted_by_feature_and_value() -> None:
    """A tree of three tests, of which two are the same; one of them is on another path."""
    forest = check(
        Forest(
            tree_start=np.array([0, 7], np.int32),
            feature=np.array([0, 1, 1, -1, -1, -1, -1], np.int32),
            threshold=np.array([0.5, 2.0, 2.0, 0, 0, 0, 0], np.float32),
            left=np.array([1, 3, 5, -1, -1, -1, -1], np.int32),
            right=np.array([2, 4, 6, -1, -1, -1, -1], np.int32),
            default_left=np.zeros(7, np.bool_),
            leaf_value=np.arange(7, dtype=np.float32)[:, None],
            leaf_number=np.array([-1, -1, -1, 3, 4, 5, 6], np.int32),
            tree_output=np.zeros(1, np.int32),
            base_scores=np.zeros(1, np.float32),
            n_features=2,
        )
    )
    made = adversarial(program_of(forest), limit=1000)
    assert (made.tests, made.tests_covered, made.thresholds, made.thresholds_covered) == (3, 3, 2, 2)
    assert made.coverage.startswith("2 of 2 distinct thresholds and 3 of 3 tests")
    few = adversarial(program_of(forest), limit=2 * VARIANTS)
    assert (few.tests_covered, few.thresholds_covered) == (2, 2)  # each distinct threshold before any other test
    fewer = adversarial(program_of(forest), limit=VARIANTS)
    assert (fewer.tests_covered, fewer.thresholds_covered) == (1, 1)
    assert fewer.coverage.startswith("1 of 2 distinct thresholds and 1 of 3 tests")


@pytest.mark.parametrize("limit", [1, 40, 400, 4000])
def test_the_limit_is_kept(limit: int) -> None:
    program = lowered(program_of(random_forest(1, trees=60, depth=7)))
    made = adversarial(program, limit=limit)
    assert len(made.given.numbers) <= limit * 1.1 + 16 + VARIANTS
    assert made.tests_covered == min(made.tests, max(limit // VARIANTS, 1))
    assert made.thresholds_covered == min(made.thresholds, made.tests_covered)


def test_the_same_program_gives_the_same_rows() -> None:
    program = lowered(program_of(random_forest(1)))
    assert (
        adversarial(program, limit=1000).given.numbers.tobytes()
        == adversarial(program, limit=1000).given.numbers.tobytes()
    )
    assert (
        adversarial(program, limit=1000, seed=1).given.numbers.tobytes()
        != adversarial(program, limit=1000).given.numbers.tobytes()
    )


def test_rows_hold_nan_infinities_signed_zeros_and_extremes() -> None:
    rows = adversarial(lowered(program_of(random_forest(2, trees=20, depth=6))), limit=60_000).given.numbers
    zero = rows == 0
    for found in (
        np.isnan(rows),
        np.isposinf(rows),
        np.isneginf(rows),
        zero & np.signbit(rows),
        zero & ~np.signbit(rows),
        rows == np.float32(1e38),
        np.abs(rows) == np.float32(1e-44),
    ):
        assert found.any()


def test_the_rows_of_a_wide_models_tests_hold_no_infinity() -> None:
    """XGBoost names no leaf for a row with one, and among 2,000 features there would always be one."""
    program = lowered(program_of(random_forest(3, trees=40, depth=6, features=2000)))
    rows = adversarial(program, limit=60_000).given.numbers
    infinite = np.isinf(rows).any(axis=1)
    assert infinite.any()
    assert infinite.mean() < 0.6
    assert not infinite[: VARIANTS * int((~program.forest.is_leaf).sum())].any()


@pytest.mark.parametrize("sentinel", [-999.0, 0.0, 0.1])
def test_the_sentinel_stands_for_some_missing_values_and_its_neighbours_for_none(sentinel: float) -> None:
    program = lowered(replace(program_of(random_forest(4, trees=20)), missing=sentinel))
    assert program.encoders == (MissingSentinel(value=sentinel),)
    rows = adversarial(program, limit=60_000).given.numbers
    value = np.float32(sentinel)
    assert np.isnan(rows).any()
    assert (rows == value).any()
    for side in (-np.inf, np.inf):
        assert (rows == np.nextafter(value, np.float32(side))).any()


def test_a_model_that_tests_nothing_still_gets_rows() -> None:
    program = lowered(program_of(random_forest(5, depth=0)))
    made = adversarial(program, limit=1000)
    assert (made.tests, made.thresholds) == (0, 0)
    assert made.given.numbers.shape[0] > 0
    assert made.given.numbers.shape[1] == 5


@pytest.mark.parametrize("sentinel", [None, -999.0])
def test_a_linear_models_rows_hold_all_that_is_special_but_infinities(sentinel: float | None) -> None:
    """In every column; and in no row more than one large number, so that it is all there is in the sum."""
    weight = np.array([[0.5, 0.0], [-300.0, 2.0], [1e-3, 0.0], [0.0, 0.0]], np.float32)
    none = random_forest(5, trees=0, features=4, outputs=2)
    plain = replace(program_of(none), linear=Linear(weight=weight, bias=np.zeros(2, np.float32)), missing=sentinel)
    made = adversarial(lowered(plain), limit=4000)
    rows = made.given.numbers
    assert rows.dtype == np.float32
    assert rows.shape[1] == 4
    zero = rows == 0
    for found in (
        np.isnan(rows),
        zero & np.signbit(rows),
        zero & ~np.signbit(rows),
        np.abs(rows) == np.float32(1e-44),
        rows > 1e34,
        rows < -1e34,
        *([rows == np.float32(-999)] if sentinel else []),
    ):
        assert found.any(axis=0).all()
    assert not np.isinf(rows).any()
    with np.errstate(over="raise"):
        products = np.abs(np.nan_to_num(rows)[:, :, None] * weight)
    assert (products > 1e20).sum(axis=1).max() == 1
    assert made.coverage.startswith("no trees: rows around 0 with NaN")


# ── the step: adversarial rows, then the user's ───────────────────────────────────────────────────────────


def test_the_users_rows_follow_the_adversarial_ones_and_their_labels_are_judged(tmp_path: Path) -> None:
    given = xgboost_models.rows(8, 200)
    truth = (xgboost_models.target(given) > 0.3).astype(float)
    np.savez(tmp_path / "data.npz", X=given, y=truth)
    path = xgboost_models.save(xgboost_models.model("binary"), tmp_path / "model.json")
    judge = gate(path, tmp_path / "gate")
    request = gate_steps.RowsRequest(
        lowered=str(judge.folder / "lowered.npz"),
        signature=judge.signature,
        data=str(tmp_path / "data.npz"),
        label="y",
        adversarial_limit=400,
        user_limit=150,
    )
    with contextlib.chdir(judge.folder):
        reply = gate_steps.rows(request)
    assert (reply.user, reply.labelled) == (150, True)
    assert reply.notes == ("a seeded sample of 150 of 200 rows",)
    assert len(judge.rows) == reply.adversarial + reply.user
    labels = np.load(judge.folder / gate_steps.LABELS_FILE)
    same = [((given == row) | (np.isnan(given) & np.isnan(row))).all(axis=1) for row in judge.rows[-150:]]
    at = [int(np.flatnonzero(where)[0]) for where in same]
    assert np.array_equal(labels, truth[at])

    engine = runner("xgboost_runner")(judge.native, judge.signature.oracle.parameters, 1)
    np.save(judge.folder / "answers.npy", engine.predict(judge.rows))
    np.save(judge.folder / "leaves.npy", engine.leaves(judge.rows))
    built = judge.build("onnx", tmp_path / "onnx").artifact
    assert built is not None
    verdict = judge.check(built, tmp_path / "onnx", labels=str(judge.folder / gate_steps.LABELS_FILE))
    assert verdict.passed, verdict.reason
    metric = verdict.parity.metric
    assert metric is not None
    assert (metric.name, metric.rows) == ("logloss", 150)
    assert metric.framework == pytest.approx(log_loss(labels, judge.answers[-150:, 1]), rel=1e-5)
    assert abs(metric.candidate - metric.framework) < 1e-6


def test_labels_that_the_model_doesnt_know_are_found_before_anything_is_judged(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=xgboost_models.rows(8, 50), y=np.full(50, "maybe"))
    judge = gate(xgboost_models.save(xgboost_models.model("binary"), tmp_path / "model.json"), tmp_path / "gate")
    request = gate_steps.RowsRequest(
        lowered=str(judge.folder / "lowered.npz"), signature=judge.signature, data=str(tmp_path / "data.npz"), label="y"
    )
    with contextlib.chdir(tmp_path), pytest.raises(UsageError, match=r"data\.npz: .*'maybe'.* \(--label y\)"):
        gate_steps.rows(request)
