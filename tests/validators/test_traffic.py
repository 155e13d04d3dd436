"""``--traffic``: batch sizes with their shares of the requests, and how these arrive."""

from __future__ import annotations

import pytest

from millwork.errors import UsageError
from millwork.validators.traffic import ASSUMED_CLIENTS, DEFAULT, LARGEST_BATCH, default, parse


def pairs(spec: str) -> list[tuple[int, float]]:
    return [(share.batch, share.share) for share in parse(spec).shares]


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
    ("spec", "rate", "clients"),
    [
        ("batch=1 rate=2000/s", 2000, None),
        ("batch=1:0.8,16:0.2 rate=90/min", 1.5, None),
        ("rate=7200/h batch=4", 2, None),
        ("batch=64 clients=4", None, 4),
        ("clients=32", None, 32),
        ("batch=8", None, ASSUMED_CLIENTS),
    ],
)
def test_how_requests_arrive(spec: str, rate: float | None, clients: int | None) -> None:
    found = parse(spec)
    assert (found.rate, found.clients) == (rate, clients)
    assert found.open == (rate is not None)
    assert bool(found.assumed) == ("rate" not in spec and "clients" not in spec), "what nobody said is told"
    assert parse(found.words).shares == found.shares, "what is printed can be given again"
    assert parse(found.words).rate == found.rate


def test_rows_of_a_request_on_average() -> None:
    assert parse("batch=1:0.5,101:0.5").rows_a_request == pytest.approx(51)
    assert default().words == DEFAULT


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "64",
        "batch",
        "batch=",
        "batch=0",
        "batch=-1",
        "batch=1.5",
        "batch=1:",
        "batch=1:0",
        "batch=1:-1",
        "batch=1:nan",
        "batch=1,1",
        "batch=1;2",
        "batch=1 batch=2",
        "batch=1,",
        "batch=one",
        "batch=1:0.5:3",
        f"batch={LARGEST_BATCH + 1}",
        "batch=" + "9" * 5000,
        "size=3",
        "batch=1 share=2",
        "batch=1:" + "9" * 400,
        "rate=1/s rate=2/s",
        "batch=1  clients=1 clients=1",
    ],
)
def test_what_is_no_traffic(spec: str) -> None:
    with pytest.raises(UsageError, match=r"must say batch sizes with their shares(.|\n)*'batch=64 clients=4'"):
        parse(spec)


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("nothing.csv", "nothing.csv: there is no such file"),
        ("rate=0/s", "rate=0/s isn't a number of requests a second"),
        ("rate=fast", "rate=fast isn't"),
        ("rate=3/day", "rate=3/day isn't"),
        ("rate=99999999/s", "at most 1,000,000"),
        ("clients=0", "expected 1 to 4096"),
        ("clients=2.5", "expected 1 to 4096"),
        ("clients=4 rate=1/s", "Give one of them"),
    ],
)
def test_rates_and_clients_that_cannot_be(spec: str, phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        parse(spec)
