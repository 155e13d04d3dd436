"""Each limit that was given is answered, with its unit and whether it is met."""

from __future__ import annotations

import msgspec
import pytest

from millwork.tuning import limit_answers, slo
from millwork.values import Figures

SEEN = Figures(
    requests_per_s=3_412.4,
    rows_per_s=218_394,
    p50_us=900.0,
    p90_us=2_000.0,
    p99_us=3_204.0,
    tail_us=3_204.0,
    mean_us=1_000.0,
    samples=5_000,
    rounds=4,
    quantiles={"0.99": 3_204.0, "0.5": 900.0, "0.9999": 8_000.0},
    refused=0.004,
    cores=1.62,
    memory_bytes=1_288_490_189,
)


@pytest.mark.parametrize(
    ("asked", "said", "met"),
    [
        ("p99<5ms", "p99 3.20 ms of the 5 ms asked", True),
        ("p99<2500us", "p99 3.20 ms of the 2.5 ms asked", False),
        ("p99<3.2ms", "p99 3.204 ms of the 3.2 ms asked", False),
        ("p50<1ms", "p50 900 µs of the 1 ms asked", True),
        ("throughput>=3000/s", "3,410 requests/s, 3,000 asked", True),
        ("throughput>=300000rows/s", "218,000 rows/s, 300,000 asked", False),
        ("memory<2GiB", "memory 1.20 GiB of the 2.00 GiB asked", True),
        ("cores<=1", "1.62 cores of the 1 asked", False),
        ("refused<1%", "0.40% of the requests refused, 1.00% allowed", True),
        ("p99.99<9ms", "p99.99<9ms can't be shown: 5,000 requests were measured, it takes 29,956", False),
    ],
)
def test_a_limit_is_answered_in_its_own_unit(asked: str, said: str, met: bool) -> None:
    (answer,) = limit_answers.answers(SEEN, slo.parse(asked))
    assert (answer.asked, answer.found, answer.met) == (asked, said, met)
    assert limit_answers.in_words(answer) == (said if met else f"not met: {said}")


def test_what_cannot_be_seen_is_neither_met_nor_missed() -> None:
    (answer,) = limit_answers.answers(msgspec.structs.replace(SEEN, cores=None), slo.parse("cores<=4"))
    assert answer.met is None
    assert "can't be seen" in limit_answers.in_words(answer)


def test_each_limit_has_its_own_answer() -> None:
    found = limit_answers.answers(SEEN, slo.parse("p99<5ms, throughput>=5000/s"))
    assert [answer.met for answer in found] == [True, False]
