"""A program's text parses back to the bit, says what it doesn't cover, and names the line that it can't read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.encoders import random_program
from models.forests import one_sided, perfect_forest, program_of, random_forest

from millwork.errors import ModelError
from millwork.passes import pass_table, text
from millwork.passes.base import run
from millwork.passes.forest import Forest
from millwork.passes.linear import Linear
from millwork.passes.program import POSTPROCESSES, Decision, MissingSentinel, Program
from millwork.passes.text_lines import float_text, read_float

FORESTS = st.builds(
    random_forest,
    st.integers(0, 10**9),
    trees=st.integers(0, 6),
    depth=st.integers(0, 6),
    features=st.integers(2, 6),
    categorical=st.integers(0, 2),
    outputs=st.integers(1, 3),
    comparison=st.sampled_from(["<", "<="]),
    vector_leaves=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
)
DOUBLES = st.floats(width=64, allow_nan=False)
DECISIONS = st.builds(Decision, how=st.sampled_from(["second", "each", "largest"]), cut=DOUBLES)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_forests(a: Forest, b: Forest) -> bool:
    rest = [(f.n_features, f.comparison, f.reduction) for f in (a, b)]
    arrays = zip(a.arrays().values(), b.arrays().values(), strict=True)
    return rest[0] == rest[1] and all(same_bits(*pair) for pair in arrays)


def same_programs(a: Program, b: Program) -> bool:
    """All that isn't an array by its ``repr``: it tells -0.0 from 0.0."""
    rest = [repr({k: v for k, v in vars(p).items() if k not in ("forest", "columns")}) for p in (a, b)]
    return rest[0] == rest[1] and same_bits(a.columns, b.columns) and same_forests(a.forest, b.forest)


