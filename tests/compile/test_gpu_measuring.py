"""NVML around a measurement, by a fake at its one seam: there is no GPU here."""

from __future__ import annotations

import importlib
import os
import types
from typing import Any

import pytest

from millwork.compile.runners import gpu_watch


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
