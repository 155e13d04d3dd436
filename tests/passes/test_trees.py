"""No row's answer moves by a bit through any pass, and each pass says what it did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.forests import hard_rows, program_of, random_forest

from millwork.passes import pass_table
from millwork.passes.base import run
from millwork.passes.forest import Ints, leaves, margins
from millwork.passes.program import Program, encode, first_trees
from millwork.passes.program import run as answers
from millwork.passes.trees import reach
from millwork.passes.trees.tree_pass import leaf_map

SHAPES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**9),
        "trees": st.integers(1, 8),
        "depth": st.integers(0, 6),
        "features": st.integers(2, 6),
        "categorical": st.integers(0, 2),
        "outputs": st.integers(1, 3),
        "comparison": st.sampled_from(["<", "<="]),
        "vector_leaves": st.booleans(),
        "dtype": st.sampled_from([np.float32, np.float64]),
    }
)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def mapped_leaves_agree(before: Program, after: Program, moved: Ints, rows: np.ndarray) -> bool:
    """Each row's new leaf is what the leaf map makes of its old one, in every tree that is left."""
    old = leaves(before.forest, encode(before, rows))[:, : after.forest.n_trees]
    return np.array_equal(moved[old], leaves(after.forest, encode(after, rows)))


@pytest.mark.parametrize("name", sorted(pass_table.PASSES))
@given(shape=SHAPES, rounds=st.none() | st.integers(0, 8), missing=st.none() | st.sampled_from([-999.0, 0.0, 1.5]))
@settings(max_examples=60, deadline=None)
def test_no_answer_moves_by_a_bit(name, shape, rounds, missing):
    program = replace(program_of(random_forest(**shape)), n_iterations=rounds, missing=missing)
    rows = hard_rows(shape["seed"] + 1, 200, shape["features"], shape["categorical"])
    rewrite = pass_table.PASSES[name].apply(program)
    assert same_bits(answers(program, rows), answers(rewrite.program, rows))
    assert mapped_leaves_agree(program, rewrite.program, rewrite.leaf_map, rows)


@given(shape=SHAPES, rounds=st.none() | st.integers(0, 8), missing=st.none() | st.just(-999.0))
@settings(max_examples=60, deadline=None)
def test_the_whole_lowering_moves_nothing(shape, rounds, missing):
    program = replace(program_of(random_forest(**shape)), n_iterations=rounds, missing=missing)
    rows = hard_rows(shape["seed"] + 1, 200, shape["features"], shape["categorical"])
    lowered = run(pass_table.LOWERING, program)
    assert same_bits(answers(program, rows), answers(lowered.program, rows))
    assert mapped_leaves_agree(program, lowered.program, leaf_map(program, lowered.rewrites), rows)
    assert lowered.program.missing is None
    assert lowered.program.n_iterations is None


def test_a_second_lowering_finds_nothing_to_do():
    program = program_of(random_forest(3, trees=20, depth=7))
    once = run(pass_table.LOWERING, program)
    again = run(pass_table.LOWERING, once.program)
    assert any(note.modified for note in once.notes)
    assert not any(note.modified for note in again.notes)


def chain(tests: list[tuple[float, bool]], *, leaf_values: list[float], nan_left: bool = False):
    """One tree that tests feature 0 down one side: (threshold, the next test is the left child)."""
    forest = random_forest(0, trees=1, depth=0, features=2)
    n = 2 * len(tests) + 1
    feature, threshold = np.full(n, -1, np.int32), np.zeros(n, np.float32)
    left, right = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    value = np.zeros((n, 1), np.float32)
    rest = iter(leaf_values)
    for i, (at, next_is_left) in enumerate(tests):
        node, leaf, following = 2 * i, 2 * i + 1, 2 * i + 2
        feature[node], threshold[node] = 0, at
        left[node], right[node] = (following, leaf) if next_is_left else (leaf, following)
        value[leaf, 0] = next(rest)
    value[n - 1, 0] = next(rest)
    return program_of(
        forest.replacing(
            tree_start=np.array([0, n], np.int32),
            feature=feature,
            threshold=threshold,
            left=left,
            right=right,
            default_left=np.full(n, nan_left) & (left >= 0),
            leaf_value=value,
            leaf_number=np.where(left < 0, np.arange(n), -1).astype(np.int32),
        )
    )


