"""``--slo``: limits with their units, and what isn't one."""

from __future__ import annotations

import pytest

from millwork.errors import UsageError
from millwork.tuning.slo import objective, parse


@pytest.mark.parametrize(
    ("spec", "quantity", "bound", "least"),
    [
        ("p99<5ms", "latency", 5000, False),
        ("p50<=800us", "latency", 800, False),
        ("p99.9<0.2s", "latency", 200_000, False),
        ("p95 < 2.5ms", "latency", 2500, False),
        ("throughput>=3000/s", "requests", 3000, True),
        ("throughput>1e3/s".replace("1e3", "1000"), "requests", 1000, True),
        ("throughput>=64000rows/s", "rows", 64_000, True),
        ("memory<2GiB", "memory", 2 << 30, False),
        ("memory<512MiB", "memory", 512 << 20, False),
        ("cores<=4", "cores", 4, False),
        ("refused<1%", "refused", 0.01, False),
    ],
)
def test_one_limit(spec: str, quantity: str, bound: float, least: bool) -> None:
    (limit,) = parse(spec).limits
    assert (limit.quantity, limit.bound, limit.least) == (quantity, pytest.approx(bound), least)


def test_several_by_commas_or_spaces() -> None:
    found = parse("p99<5ms, throughput>=3000/s memory<2GiB,cores<=4")
    assert [limit.quantity for limit in found.limits] == ["latency", "requests", "memory", "cores"]
    assert found.words == "p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4"
    assert parse(found.words) == found
    assert [limit.quantity for limit in found.of_the_server] == ["memory", "cores"]
    assert found.quantile == 0.99
    assert parse("p99.9<9ms").quantile == pytest.approx(0.999)
    assert parse("cores<=1").quantile == 0.99


def test_how_far_a_limit_is_missed() -> None:
    ceiling, floor = parse("p99<5ms, throughput>=3000/s").limits
    assert ceiling.over(5000) == 1
    assert ceiling.over(7500) == pytest.approx(1.5)
    assert floor.over(3000) == 1
    assert floor.over(1500) == pytest.approx(2)
    assert floor.over(0) == float("inf")


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ("", "expected at least one limit"),
        ("fast", "isn't a limit"),
        ("p99=5ms", "isn't a limit"),
        ("p99<5", "a time with its unit"),
        ("p99<5min", "a time with its unit"),
        ("p99>5ms", "p99 takes <"),
        ("p100<5ms", "isn't a percentile"),
        ("p0<5ms", "isn't a percentile"),
        ("p99<0ms", "above 0"),
        ("throughput<=3000/s", "throughput takes >="),
        ("throughput>=3000", r"requests \(/s\) or rows"),
        ("memory<2GB", "KiB, MiB, GiB"),
        ("cores<=4c", "cores have no unit"),
        ("refused<1", "in %"),
        ("queue<5ms", "there is no limit called 'queue'"),
        ("p99<5ms,p99<6ms", "p99<5ms and another limit are for the same figure"),
    ],
)
def test_what_is_no_limit(spec: str, phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        parse(spec)


def test_objectives() -> None:
    assert [objective(name) for name in ("throughput", "latency", "cost")] == ["throughput", "latency", "cost"]
    with pytest.raises(UsageError, match="throughput, latency, cost"):
        objective("speed")
