"""Reading a server's reasons, and how golden rows are cut into requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millwork.triton.client import reason
from millwork.triton.golden import batches


@given(rows=st.integers(1, 5000), limit=st.integers(0, 600))
def test_every_row_is_sent_once_and_no_request_is_too_large(rows: int, limit: int) -> None:
    sizes = batches(rows, limit)
    assert sum(sizes) == rows
    assert sizes[0] == 1
    assert all(0 < size <= (limit or rows) for size in sizes)


@pytest.mark.parametrize(
    ("rows", "limit", "sizes"), [(1, 8, [1]), (3, 8, [1, 2]), (20, 8, [1, 3, 8, 8]), (4, 1, [1, 1, 1, 1])]
)
def test_one_row_then_three_then_as_many_as_the_model_takes(rows: int, limit: int, sizes: list[int]) -> None:
    assert batches(rows, limit) == sizes


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: KeyError: 'x'\n\nAt:\n m.py\n;\n",
            "KeyError: 'x'",
        ),
        ("failed to load 'm', failed to poll from model repository", "failed to poll from model repository"),
        ("Internal: ", "Internal: "),
        ("", "the server gave no reason"),
    ],
)
def test_a_reason_is_the_first_line_without_its_wrapping(message: str, said: str) -> None:
    assert reason(message).strip() == said.strip()
