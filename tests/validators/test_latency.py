"""The measurement harness: which calls are made, and what the numbers then say. Nothing here depends on a clock."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import xgboost_models
from models.gate import gate

from millwork.validators import gate_steps, latency
from millwork.validators.latency import BLOCK, FEWEST_FOR_P99, SAMPLES, Samples, measure, quantile, slower_by, summarise
from millwork.validators.rows.given import Given

ROWS = np.arange(40, dtype=np.float32).reshape(20, 2)


def samples(us: Any, name: str = "a", batch: int = 1) -> Samples:
    return Samples(name, batch, np.asarray(us, np.float64).reshape(-1, BLOCK))


def calls_of(names: str, rows: Any, batch: int, **more: Any) -> tuple[list[str], list[Any], list[Samples]]:
    """The calls in order, what they were given, and the samples."""
    order: list[str] = []
    given: list[Any] = []

    def predict(name: str) -> latency.Predict:
        def call(batch: Any) -> None:
            order.append(name)
            given.append(batch.copy())

        return call

    taken = measure([(name, predict(name)) for name in names], Given(rows), batch, **more)
    return order, given, taken


def test_blocks_alternate_and_every_candidate_is_warmed_up_first() -> None:
    order, _, taken = calls_of("abc", ROWS, 1, budget_s=60)
    warm = 3 * 4
    assert "".join(order[:warm]) == "aaaabbbbcccc"
    turns = SAMPLES // BLOCK
    blocks = ["".join(order[i : i + BLOCK]) for i in range(warm, len(order), BLOCK)]
    assert blocks == [name * BLOCK for turn in range(turns) for name in ("abc" if turn % 2 == 0 else "cba")]
    assert [(s.id, s.batch, s.us.shape) for s in taken] == [(name, 1, (turns, BLOCK)) for name in "abc"]
    assert all((s.us > 0).all() for s in taken)


def test_a_slow_candidate_ends_early_with_at_least_four_blocks() -> None:
    order, _, taken = calls_of("ab", ROWS, 1, budget_s=0)
    assert len(order) == 2 * 4 + 2 * 4 * BLOCK
    assert [s.us.shape for s in taken] == [(4, BLOCK), (4, BLOCK)]
    assert summarise(taken[0], 1).p99_us is None


@pytest.mark.parametrize("batch", [1, 7, 20, 50, 5000])
def test_batches_have_their_size_and_are_the_users_rows_in_order(batch: int) -> None:
    _, given, _ = calls_of("a", ROWS, batch, budget_s=0)
    assert all(rows.shape == (batch, 2) and rows.dtype == np.float32 for rows in given)
    assert np.array_equal(given[0], np.resize(ROWS, (batch, 2)))
    assert batch > 1000 or len({rows.tobytes() for rows in given}) > 1 or batch % 20 == 0


# ── quantiles ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("q", "n"), [(0.5, 64), (0.5, SAMPLES), (0.99, SAMPLES), (0.99, FEWEST_FOR_P99)])
def test_the_interval_covers_the_true_quantile(q: float, n: int) -> None:
    rng = np.random.default_rng(7)
    truth = float(np.exp(_normal_quantile(q)))
    covered = 0
    for _ in range(400):
        _, interval = quantile(np.sort(rng.lognormal(size=n)), q)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered / 400 >= 0.94


def _normal_quantile(q: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(q)


def test_the_quantile_is_an_order_statistic() -> None:
    ordered = np.arange(1.0, 101.0)
    assert quantile(ordered, 0.5)[0] == 50
    assert quantile(ordered, 0.99)[0] == 99
    assert quantile(ordered[:1], 0.5) == (1.0, None)
    assert quantile(ordered, 0.99)[1] is None  # no order statistic of 100 bounds it from above
    _, interval = quantile(ordered, 0.5)
    assert interval is not None
    assert (interval.low, interval.high) == (40, 61)  # the binomial's own 2.5% points


@pytest.mark.parametrize(("n", "has"), [(FEWEST_FOR_P99 - 6, False), (SAMPLES, True)])
def test_there_is_a_p99_from_662_samples_on(n: int, has: bool) -> None:
    us = np.random.default_rng(0).lognormal(size=n // BLOCK * BLOCK)
    found = summarise(samples(us, batch=64), 2)
    assert (found.p99_us is not None, "p99_us" in found.ci) == (has, has)
    assert (found.batch, found.threads, found.samples) == (64, 2, len(us))
    assert found.rows_per_s == pytest.approx(64e6 / found.p50_us)
    assert found.ci["p50_us"].low <= found.p50_us <= found.ci["p50_us"].high
    if found.p99_us is not None:
        assert found.ci["p99_us"].low <= found.p99_us <= found.ci["p99_us"].high


# ── two candidates ────────────────────────────────────────────────────────────────────────────────────────


def pair(seed: int, factor: float) -> tuple[Samples, Samples]:
    """Noisy calls on a machine that drifts by half, for both alike; b takes ``factor`` times as long."""
    rng = np.random.default_rng(seed)
    drift = 1 + 0.5 * np.sin(np.linspace(0, 5, SAMPLES // BLOCK))[:, None]
    a, b = (100 * drift * rng.lognormal(sigma=0.15, size=(SAMPLES // BLOCK, BLOCK)) for _ in range(2))
    return Samples("a", 1, a), Samples("b", 1, factor * b)


def test_a_difference_of_a_tenth_is_found() -> None:
    for seed in range(50):
        ratio, interval = slower_by(*pair(seed, 1.1))
        assert interval.low > 1
        assert interval.low <= ratio <= interval.high


def test_no_difference_is_found_where_there_is_none() -> None:
    found = 0
    for seed in range(100):
        _, interval = slower_by(*pair(seed, 1.0))
        found += not interval.low <= 1 <= interval.high
    assert found <= 8  # 5 of 100 are expected


def test_the_interval_covers_the_true_ratio() -> None:
    covered = 0
    for seed in range(100):
        _, interval = slower_by(*pair(seed, 1.3))
        covered += interval.low <= 1.3 <= interval.high
    assert covered >= 92


def test_blocks_are_paired_up_to_the_shorter() -> None:
    a, b = pair(1, 1.0)
    ratio, interval = slower_by(a, Samples("b", 1, b.us[:10]))
    assert ratio == np.median(np.median(b.us[:10], axis=1) / np.median(a.us[:10], axis=1))
    assert interval.low <= ratio <= interval.high


# ── the step ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_step_measures_built_candidates_and_keeps_the_samples(tmp_path: Path) -> None:
    found = gate(xgboost_models.save(xgboost_models.model("binary"), tmp_path / "model.json"), tmp_path / "gate")
    artifacts, folders = [], []
    for backend in ("onnx", "fil", "reference"):
        built = found.build(backend, tmp_path / backend).artifact
        assert built is not None
        artifacts.append(built)
        folders.append(str(tmp_path / backend))
    request = gate_steps.MeasureRequest(
        artifacts=tuple(artifacts),
        folders=tuple(folders),
        rows=str(found.folder / "rows.npy"),
        skip=500,
        batches=(1, 3),
    )
    with contextlib.chdir(tmp_path):
        reply = gate_steps.measure(request)
    assert set(reply.latency) == {"onnx-fp32", "fil-fp32", "reference-fp32"}
    kept = gate_steps.read_samples(tmp_path / gate_steps.SAMPLES_FILE)
    assert {(s.id, s.batch) for s in kept} == {(name, batch) for name in reply.latency for batch in (1, 3)}
    for s in kept:
        (line,) = [line for line in reply.latency[s.id] if line.batch == s.batch]
        assert line == summarise(s, 1)
