"""NVML around a measurement, and the timing harness, by fakes at their one seam: neither has a GPU here."""

from __future__ import annotations

import importlib
import os
import types
from typing import Any

import numpy as np
import pytest

from millwork.compile.runners import device_timing, gpu_watch


class NvmlError(Exception):
    pass


def nvml(*, reasons: int = 0, own: int | None = 300, used: int = 1000, old: bool = False, mute: bool = False) -> Any:
    def told(value: Any) -> Any:
        def ask(*_: Any) -> Any:
            if mute:
                raise NvmlError("Not Supported")
            return value

        return ask

    name = "nvmlDeviceGetCurrentClocksThrottleReasons" if old else "nvmlDeviceGetCurrentClocksEventReasons"
    listed = [types.SimpleNamespace(pid=1, usedGpuMemory=5)]
    if own is not None:
        listed.append(types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=own))
    return types.SimpleNamespace(
        NVMLError=NvmlError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: ("index", index),
        nvmlDeviceGetHandleByUUID=lambda uuid: ("uuid", uuid),
        nvmlDeviceGetClockInfo=lambda handle, which: told(1000 * which)(handle),
        nvmlDeviceGetMaxClockInfo=told(1980),
        nvmlDeviceGetUtilizationRates=told(types.SimpleNamespace(gpu=87)),
        nvmlDeviceGetTemperature=told(61),
        nvmlDeviceGetPowerUsage=told(345_600),
        nvmlDeviceGetComputeRunningProcesses=told(listed),
        nvmlDeviceGetMemoryInfo=lambda _: types.SimpleNamespace(used=used),
        **{name: told(reasons)},
    )


def state(**given: Any) -> gpu_watch.State:
    found = gpu_watch.watch(nvml(**given))
    assert found is not None
    return found.state()


@pytest.mark.parametrize("old", [False, True])
def test_a_measurement_that_was_slowed_is_marked(old: bool) -> None:
    cool, hot, idle = (state(reasons=reasons, old=old) for reasons in (0x2, 0x24, 0x1))
    assert gpu_watch.slowed(cool, idle) == "", "an idle GPU and set clocks aren't slowed"
    assert gpu_watch.slowed(cool, hot, hot) == "power cap, thermal slowdown (software)"
    assert cool.fixed_clocks
    assert "SLOWED: power cap" in gpu_watch.words(hot)
    assert "1000 of 1980 MHz (set), 87% busy, 61 C, 346 W" in gpu_watch.words(cool)


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    found = state(mute=True)
    assert (found.sm_mhz, found.busy, found.watts, found.own_bytes, found.slowed) == (None, None, None, None, ())
    assert gpu_watch.words(found) == "0 MiB taken"


def test_a_models_memory_is_this_processs_where_that_is_told() -> None:
    assert gpu_watch.memory_of(state(own=100, used=900), state(own=350, used=5000)) == 250
    assert gpu_watch.memory_of(state(own=None, used=900), state(own=350, used=5000)) == 350
    assert gpu_watch.memory_of(state(own=None, used=900), state(own=None, used=950)) == 50


@pytest.mark.parametrize(
    ("visible", "handle"), [("", ("index", 0)), ("2,0", ("index", 2)), ("MIG-1a", ("uuid", "MIG-1a"))]
)
def test_the_gpu_is_cudas_first(visible: str, handle: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = gpu_watch.watch(nvml())
    assert found is not None
    assert found._handle == handle


def test_without_a_driver_nothing_is_watched() -> None:
    module = nvml()

    def missing() -> None:
        raise NvmlError("NVML Shared Library Not Found")

    module.nvmlInit = missing
    assert gpu_watch.watch(module) is None


def test_the_real_binding_has_every_name_that_the_fake_has() -> None:
    """nvidia-ml-py imports without a driver."""
    pynvml = importlib.import_module("pynvml")
    lacking = [name for name in vars(nvml()) if not hasattr(pynvml, name)]
    assert lacking == []
    bits = set(gpu_watch.SLOWED) | {gpu_watch.FIXED_CLOCKS}
    named = {value for name, value in vars(pynvml).items() if name.startswith("nvmlClocksEventReason")}
    assert bits <= named


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


def test_copies_are_apart_and_inputs_taken_in_turn() -> None:
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


def test_few_samples_have_no_p99() -> None:
    stream = Stream()
    times = device_timing.measure(Paced(stream), device_timing.CudaClock(stream, None), 3, samples=9, budget_s=60)
    assert "run_p99_us" not in times.figures(1)


def test_inputs_are_more_than_the_cache_and_less_than_the_memory() -> None:
    l2 = 50 << 20
    assert device_timing.inputs_for(l2, 200, 1) == 4096
    assert device_timing.inputs_for(l2, 200, 1024) * 200 * 1024 >= 2 * l2
    assert device_timing.inputs_for(l2, 200, 1 << 20) == 3
    assert device_timing.inputs_for(l2, 4000, 1 << 20) == 3


def test_a_failing_call_of_cuda_is_an_error() -> None:
    stream = Stream()
    stream.cudaEventCreate = lambda: (35, 0)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="CUDA: 35"):
        device_timing.CudaClock(stream, None)
