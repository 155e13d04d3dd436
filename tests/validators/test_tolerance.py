"""Tolerances: as the user gives them, and as they follow from the size of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.forests import hard_rows, program_of, random_forest

from millwork.errors import UsageError
from millwork.passes import linear as lines
from millwork.passes.forest import SUNK, VECTOR_LEAF, Forest, leaves, margins
from millwork.passes.program import transform
from millwork.validators.rows.linear_rows import linear_rows
from millwork.validators.tolerance import SHARES, derive, derive_linear, given_of_precision, parse


def test_what_the_user_gives() -> None:
    assert (parse("abs=1e-6,rel=1e-5").abs, parse("abs=1e-6,rel=1e-5").rel) == (1e-6, 1e-5)
    assert (parse(" rel=1e-5 , abs=0 ").abs, parse("rel=0").rel) == (0, 0)
    assert "1e-05 x |framework's answer| (given by --tolerance)" in parse("rel=1e-5").words


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "1e-5",
        "abs",
        "abs=",
        "abs=x,rel=1",
        "rel=-1",
        "rel=nan",
        "rel=inf",
        "ulp=3",
        "abs=1e-3;rel=1",
        "rel=1,",
        "rel=1e-5,extra=1",
    ],
)
def test_what_is_no_tolerance(spec: str) -> None:
    with pytest.raises(UsageError, match=r"isn't abs=NUMBER or rel=NUMBER\nExample: abs=1e-6,rel=1e-5\."):
        parse(spec)


def test_an_absolute_bound_alone_is_no_test() -> None:
    with pytest.raises(UsageError, match=r"an absolute bound alone doesn't test small answers\nAdd rel="):
        parse("abs=1e-3")


@pytest.mark.parametrize("spec", ["rel=1e-5,rel=1", "abs=1e-3,abs=1,rel=0"])
def test_a_bound_given_twice(spec: str) -> None:
    with pytest.raises(UsageError, match="twice"):
        parse(spec)


def summed(forest: Forest, leaf: Any, order: Any) -> Any:
    """Margins in float32, the terms of each output (its base score among them) added in another order."""
    out = np.zeros((len(leaf), forest.n_outputs), np.float32)
    for k in range(forest.n_outputs):
        terms = [np.full(len(leaf), forest.base_scores[k], np.float32)]
        for t in np.flatnonzero((forest.tree_output == k) | (forest.tree_output == VECTOR_LEAF)):
            d = k if forest.tree_output[t] == VECTOR_LEAF else 0
            terms.append(forest.leaf_value[leaf[:, t], d].astype(np.float32))
        for term in order(terms):
            out[:, k] += term
    return out


@given(
    seed=st.integers(0, 10**9),
    trees=st.integers(1, 120),
    outputs=st.integers(1, 3),
    vector=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    postprocess=st.sampled_from(["identity", "sigmoid", "softmax", "exp"]),
)
@settings(max_examples=60, deadline=None)
def test_float32_sums_in_any_order_stay_inside(
    seed: int, trees: int, outputs: int, vector: bool, dtype: type, postprocess: Any
) -> None:
    rng = np.random.default_rng(seed)
    forest = random_forest(seed, trees=trees, outputs=outputs, vector_leaves=vector, dtype=dtype)
    noise = rng.normal(size=forest.leaf_value.shape) * 10.0 ** rng.integers(-4, 1)
    forest = replace(forest, leaf_value=np.where(forest.is_leaf[:, None], noise, 0).astype(dtype))
    program = program_of(forest, postprocess)
    leaf = leaves(forest, hard_rows(seed, 60, 5))
    allowed = derive(program, leaf)
    wanted = transform(postprocess, margins(forest, leaf)).astype(np.float32).astype(np.float64)
    for order in (rng.permutation, lambda terms: terms[::-1], lambda terms: np.sort(np.stack(terms), axis=0)):
        got = transform(postprocess, summed(forest, leaf, order)).astype(np.float64)
        assert np.all(np.abs(got - wanted) <= allowed.abs + allowed.rel * np.abs(wanted))


def test_the_bound_grows_with_the_trees_of_an_output_not_of_all() -> None:
    one, four = random_forest(1, trees=20), random_forest(1, trees=20, outputs=4)
    rows = hard_rows(1, 100, 5)
    bounds = [derive(program_of(forest), leaves(forest, rows)) for forest in (one, four)]
    assert "sums of 20 trees" in bounds[0].why
    assert "sums of 5 trees" in bounds[1].why
    assert bounds[1].abs < bounds[0].abs


@pytest.mark.parametrize("postprocess", ["identity", "binary", "softmax", "exp"])
def test_nothing_is_compared_by_an_absolute_bound_alone(postprocess: Any) -> None:
    forest = random_forest(2, trees=30, outputs=1 if postprocess == "binary" else 3)
    found = derive(program_of(forest, postprocess), leaves(forest, hard_rows(2, 50, 5)))
    assert found.rel > 0
    assert found.abs < 1e-3
    assert found.rel < 1e-3


@pytest.mark.parametrize("precision", SHARES)
def test_what_is_given_for_a_net_leaves_its_decisions_as_limited_as_they_are(precision: str) -> None:
    found = given_of_precision("abs=1e-3,rel=1e-2", precision)
    assert (found.abs, found.rel) == (1e-3, 1e-2)
    assert (found.share, found.flips) == SHARES[precision][2:]


@given(
    seed=st.integers(0, 10**9),
    features=st.integers(1, 40),
    outputs=st.integers(1, 3),
    postprocess=st.sampled_from(["identity", "sigmoid", "softmax", "exp"]),
)
@settings(max_examples=150, deadline=None)
def test_products_added_in_another_order_stay_within_it(
    seed: int, features: int, outputs: int, postprocess: Any
) -> None:
    """Large numbers among them, whose row's sum is they alone."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(features, outputs)).astype(np.float32)
    model = lines.Linear(weight=weight, bias=rng.normal(size=outputs).astype(np.float32))
    rows = linear_rows(model, features, 200, rng)
    allowed = derive_linear(model, postprocess, rows)
    order = rng.permutation(features)
    present = np.nan_to_num(rows[:, order])
    with np.errstate(over="ignore"):
        other = (present[:, :, None] * weight[order]).sum(axis=1, dtype=np.float32) + model.bias
        one, two = transform(postprocess, lines.margins(model, rows)), transform(postprocess, other)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        near = np.abs(one.astype(np.float64) - two) <= allowed.abs + allowed.rel * np.abs(one)
    assert np.all(same | near)