@given(forest=FORESTS, average=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_forest_parses_back_to_the_bit(forest: Forest, average: bool) -> None:
    forest = replace(forest, reduction="average" if average else "sum")
    assert same_forests(text.parse_forest(text.forest_text(forest)), forest)


@given(
    forest=FORESTS,
    seed=st.integers(0, 10**9),
    columns=st.sampled_from(["threshold", "default_left", "leaf_value", "leaf_number", "feature", "right"]),
)
@settings(max_examples=60, deadline=None)
def test_what_a_node_of_its_kind_does_not_use_parses_back_too(forest: Forest, seed: int, columns: str) -> None:
    """Thresholds and directions of leaves, values and numbers of tests: any bits may stand there."""
    rng = np.random.default_rng(seed)
    used = forest.is_leaf if columns in ("leaf_value", "leaf_number") else ~forest.is_leaf
    old = getattr(forest, columns)
    new = rng.choice([-0.0, 1e-45, 3.0, 0.1], old.shape).astype(old.dtype)
    mask = used if old.ndim == 1 else used[:, None]
    forest = forest.replacing(**{columns: np.where(mask, old, new).astype(old.dtype)})
    assert same_forests(text.parse_forest(text.forest_text(forest)), forest)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_float_parses_back_to_the_bit(dtype: Any, data: st.DataObject) -> None:
    value = dtype(data.draw(st.floats(width=np.dtype(dtype).itemsize * 8, allow_nan=False)))
    assert same_bits(np.array(read_float(float_text(value), dtype)), np.array(value))


@pytest.mark.parametrize("value", [0.0, -0.0, np.inf, -np.inf, 1e-45, 3.4028235e38, 0.1, 1.17549435e-38])
def test_odd_thresholds_parse_back(value: float) -> None:
    forest = random_forest(2, trees=3)
    odd = forest.replacing(threshold=np.where(forest.is_leaf, 0, value).astype(np.float32))
    assert same_forests(text.parse_forest(text.forest_text(odd)), odd)


def test_forests_that_a_generator_lays_out_otherwise_parse_back() -> None:
    for forest in (one_sided(40, np.random.default_rng(0)), perfect_forest(1, [3, 0, 5], outputs=2, dtype=np.float64)):
        assert same_forests(text.parse_forest(text.forest_text(forest)), forest)


@given(
    forest=FORESTS,
    postprocess=st.sampled_from(POSTPROCESSES),
    missing=st.none() | DOUBLES | st.just(float("nan")),
    rounds=st.none() | st.integers(0, 9),
    per_round=st.integers(0, 4),
    sentinels=st.lists(DOUBLES, max_size=3),
    decision=st.none() | DECISIONS,
    more=st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_a_program_parses_back_to_the_bit(
    forest: Forest,
    postprocess: Any,
    missing: float | None,
    rounds: int | None,
    per_round: int,
    sentinels: list[float],
    decision: Decision | None,
    more: int,
) -> None:
    program = Program(
        forest=forest,
        postprocess=postprocess,
        columns=np.arange(forest.n_features, dtype=np.int32)[::-1] + np.int32(more),
        n_columns=forest.n_features + more,
        encoders=tuple(MissingSentinel(value=value) for value in sentinels),
        missing=missing,
        n_iterations=rounds,
        trees_per_iteration=per_round,
        decision=decision,
    )
    assert same_programs(text.parse_program(text.program_text(program)), program)


def test_what_lowering_makes_parses_back() -> None:
    program = replace(program_of(random_forest(3, trees=20, depth=7, categorical=1)), missing=-999.0, n_iterations=8)
    lowered = run(pass_table.LOWERING, program).program
    assert same_programs(text.parse_program(text.program_text(lowered)), lowered)


def test_the_example_of_the_docstring_is_one() -> None:
    _, _, rest = (text.__doc__ or "").partition("::\n\n")
    example = "".join(f"{line[4:]}\n" for line in rest.split("\n\n")[0].splitlines())
    assert text.program_text(text.parse_program(example)) == example


def test_a_change_in_one_tree_moves_no_line_of_another() -> None:
    forest = random_forest(4, trees=5, depth=3)
    program = program_of(forest)
    lowered = pass_table.PASSES["merge-equal-leaves"].apply(program).program
    before, after = (text.program_text(p).split("tree ")[1:] for p in (program, lowered))
    assert forest.n_nodes > lowered.forest.n_nodes
    assert [a == b for a, b in zip(before, after, strict=True)].count(True) >= 2


def test_what_is_not_covered_is_refused() -> None:
    program = program_of(random_forest(1))
    linear = Linear(np.zeros((5, 1), np.float32), np.zeros(1, np.float32))
    encoded, _, _ = random_program(1, integer=True)
    for refused in (replace(program, linear=linear), encoded):
        with pytest.raises(ModelError, match="covers neither categories' values nor a linear model"):
            text.program_text(refused)
    with pytest.raises(ModelError, match="covers columns in int32 only"):
        text.program_text(replace(program, columns=program.columns.astype(np.int64)))
    with pytest.raises(ModelError, match="covers tree_start in int32 only"):
        text.forest_text(program.forest.replacing(tree_start=program.forest.tree_start.astype(np.int64)))
    with pytest.raises(ModelError, match="both float32 or both float64"):
        text.forest_text(program.forest.replacing(base_scores=program.forest.base_scores.astype(np.float64)))
    with pytest.raises(ModelError, match="a node points at a child"):
        text.forest_text(program.forest.replacing(left=np.where(program.forest.is_leaf, -1, 99).astype(np.int32)))


STUMP = """
# a tree of one test
postprocess identity
columns 0 of 1
comparison <
features 1
leaves float32 x 1
base_scores 0.5

tree 0 -> output 0
  0: x0 < 1.5 ? 1 : 2, nan left
  1: leaf 0 = 0.25
  2: leaf 1 = 0.5
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("identity", "identical", "line 3: 'identical' is none of identity, sigmoid"),
        ("columns 0 of 1", "columns 0 of one", "line 4: invalid literal"),
        ("columns 0 of 1", "columns 4294967296 of 1", "line 4: 4294967296 is too large for int32"),
        ("comparison", "comparator", "line 5: expected 'comparison', found 'comparator <'"),
        ("float32 x 1", "float16 x 1", "line 7: 'float16' is none of float32, float64"),
        ("float32 x 1", "float32 x 7", "leaves of 7 values for 1 outputs"),
        ("base_scores 0.5", "base_scores 1e39", "line 8: 1e39 is too large for float32"),
        ("base_scores 0.5", "", "line 10: expected 'base_scores', found 'tree 0 -> output 0'"),
        ("tree 0", "tree 1", "line 10: expected number 0, found '1 -> output 0'"),
        ("output 0", "output 1", "a tree adds to an output that the model doesn't have"),
        ("  1: leaf", "  3: leaf", "line 12: expected node 1, found '3: leaf 0 = 0.25'"),
        ("x0 < 1.5", "x0 <= 1.5", "line 11: a test that isn't <: '0: x0 <= 1.5"),
        ("x0 < 1.5", "x0 > 1.5", "line 11: '0: x0 > 1.5 .* is no node"),
        ("x0 < 1.5", "x0 < nan", "a threshold is NaN"),
        ("= 0.25", "= 0.25,1.0", "line 12: a leaf of other than 1 values"),
        ("= 0.25", "= 0.25; colour=3", "line 12: a column that nodes don't have"),
        ("= 0.25", "= 0.25; leaf_value=3", "line 12: a column that nodes don't have, or that stands there twice"),
        ("? 1 : 2", "? 1 : 1", "a node is the child of two nodes"),
        ("? 1 : 2", "? 1 : 2147483648", "line 11: 2147483648 is too large"),
        ("  2: leaf 1 = 0.5\n", "  2: leaf 1 = 0.5\nthe end\n", "line 14: 'the end' is no node"),
        (STUMP, "", "line 1: expected 'postprocess', found 'the end'"),
    ],
)
def test_a_text_that_is_none_of_ours_is_refused_at_its_line(old: str, new: str, says: str) -> None:
    assert old in STUMP
    text.parse_program(STUMP)
    with pytest.raises(ModelError, match=says):
        text.parse_program(STUMP.replace(old, new, 1))


@given(
    seed=st.integers(0, 9),
    at=st.floats(0, 1),
    cut=st.integers(0, 3),
    put=st.text("0123456789 x<=:?,;-.\nae", max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_a_damaged_text_is_refused_or_is_another_program(seed: int, at: float, cut: int, put: str) -> None:
    given_text = text.program_text(program_of(random_forest(seed, trees=3, depth=2, categorical=1)))
    place = int(at * len(given_text))
    damaged = given_text[:place] + put + given_text[place + cut :]
    try:
        found = text.parse_program(damaged)
    except ModelError:
        return
    assert same_programs(text.parse_program(text.program_text(found)), found)
