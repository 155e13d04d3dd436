"""Rows far beyond the data: what is made, and what an fp32 net must answer there."""

from __future__ import annotations

import numpy as np
import pytest

from millwork.validators import far_rows

RNG = np.random.default_rng(0)
SEEN = RNG.normal(size=(200, 4)).astype(np.float32)


def test_each_column_and_all_together_go_10_100_and_10_000_times_beyond_the_data() -> None:
    blocks = np.split(far_rows.made(SEEN, RNG), 3)
    for times, rows in zip(far_rows.TIMES, blocks, strict=True):
        together, alone = rows[: far_rows.TOGETHER], rows[far_rows.TOGETHER :]
        assert (np.abs(together) / times <= np.abs(SEEN).max() * 1.001).all()
        assert np.abs(together).max(axis=0).min() > np.abs(SEEN).max() * times / 10
        assert ((np.abs(alone) > np.abs(SEEN).max()).sum(axis=1) <= 1).all()


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x).astype(np.float32)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (softplus, ""),
        (lambda x: np.log1p(np.exp(x)), "at 100 times the range of the data: inf where the framework says"),
        (lambda x: np.where(x > 1e4, np.nan, softplus(x)), "nan where the framework says"),
        (lambda x: softplus(x) * np.float32(1.01), "10 times the range of the data"),
    ],
)
def test_fp32_answers_as_the_framework_does_there(answer, said: str) -> None:  # type: ignore[no-untyped-def]
    rows = far_rows.made(SEEN, np.random.default_rng(1)).sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        wrong = far_rows.wrong(softplus(rows), answer(rows).astype(np.float32), labels=False)
    assert said in wrong
    assert bool(wrong) == bool(said)


def test_a_row_that_the_framework_answers_with_no_number_judges_nothing() -> None:
    framework = np.full((9, 1), np.inf, np.float32)
    assert not far_rows.wrong(framework, np.zeros((9, 1), np.float32), labels=False)


def test_it_is_said_from_where_on_a_lower_precision_gives_no_number() -> None:
    rows = np.repeat(np.float32([1e3, 1e4, 1e6]), 10)[:, None]
    lower = np.where(rows > 65504, np.inf, rows)
    said = far_rows.finding(rows, lower.astype(np.float32), "fp16")
    assert "fp16 answers 10 of 10 rows at 10,000 times the range of the data" in said
    assert not far_rows.finding(rows, rows, "fp16")
