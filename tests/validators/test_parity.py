"""The verdict: leaves first, then numbers; and what it says of the first thing that is wrong."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millwork.storage import wire
from millwork.validators import parity
from millwork.validators.parity import (
    IMPOSSIBLE,
    UNKNOWN,
    Side,
    Verdict,
    flips,
    in_batches,
    judge,
    leaf_mismatches,
    ulps,
)
from millwork.validators.rows.given import Given
from millwork.validators.tolerance import Tolerance, parse
from millwork.values import OutputContract

EXACT = Tolerance(abs=0.0, rel=0.0, why="exact")
LOOSE = Tolerance(abs=1e-3, rel=1e-3, why="loose")
BINARY = OutputContract(kind="probability", task="binary", labels=("0", "1"), threshold=0.5)
VALUE = OutputContract(kind="value", task="regression", labels=("value",))


def f32(*values: Any) -> Any:
    return np.array(values, np.float32)


def verdict_on(framework: Any, candidate: Any, tolerance: Tolerance = EXACT, **more: Any) -> Verdict:
    """Of one output; it must survive the way through a worker's JSON."""
    framework, candidate = np.reshape(framework, (-1, 1)), np.reshape(candidate, (-1, 1))
    given = Given(np.zeros((len(framework), 2), np.float32))
    (got, wanted), output = more.pop("leaves", (None, None)), more.pop("output", VALUE)
    found = judge(given, Side(framework, wanted), Side(candidate, got), tolerance, output, **more)
    assert wire.decode(wire.encode(found), Verdict) == found
    return found


def test_equal_answers_pass_exactly() -> None:
    answers = f32(0.1, -0.0, np.inf, np.nan, 3e38)
    found = verdict_on(answers, answers.copy())
    assert found.passed
    assert found.reason == ""
    assert (found.parity.max_abs, found.parity.max_rel, found.parity.max_ulp) == (0, 0, 0)
    assert found.parity.leaf_mismatches is None


def test_a_framework_that_never_answers_shows_nothing() -> None:
    found = verdict_on(f32(np.nan, np.nan), f32(np.nan, np.nan))
    assert not found.passed
    assert "answers to all of the 2 rows are NaN" in found.reason
    assert verdict_on(f32(np.nan, 1.0), f32(np.nan, 1.0)).passed


def test_a_candidate_that_answers_nan_on_labelled_rows_is_wrong_and_no_error() -> None:
    answers = np.array([[0.5], [0.75]], np.float32)
    found = verdict_on(answers, f32(0.5, np.nan), labels=np.array([0.0, 1.0]))
    assert not found.passed
    assert found.parity.metric is not None
    assert found.parity.metric.rows == 1


def test_the_worst_row_is_named_with_the_tolerance_that_would_have_passed() -> None:
    found = verdict_on(f32(1, 2, 3, 4), f32(1, 2.5, 3.25, 4), LOOSE)
    assert not found.passed
    assert "2 of 4 rows outside the tolerance; worst: row 1, output 0: 2.5 where the framework says 2" in found.reason
    assert (found.parity.max_abs, found.parity.max_rel) == (0.5, 0.25)
    assert found.parity.tolerance == LOOSE.words


@given(st.floats(2.0**-20, 2.0**20, width=32))
def test_the_tolerance_that_would_have_passed_would_have(difference: float) -> None:
    found = verdict_on(f32(0), f32(difference))
    (spec,) = re.findall(r"--tolerance (\S+) would have passed", found.reason)
    assert verdict_on(f32(0), f32(difference), parse(spec)).passed


@pytest.mark.parametrize("difference", [9e-4, 1.9e-3])
def test_absolute_and_relative_bounds_add_up(difference: float) -> None:
    assert verdict_on(f32(1.0), f32(1.0 + difference), LOOSE).passed
    assert not verdict_on(f32(1.0), f32(1.0 + difference + 2e-4), EXACT).passed
    assert verdict_on(f32(0.0), f32(difference), LOOSE).passed == (difference < 1e-3)


@pytest.mark.parametrize(
    ("framework", "candidate"),
    [
        (np.inf, 1e38),
        (1e38, np.inf),
        (np.inf, -np.inf),
        (np.nan, 0.5),
        (0.5, np.nan),
        (np.nan, np.inf),
        (np.inf, np.nan),
    ],
)
def test_infinities_and_nan_are_wrong_whatever_the_tolerance(framework: float, candidate: float) -> None:
    found = verdict_on(f32(1.0, framework), f32(1.0, candidate), Tolerance(abs=1e300, rel=1e300, why="anything goes"))
    assert not found.passed
    assert "1 of 2 rows" in found.reason
    assert "would have passed" not in found.reason
    assert np.isfinite([found.parity.max_abs, found.parity.max_rel]).all()
    assert found.parity.max_rel > 0


@pytest.mark.parametrize(("off", "passes"), [(0.29, True), (0.31, False), (np.nan, False), (np.inf, False)])
def test_a_row_that_may_be_outside_may_not_be_anywhere(off: float, passes: bool) -> None:
    most = Tolerance(abs=0.1, rel=0.0, why="most rows", share=0.01)
    framework, candidate = np.zeros((200, 1), np.float32), np.zeros((200, 1), np.float32)
    candidate[7] = off
    assert verdict_on(framework, candidate, most).passed == passes
    candidate[8:10] = 0.11  # three rows are more than 1%
    assert not verdict_on(framework, candidate, most).passed
    assert "on 99.0% of the rows, 3 times that on the rest" in most.words


