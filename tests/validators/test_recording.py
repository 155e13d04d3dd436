"""Recorded traffic: tables, Triton's own traces, access logs; and what holds none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from millwork.errors import UsageError
from millwork.tuning.load import schedule
from millwork.validators import recording, traffic

TIMES = [i * 0.01 for i in range(100)]


def table(path: Path, times: list[float], batches: list[int] | None = None) -> Path:
    lines = [f"{time}" + (f",{batches[i]}" if batches else "") for i, time in enumerate(times)]
    path.write_text("time,batch\n" * bool(batches) + "time\n" * (not batches) + "\n".join(lines))
    return path


def test_a_table_of_times_and_batches(tmp_path: Path) -> None:
    found = traffic.parse(str(table(tmp_path / "traffic.csv", TIMES, [1, 1, 1, 16] * 25)))
    assert [(s.batch, s.share) for s in found.shares] == [(1, 0.75), (16, 0.25)]
    assert found.rate == pytest.approx(100)
    assert found.open
    assert found.assumed == ""
    assert len(found.sha256) == 64


def test_without_batches_requests_have_one_row_and_that_is_said(tmp_path: Path) -> None:
    found = traffic.parse(str(table(tmp_path / "traffic.csv", list(reversed(TIMES)))))
    assert found.batches == (1,)
    assert found.assumed == recording.NO_BATCHES


def test_lines_of_json_with_clock_times(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    lines = [{"time": f"2026-03-01T12:00:{i:02d}.500+00:00", "batch": 8} for i in range(40)]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    found = recording.read(path)
    assert found.rate == pytest.approx(1)
    assert set(found.batch.tolist()) == {8}


def test_a_trace_of_tritons(tmp_path: Path) -> None:
    parts = []
    for i in range(30):
        parts += [
            {"id": i, "model_name": "m", "model_version": 1},
            {"id": i, "timestamps": [{"name": "REQUEST_START", "ns": 10**9 + i * 10**7}]},
            {"id": i, "activity": "TENSOR_QUEUE_INPUT", "tensor": {"name": "input__0", "shape": f"{1 + i % 2},5"}},
        ]
    (tmp_path / "trace.json").write_text(json.dumps(parts))
    found = recording.read(tmp_path / "trace.json")
    assert found.rate == pytest.approx(100)
    assert found.batch[:4].tolist() == [1, 2, 1, 2]


def test_an_access_log_is_spread_within_its_seconds(tmp_path: Path) -> None:
    line = '10.0.0.1 - - [10/Oct/2026:13:55:{:02d} +0000] "POST /v2/models/m/infer HTTP/1.1" 200 12\n'
    (tmp_path / "access.log").write_text("".join(line.format(second) for second in range(5) for _ in range(10)))
    found = recording.read(tmp_path / "access.log")
    assert len(found.seconds) == 50
    np.testing.assert_allclose(np.diff(found.seconds), 0.1, atol=1e-6)


def test_the_busiest_stretch_is_replayed_as_it_was(tmp_path: Path) -> None:
    quiet, busy = [float(i) for i in range(30)], [40 + i * 0.01 for i in range(50)]
    path = table(tmp_path / "traffic.csv", quiet + busy, [1] * 80)
    asked = traffic.parse(str(path))
    plan = schedule.arrivals(asked, 0.5, seed=0)
    assert 49 <= len(plan.seconds) <= 51
    assert plan.seconds[0] == 0
    again = schedule.arrivals(asked, 0.5, seed=7)
    np.testing.assert_array_equal(plan.seconds, again.seconds)


def test_many_sizes_are_grouped_each_by_its_largest(tmp_path: Path) -> None:
    sizes = [1 + i % 97 for i in range(970)]
    found = traffic.parse(str(table(tmp_path / "t.csv", [i * 0.001 for i in range(970)], sizes)))
    assert len(found.shares) == traffic.MOST_SHARES
    assert max(found.batches) == 97
    assert sum(share.share for share in found.shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("few.csv", "time\n1\n2\n", "2 requests; expected 20"),
        ("none.csv", "when\n" + "1\n" * 30, "no field 'time'"),
        ("words.csv", "time\n" + "soon\n" * 30, "not a recording"),
        ("same.csv", "time\n" + "1\n" * 30, "have the same time"),
        ("zero.csv", "time,batch\n" + "\n".join(f"{i},-3" for i in range(30)), "a request of -3 rows"),
        ("broken.json", "{", "not a recording"),
        ("empty.log", "nothing here\n", "0 requests"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, name: str, content: str, phrase: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=phrase):
        traffic.parse(str(tmp_path / name))


def test_poisson_arrivals_have_the_rate_and_are_the_same_for_a_round() -> None:
    asked = traffic.parse("batch=1:0.5,64:0.5 rate=5000/s")
    plan = schedule.arrivals(asked, 4.0, seed=3)
    assert len(plan.seconds) == pytest.approx(20_000, rel=0.05)
    assert (np.diff(plan.seconds) >= 0).all()
    assert np.diff(plan.seconds).std() == pytest.approx(1 / 5000, rel=0.1), "exponential gaps"
    assert (plan.batch == 64).mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(plan.seconds, schedule.arrivals(asked, 4.0, seed=3).seconds)
    assert (schedule.arrivals(asked, 4.0, seed=4).seconds != plan.seconds).any()
    assert plan.length == 4.0


@pytest.mark.parametrize(("rate", "arrivals"), [("100/h", 1), ("30/min", 2), ("1000/s", 3000)])
def test_a_round_offers_the_rate_and_is_never_empty(rate: str, arrivals: int) -> None:
    asked = traffic.parse(f"batch=1 rate={rate}")
    plans = [schedule.arrivals(asked, 3.0, seed) for seed in range(20)]
    assert [len(plan.seconds) for plan in plans] == [arrivals] * 20
    assert all(plan.seconds[-1] <= 3.0 for plan in plans)
    assert arrivals / plans[0].length == pytest.approx(asked.rate)


def test_a_clock_of_whole_seconds_is_spread(tmp_path: Path) -> None:
    """300 requests a second as a table has them: not 300 at once."""
    stamps = [f"2026-11-27T12:00:{second:02d}Z" for second in range(4) for _ in range(300)]
    (tmp_path / "whole.csv").write_text("\n".join(["time", *stamps]))
    asked = traffic.parse(str(tmp_path / "whole.csv"))
    assert asked.rate == pytest.approx(300, rel=0.01)
    plan = schedule.arrivals(asked, 0.6, seed=1)
    assert len(plan.seconds) == pytest.approx(180, abs=2)
    assert np.diff(plan.seconds).max() == pytest.approx(1 / 300, rel=0.01)
    assert plan.length == 0.6
    (tmp_path / "second.log").write_text('x [27/Nov/2026:12:00:00 +0000] "GET /"\n' * 40)
    assert recording.read(tmp_path / "second.log").rate == pytest.approx(40, rel=0.05)
    finer = [0.25, *range(1, 30)]
    (tmp_path / "finer.csv").write_text("\n".join(["time", *map(str, finer)]))
    np.testing.assert_array_equal(recording.read(tmp_path / "finer.csv").seconds, np.array(finer) - 0.25)
