"""``--traffic``: batch sizes with their shares of the requests."""

from __future__ import annotations

import pytest

from millwork.errors import UsageError
from millwork.validators.traffic import DEFAULT, LARGEST_BATCH, parse


def pairs(spec: str) -> list[tuple[int, float]]:
    return [(share.batch, share.share) for share in parse(spec)]


def test_shares_add_up_to_1_in_order_of_size() -> None:
    assert pairs("batch=64:1,1:3") == [(1, 0.75), (64, 0.25)]
    assert pairs("batch=1:0.8,16:0.15,256:0.05") == [(1, 0.8), (16, pytest.approx(0.15)), (256, pytest.approx(0.05))]
    assert sum(share for _, share in pairs(DEFAULT)) == pytest.approx(1)


def test_a_size_without_a_share_is_one_part() -> None:
    assert pairs("batch=64") == [(64, 1.0)]
    assert pairs("batch=1,8") == [(1, 0.5), (8, 0.5)]
    assert pairs("batch=1:.5,8:0.5") == [(1, 0.5), (8, 0.5)]
    assert pairs(f"batch={LARGEST_BATCH}") == [(LARGEST_BATCH, 1.0)]


@pytest.mark.parametrize(
    "spec",
    ["", "64", "batch", "batch=", "batch=0", "batch=-1", "batch=1.5", "batch=1:", "batch=1:0", "batch=1:-1",
     "batch=1:nan", "batch=1,1", "batch=1;2", "batch=1 batch=2", "batch=1,", "batch=one", "batch=1:0.5:3",
     f"batch={LARGEST_BATCH + 1}", "batch=" + "9" * 5000, "size=3", "batch=1 share=2", "batch=1:" + "9" * 400],
)  # fmt: skip
def test_what_is_no_traffic(spec: str) -> None:
    with pytest.raises(UsageError, match=r"isn't batch sizes with shares\nExample: 'batch=1:0\.9,64:0\.1'"):
        parse(spec)


@pytest.mark.parametrize("spec", ["batch=1 rate=100", "clients=4 batch=8"])
def test_what_the_tuner_alone_would_know_what_to_do_with(spec: str) -> None:
    with pytest.raises(UsageError, match=r"(rate|clients)= is not supported in this version"):
        parse(spec)