def test_a_repeated_test_is_dropped():
    # x < 1, and inside it x < 2: always true where numbers come; NaN goes right at both, so never reaches the second.
    program = chain([(1.0, True), (2.0, True)], leaf_values=[1, 2, 3])
    rewrite = pass_table.PASSES["drop-unreachable"].apply(program)
    assert rewrite.program.forest.n_nodes == 3
    assert "2 of 5" in rewrite.summary


def test_a_branch_that_only_nan_reaches_is_kept():
    # NaN goes left at the first test, and right at the second where no number can go.
    program = chain([(1.0, True), (2.0, True)], leaf_values=[1, 2, 3])
    nan_first = program.forest.default_left.copy()
    nan_first[0] = True
    program = replace(program, forest=program.forest.replacing(default_left=nan_first))
    assert not pass_table.PASSES["drop-unreachable"].apply(program).modified


def test_infinity_above_the_largest_float_keeps_its_branch():
    largest = float(np.finfo(np.float32).max)
    program = chain([(largest, False)], leaf_values=[1, 2])
    forest = program.forest.replacing(comparison="<=")
    rewrite = pass_table.PASSES["drop-unreachable"].apply(replace(program, forest=forest))
    assert not rewrite.modified
    assert margins(forest, leaves(forest, np.array([[np.inf, 0]], np.float32)))[0, 0] != margins(
        forest, leaves(forest, np.array([[largest, 0]], np.float32))
    )


def test_equal_leaves_merge_and_zero_signs_stay_apart():
    equal = chain([(1.0, True)], leaf_values=[2.0, 2.0])
    assert pass_table.PASSES["merge-equal-leaves"].apply(equal).program.forest.n_nodes == 1
    signed = chain([(1.0, True)], leaf_values=[0.0, -0.0])
    assert not pass_table.PASSES["merge-equal-leaves"].apply(signed).modified


def test_unused_features_leave_the_clients_row_alone():
    program = chain([(1.0, True)], leaf_values=[1.0, 2.0])
    rewrite = pass_table.PASSES["drop-unused-features"].apply(program)
    assert rewrite.program.forest.n_features == 1
    assert rewrite.program.n_columns == 2
    assert rewrite.summary == "1 of 2 features are never tested"


def test_early_stopping_keeps_whole_rounds():
    program = replace(program_of(random_forest(1, trees=6)), n_iterations=2, trees_per_iteration=2)
    rewrite = pass_table.PASSES["slice-iterations"].apply(program)
    assert rewrite.program.forest.n_trees == 4
    assert "4 of 6" in rewrite.summary
    assert np.array_equal(rewrite.program.forest.feature, first_trees(program.forest, 4).feature)


@given(shape=SHAPES)
@settings(max_examples=60, deadline=None)
def test_deep_trees_are_walked_down_to_the_same_bounds(shape):
    """Chains of any length are walked from their root; what reaches a node is the same as by walking up."""
    forest = random_forest(**shape)
    up = reach.reach(forest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reach, "DEEP", 1)
        down = reach.reach(forest)
    for name in ("low", "high", "nan"):
        assert same_bits(getattr(up, name)[~forest.is_leaf], getattr(down, name)[~forest.is_leaf])


def test_a_chain_of_twenty_thousand_tests_is_lowered():
    """As many steps as it has tests: the square of them would take hours. Equal leaves of it merge in one pass."""
    length = 20_000
    tests = [(float(i), False) for i in range(length)]
    program = chain(tests, leaf_values=[float(i % 7) for i in range(length + 1)])
    lowered = run(pass_table.LOWERING, program).program
    assert lowered.forest.n_nodes == program.forest.n_nodes
    same = chain(tests, leaf_values=[1.0] * (length + 1))
    assert run(pass_table.LOWERING, same).program.forest.n_nodes == 1
