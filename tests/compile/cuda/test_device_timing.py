"""benchmarks/gpu's timing harness, by a fake of CUDA's runtime: there is no GPU here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GPU = Path(__file__).parents[3] / "benchmarks" / "gpu"


@pytest.fixture
def device_timing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Loaded by its path, as run.py does."""
    monkeypatch.syspath_prepend(str(GPU))
    import device_timing as found

    yield found
    sys.modules.pop("device_timing", None)


class Stream:
    """A CUDA runtime of one stream whose work takes as long as it is said to."""

    def __init__(self) -> None:
        self.now, self.events, self.done = 0.0, {}, 0.0  # type: float, dict[int, float], float

    def cudaEventCreate(self) -> tuple[int, int]:  # noqa: N802
        self.events[len(self.events)] = -1.0
        return 0, len(self.events) - 1

    def cudaEventRecord(self, event: int, _: object) -> tuple[int]:  # noqa: N802
        self.events[event] = self.now
        return (0,)

    def cudaStreamSynchronize(self, _: object) -> tuple[int]:  # noqa: N802
        self.done = self.now
        return (0,)

    def cudaEventElapsedTime(self, first: int, last: int) -> tuple[int, float]:  # noqa: N802
        assert self.done == self.now, "asked before the stream was waited for"
        return 0, (self.events[last] - self.events[first]) / 1e3


class Paced:
    def __init__(self, stream: Stream) -> None:
        self.stream, self.taken = stream, []  # type: Stream, list[int]

    def copy_in(self, _: int) -> None:
        self.stream.now += 5

    def run(self, which: int) -> None:
        self.taken.append(which)
        self.stream.now += 20 + which

    def copy_out(self, _: int) -> None:
        self.stream.now += 3


def test_copies_are_apart_and_inputs_taken_in_turn(device_timing: Any) -> None:
    stream = Stream()
    work = Paced(stream)
    times = device_timing.measure(work, device_timing.CudaClock(stream, None), 4, samples=700, budget_s=60)
    np.testing.assert_allclose(times.parts[:, 0], 5)
    np.testing.assert_allclose(times.parts[:, 2], 3)
    np.testing.assert_allclose(times.parts[:4, 1], [20, 21, 22, 23])
    np.testing.assert_allclose(times.resident[:4], [20, 21, 22, 23])
    assert set(work.taken) == {0, 1, 2, 3}
    figures = times.figures(batch=2)
    assert figures["in_p50_us"] == pytest.approx(5)
    assert figures["run_p50_us"] == pytest.approx(21)
    assert figures["with_copies_p50_us"] == pytest.approx(29)
    assert figures["run_p99_us"] == pytest.approx(23)
    assert figures["rows_per_s"] == pytest.approx(2 / 21e-6)


def test_few_samples_have_no_p99(device_timing: Any) -> None:
    stream = Stream()
    times = device_timing.measure(Paced(stream), device_timing.CudaClock(stream, None), 3, samples=9, budget_s=60)
    assert "run_p99_us" not in times.figures(1)


def test_inputs_are_more_than_the_cache_and_less_than_the_memory(device_timing: Any) -> None:
    l2 = 50 << 20
    assert device_timing.inputs_for(l2, 200, 1) == 4096
    assert device_timing.inputs_for(l2, 200, 1024) * 200 * 1024 >= 2 * l2
    assert device_timing.inputs_for(l2, 200, 1 << 20) == 3
    assert device_timing.inputs_for(l2, 4000, 1 << 20) == 3


def test_a_failing_call_of_cuda_is_an_error(device_timing: Any) -> None:
    stream = Stream()
    stream.cudaEventCreate = lambda: (35, 0)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="CUDA: 35"):
        device_timing.CudaClock(stream, None)
