"""Which candidate wins, and why each other one lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millwork.validators.choose_candidate import choose
from millwork.validators.latency import BLOCK, SAMPLES, Samples
from millwork.validators.traffic import Share, parse

RANKS = {"onnx": 0, "fil": 1, "reference": 9}
ONNX, FIL, REFERENCE = RANKS
ONE = parse("batch=1").shares


def taken(name: str, us: float, batch: int = 1, noise: float = 0.03) -> Samples:
    rng = np.random.default_rng([ord(c) for c in name] + [batch])
    return Samples(name, batch, us * rng.lognormal(sigma=noise, size=(SAMPLES // BLOCK, BLOCK)))


def chosen(times: dict[str, float], traffic: tuple[Share, ...] = ONE, **noise: Any) -> Any:
    samples = [taken(name, us, share.batch, **noise) for name, us in times.items() for share in traffic]
    return choose({name: RANKS[name] for name in times}, samples, traffic)


def test_the_fastest_wins_beyond_noise() -> None:
    found = chosen({ONNX: 100.0, FIL: 50.0, REFERENCE: 400.0})
    assert found.winner.id == "fil"
    assert found.winner.why == "2.00 times as fast as onnx on this traffic, beyond noise (49.9 µs a call, in process)"
    assert found.lost.keys() == {"onnx", "reference"}
    assert found.lost["onnx"].startswith("2.00x fil's time on this traffic (1.9")
    assert found.lost["reference"].startswith("8.0")


@pytest.mark.parametrize("order", [[ONNX, FIL, REFERENCE], [REFERENCE, FIL, ONNX]])
def test_a_tie_goes_to_the_smaller_rank(order: list[str]) -> None:
    times = {ONNX: 101.0, FIL: 100.0, REFERENCE: 300.0}
    found = chosen({c: times[c] for c in order})
    assert found.winner.id == "onnx"
    assert found.winner.why == "simpler than fil, whose lead is within noise"
    assert found.lost["fil"] == "its lead over onnx is within noise, and onnx is simpler"
    assert found.lost["reference"].startswith("3.0")


def test_a_tie_that_the_fastest_wins_says_so() -> None:
    found = chosen({ONNX: 100.0, FIL: 101.0})
    assert found.winner.id == "onnx"
    assert found.winner.why == "no slower than fil and simpler"
    assert found.lost["fil"].startswith("a tie, and onnx is simpler: 1.01x onnx's time on this traffic (")


def test_noise_that_hides_the_difference_makes_a_tie() -> None:
    assert chosen({ONNX: 104.0, FIL: 100.0}, noise=0.005).winner.id == "fil"
    assert chosen({ONNX: 104.0, FIL: 100.0}, noise=0.9).winner.id == "onnx"


def test_less_than_two_in_a_hundred_is_never_worth_a_less_simple_candidate() -> None:
    assert chosen({ONNX: 101.5, FIL: 100.0}, noise=0.0).winner.id == "onnx"
    assert chosen({ONNX: 102.5, FIL: 100.0}, noise=0.0).winner.id == "fil"


def test_less_than_half_a_microsecond_is_never_worth_a_less_simple_candidate() -> None:
    assert chosen({ONNX: 2.4, FIL: 2.0}, noise=0.0).winner.id == "onnx"
    assert chosen({ONNX: 2.6, FIL: 2.0}, noise=0.0).winner.id == "fil"


def test_two_that_are_the_same_are_seldom_declared_different() -> None:
    """A/A on 400 pairs: noise with a memory (a machine whose clock wanders), spikes, and a call's own jitter.
    benchmarks/aa.py does it with real artifacts."""
    rng = np.random.default_rng(7)
    blocks = SAMPLES // BLOCK
    declared = 0
    for _ in range(400):
        steps = rng.normal(0, 0.02, (blocks, 2))
        for turn in range(1, blocks):
            steps[turn] += 0.9 * steps[turn - 1]
        drift = steps[:, :1] + 0.1 * steps  # the machine's, and a tenth of it each candidate's own
        pair = []
        for column, contender in enumerate((ONNX, FIL)):
            jitter = rng.lognormal(sigma=0.05, size=(blocks, BLOCK)) + (rng.random((blocks, BLOCK)) < 0.01) * 5
            pair.append(Samples(contender, 1, 50.0 * np.exp(drift[:, column : column + 1]) * jitter))
        declared += " times as fast as " in choose({name: RANKS[name] for name in (ONNX, FIL)}, pair, ONE).winner.why
    assert declared <= 0.05 * 400


def test_the_simplest_of_all_that_tie_wins() -> None:
    found = chosen({REFERENCE: 100.0, FIL: 100.5, ONNX: 101.0}, noise=0.01)
    assert found.winner.id == "onnx"
    assert found.lost["reference"] == "its lead over onnx is within noise, and onnx is simpler"
    assert found.lost["fil"].startswith("a tie, and onnx is simpler")


def test_the_only_one_wins() -> None:
    found = chosen({REFERENCE: 100.0})
    assert (found.winner.id, found.winner.why, found.lost) == ("reference", "the only candidate that passed", {})


def test_the_traffics_shares_decide() -> None:
    times = {("onnx", 1): 10.0, ("onnx", 64): 500.0, ("fil", 1): 20.0, ("fil", 64): 100.0}
    kept = [taken(name, us, batch) for (name, batch), us in times.items()]
    assert (
        choose({name: RANKS[name] for name in (ONNX, FIL)}, kept, parse("batch=1:0.99,64:0.01").shares).winner.id
        == "onnx"
    )
    assert (
        choose({name: RANKS[name] for name in (ONNX, FIL)}, kept, parse("batch=1:0.5,64:0.5").shares).winner.id == "fil"
    )
    found = choose({name: RANKS[name] for name in (ONNX, FIL)}, kept, parse("batch=1:0.5,64:0.5").shares)
    expected = (0.5 * 10 + 0.5 * 500) / (0.5 * 20 + 0.5 * 100)
    assert float(found.lost["onnx"].partition("x")[0]) == pytest.approx(expected, rel=0.02)
