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
from millwork.passes.forest import VECTOR_LEAF, Forest, leaves, margins
from millwork.passes.program import transform
from millwork.validators.tolerance import derive, parse


def test_what_the_user_gives() -> None:
    assert (parse("abs=1e-6,rel=1e-5").abs, parse("abs=1e-6,rel=1e-5").rel) == (1e-6, 1e-5)
    assert (parse(" rel=1e-5 , abs=0 ").abs, parse("rel=0").rel) == (0, 0)
    assert "1e-05 x |framework's answer| (given by --tolerance)" in parse("rel=1e-5").words


@pytest.mark.parametrize("spec", ["", "1e-5", "abs", "abs=", "abs=x,rel=1", "rel=-1", "rel=nan", "rel=inf", "ulp=3",
                                  "abs=1e-3;rel=1", "rel=1,", "rel=1e-5,extra=1"])  # fmt: skip
def test_what_is_no_tolerance(spec: str) -> None:
    with pytest.raises(UsageError, match=r"isn't abs=NUMBER or rel=NUMBER\nExample: abs=1e-6,rel=1e-5\."):
        parse(spec)


def test_an_absolute_bound_alone_is_no_test() -> None:
    with pytest.raises(UsageError, match=r"an absolute bound alone is no test\nAdd rel="):
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
    seed=st.integers(0, 10**9), trees=st.integers(1, 120), outputs=st.integers(1, 3), vector=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64]),
    postprocess=st.sampled_from(["identity", "sigmoid", "softmax", "exp"]),
)  # fmt: skip
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