def test_one_wrong_leaf_fails_whatever_the_numbers() -> None:
    wanted = np.array([[1, 2], [3, 4]], np.int32)
    got = wanted.copy()
    got[1, 1] = 9
    found = verdict_on(f32(1, 2), f32(1, 2), LOOSE, leaves=(got, wanted))
    assert not found.passed
    assert found.parity.leaf_mismatches == 1
    assert found.reason.startswith("1 wrong leaves (row, tree), the first in tree 1 on row 1")


def test_leaves_that_the_framework_doesnt_name_dont_count_and_impossible_ones_do() -> None:
    assert leaf_mismatches(np.array([[5, 5]]), np.array([[UNKNOWN, 5]])) == 0
    assert leaf_mismatches(np.array([[5, 5]]), np.array([[IMPOSSIBLE, 5]])) == 1
    assert leaf_mismatches(np.array([[-1]]), np.array([[5]])) == 1


def test_a_missing_tree_fails_even_where_no_leaf_is_known() -> None:
    got, wanted = np.zeros((2, 1), np.int32), np.zeros((2, 2), np.int32)
    found = verdict_on(f32(1, 2), f32(1, 2), LOOSE, leaves=(got, wanted))
    assert not found.passed
    assert found.reason == "the artifact has 1 trees, but the model has 2"
    unknown = np.full((2, 2), UNKNOWN, np.int32)
    found = verdict_on(f32(1, 2), f32(1, 2), LOOSE, leaves=(got, unknown))
    assert not found.passed
    assert found.reason == "the artifact has 1 trees, but the model has 2"


FLOATS = st.floats(width=32, allow_nan=False)


@given(FLOATS, st.integers(0, 1000))
def test_ulps_count_the_floats_between(start: float, steps: int) -> None:
    bits = np.array(start, np.float32).view(np.int32).astype(np.int64)
    order = bits if bits >= 0 else -(2**31) - bits
    other = order + steps
    if other >= 0x7F800000:
        return
    raw = other if other >= 0 else -(2**31) - other
    end = np.array(raw, np.int64).astype(np.int32).view(np.float32)
    assert ulps(f32(start), end.reshape(1)).tolist() == [steps]
    assert ulps(end.reshape(1), f32(start)).tolist() == [steps]


def test_ulps_of_signed_zeros_and_nan() -> None:
    tiny = np.float32(1e-45)
    assert ulps(f32(0.0, -tiny, np.nan, np.nan), f32(-0.0, tiny, np.nan, 1.0)).tolist() == [0, 2, 0, 2**32]


def test_flips_at_the_cut_off_and_by_the_largest_class() -> None:
    p = f32(0.2, 0.5, 0.50001, 0.9)
    answers = np.stack([1 - p, p], axis=1)
    other = answers[::-1].copy()
    assert flips(BINARY, answers, answers) == 0
    assert flips(BINARY, answers, other) == 4
    assert flips(msgspec.structs.replace(BINARY, threshold=0.95), answers, other) == 0
    assert flips(msgspec.structs.replace(BINARY, threshold=0.0), answers, other) == 0
    three = OutputContract(kind="probability", task="multiclass", labels=("a", "b", "c"))
    assert flips(three, f32([0.5, 0.4, 0.1], [0.1, 0.2, 0.7]), f32([0.4, 0.5, 0.1], [0.2, 0.1, 0.7])) == 1
    assert flips(VALUE, answers[:, :1], other[:, :1]) == 0


def test_the_metric_is_of_the_last_rows() -> None:
    answers = f32(100, 100, 1, 2)
    found = verdict_on(answers, answers, labels=np.array([1.0, 4.0]))
    assert found.parity.metric is not None
    assert found.parity.metric.rows == 2
    assert found.parity.metric.framework == pytest.approx(np.sqrt(2))


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [0, 1, 2, 4, 1028, 1029, 3000])
def test_rows_are_asked_in_batches_of_every_kind(rows: int) -> None:
    asked: list[int] = []

    def predict(batch: Any) -> Any:
        asked.append(len(batch))
        return batch[:, :2]

    given_rows = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    assert np.array_equal(in_batches(predict, Given(given_rows), 2), given_rows[:, :2])
    assert asked[0] == 0
    assert sum(asked) == rows
    assert asked[:4] == [min(size, max(rows - sum(parity.BATCHES[:i]), 0)) for i, size in enumerate(parity.BATCHES)]


@pytest.mark.parametrize(
    ("predict", "said"),
    [
        (lambda batch: np.zeros((len(batch), 1), np.float32), r"0 rows gave an answer of shape \[0, 1\], not \[0, 2\]"),
        (lambda batch: np.zeros((max(len(batch), 1), 2), np.float32), r"shape \[1, 2\], not \[0, 2\]"),
        (lambda batch: np.zeros((len(batch), 2)), "float64, not float32"),
    ],
)
def test_answers_of_a_wrong_shape_or_type(predict: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        in_batches(predict, Given(np.zeros((10, 3), np.float32)), 2)
