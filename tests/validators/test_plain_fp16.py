"""What plain fp16 thresholds would do, counted; and the rows that are answered worst."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from models.forests import hard_rows, program_of, random_forest

from millwork.passes.forest import Forest, leaves
from millwork.validators.plain_fp16 import finding, share
from millwork.validators.rows.given import Given
from millwork.validators.worst_rows import MOST, worst_rows
from millwork.values import FeatureContract


def stump(threshold: float) -> Forest:
    """x < threshold, in one tree of two leaves."""
    return Forest(
        tree_start=np.array([0, 3], np.int32),
        feature=np.array([0, -1, -1], np.int32),
        threshold=np.array([threshold, 0, 0], np.float32),
        left=np.array([1, -1, -1], np.int32),
        right=np.array([2, -1, -1], np.int32),
        default_left=np.zeros(3, np.bool_),
        leaf_value=np.array([[0.0], [1.0], [2.0]], np.float32),
        leaf_number=np.array([-1, 1, 2], np.int32),
        tree_output=np.zeros(1, np.int32),
        base_scores=np.zeros(1, np.float32),
        n_features=1,
        comparison="<",
    )


def column(*values: float) -> Given:
    return Given(np.array(values, np.float32)[:, None])


def test_rows_between_a_threshold_and_its_fp16_are_counted_and_no_others() -> None:
    # fp16 has no number between 2048 and 2050: 2049 -> 2048 (ties to even), and 2048.5 with it.
    said = finding(program_of(stump(2049.0)), column(2048.5, 2048.0, 1.0, 3000.0), 0, 0)
    assert said.startswith("plain fp16 thresholds would send 50.0% of your rows to another leaf in some tree")
    assert "50.0% of all rows and trees, 4 rows looked at" in said
    assert said.endswith("rank encoding moves none")


def test_what_fp16_holds_moves_nothing_and_a_number_beyond_it_does() -> None:
    assert "would move none of your rows (3 looked at)" in finding(program_of(stump(0.5)), column(0.25, 0.5, 1), 0, 0)
    beyond = finding(program_of(stump(70_000.0)), column(66_000.0, 1.0, 80_000.0, np.nan), 0, 0)
    assert "send 25.0% of your rows" in beyond  # 66,000 and 70,000 are both infinite


def test_the_users_rows_are_looked_at_where_there_are_any() -> None:
    given = column(2048.5, 2048.5, 1.0)
    assert "move none of your rows (1 looked at)" in finding(program_of(stump(2049.0)), given, 2, 0)
    assert "send 66.7% of the adversarial rows" in finding(program_of(stump(2049.0)), given, 3, 0)


@pytest.mark.parametrize(
    ("mismatches", "words"),
    [
        (0, "rank encoding moves none"),
        (1204, "rank encoding moved 1,204 (row, tree) pairs"),
        (None, "rank encoding wasn't checked on them"),
    ],
)
def test_rank_encoding_is_said_to_do_what_it_was_seen_to_do(mismatches: int | None, words: str) -> None:
    assert words in finding(program_of(stump(2049.0)), column(2048.5), 0, mismatches)


def test_a_forest_of_leaves_or_categories_has_no_finding() -> None:
    alone = random_forest(0, depth=0)
    assert finding(program_of(alone), Given(hard_rows(0, 5, 5)), 0, 0) == ""


@pytest.mark.parametrize("categorical", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_the_count_is_that_of_each_row_and_tree_on_its_own(seed: int, categorical: int) -> None:
    forest, rows = random_forest(seed, categorical=categorical), hard_rows(seed, 60, 5, categorical)
    said = finding(program_of(forest), Given(rows), 0, 0)
    with np.errstate(over="ignore"):
        low = [np.float32(np.float16(t)) for t in forest.threshold]
        narrowed = [
            [x if j >= 5 - categorical else np.float32(np.float16(x)) for j, x in enumerate(row)] for row in rows
        ]
    coarse = forest.replacing(threshold=np.array(low, np.float32))
    moved = [
        leaves(forest, row[None]) != leaves(coarse, np.array(one, np.float32)[None])
        for row, one in zip(rows, narrowed, strict=True)
    ]
    count = sum(bool(one.any()) for one in moved)
    assert (f"send {share(count, 60)} of your rows" in said) if count else ("move none" in said)


@pytest.mark.parametrize(
    ("count", "of", "words"),
    [(1, 10**6, "under 0.01%"), (13, 1000, "1.3%"), (1, 300, "0.33%"), (9_999, 10_000, "over 99.9%"), (5, 5, "100.0%")],
)
def test_a_share_that_is_not_none_does_not_read_as_none(count: int, of: int, words: str) -> None:
    assert share(count, of) == words


# ── the rows that are answered worst ──────────────────────────────────────────────────────────────────────


def worst(framework: Any, candidate: Any, adversarial: int = 0) -> Any:
    given = column(*(10.0 * i for i in range(len(framework))))
    both = (np.array(answers, np.float32)[:, None] for answers in (framework, candidate))
    return worst_rows(given, *both, FeatureContract(names=("age",), named=True), adversarial)


def test_the_worst_rows_come_first_with_their_inputs_and_both_answers() -> None:
    found = worst([1, 2, 3, 4], [1, 2.5, 5, 4.25])
    assert [line.row for line in found] == [2, 1, 3]
    assert (found[0].inputs, found[0].framework, found[0].candidate) == ((("age", "20"),), ("3",), ("5",))
    assert [line.difference for line in found] == [2, 0.5, 0.25]


def test_rows_are_counted_from_the_first_of_the_users() -> None:
    assert [line.row for line in worst([1, 2, 3], [1.5, 2, 3.25], adversarial=2)] == [-2, 0]


def test_a_nan_for_a_number_is_worst_and_the_same_nan_is_not_listed() -> None:
    found = worst([1, np.nan, 3, np.inf], [9, np.nan, np.nan, np.inf])
    assert [line.row for line in found] == [2, 0]
    assert found[0].candidate == ("nan",)
    assert np.isfinite(found[0].difference)


def test_no_more_than_five_are_kept_and_none_where_all_are_the_same() -> None:
    assert len(worst(range(50), [x + 1 for x in range(50)])) == MOST
    assert worst([1, 2], [1, 2]) == ()


def test_a_long_row_is_cut_and_json_can_hold_it() -> None:
    given = Given(np.full((1, 500), np.nan, np.float32))
    contract = FeatureContract(names=tuple(f"f{i}" for i in range(500)), named=False)
    (found,) = worst_rows(given, np.zeros((1, 20), np.float32), np.ones((1, 20), np.float32), contract, 0)
    assert (len(found.inputs), len(found.framework)) == (40, 8)
    assert all(re.fullmatch("nan", value) for _, value in found.inputs)
