"""Optimization profiles out of batch sizes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from millwork.compile.backends.tensorrt import profiles


def test_each_batch_size_is_tuned_for() -> None:
    assert profiles.of((64, 1), largest=4096) == ((1, 1, 1), (2, 64, 4096))
    assert profiles.of((8,)) == ((1, 8, 8),)
    assert profiles.of((), largest=16) == ((1, 1, 16),)


def test_of_many_the_nearest_share_one() -> None:
    found = profiles.of((1, 2, 64, 65, 66, 4096), most=3)
    assert found == ((1, 2, 2), (3, 66, 66), (67, 4096, 4096))


@given(st.lists(st.integers(1, 5000), max_size=12), st.integers(1, 10_000), st.integers(1, 5))
def test_every_batch_has_one_profile(batches: list[int], largest: int, most: int) -> None:
    found = profiles.of(batches, largest, most)
    assert 1 <= len(found) <= most
    assert found[0][0] == 1
    assert found[-1][2] == max([largest, *batches])
    assert all(low <= tuned <= high for low, tuned, high in found)
    assert all(after[0] == before[2] + 1 for before, after in itertools.pairwise(found)), "no gap, no overlap"
    assert {tuned for _, tuned, _ in found} <= {*batches, 1}