def test_a_large_number_alone_in_its_row_allows_nothing_more() -> None:
    model = lines.Linear(weight=np.array([[0.5], [2.0]], np.float32), bias=np.zeros(1, np.float32))
    rows = np.array([[1.0, 2.0], [np.nan, 3.0]], np.float32)
    large = np.array([[1e30, 1.0], [3.0, -1e37], [1e9, 1.0], [np.nan, 1e9]], np.float32)
    usual = derive_linear(model, "identity", rows)
    assert usual.why.endswith("up to 6 a row")
    assert derive_linear(model, "identity", np.concatenate([rows, large])) == usual
    both = np.array([[1e9, 1e9]], np.float32)
    assert derive_linear(model, "identity", np.concatenate([rows, both])).why.endswith("up to 2.5e+09 a row")


def test_an_answer_that_is_always_zero_leaves_the_others_their_tolerance() -> None:
    """Its base score stands for minus infinity, and is no size that float32 rounds."""
    forest = random_forest(3, outputs=2)
    sunk = replace(forest, base_scores=np.array([SUNK, forest.base_scores[1]], np.float32))
    leaf = leaves(forest, hard_rows(3, 50, 5))
    bound, plain = derive(program_of(sunk, "exp"), leaf), derive(program_of(forest, "exp"), leaf)
    assert bound.rel <= plain.rel < 1e-3
    assert bound.abs == 0
