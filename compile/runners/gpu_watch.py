"""The state of an NVIDIA GPU around a measurement, by NVML: clocks, throttling, utilisation, memory. Standalone: the
standard library and nvidia-ml-py.

Clocks aren't locked: what they were is said, and a measurement that the GPU slowed down in is marked. A GPU that idles
isn't slowed; one that was set to fixed clocks isn't, either, and it says so.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

SLOWED = {
    0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal slowdown (software)",
    0x40: "thermal slowdown (hardware)", 0x80: "power brake",
}  # fmt: skip
"""Of NVML's clock event reasons those that make figures worse than the GPU's own."""
FIXED_CLOCKS = 0x2
MIB = 1 << 20


@dataclass(frozen=True)
class State:
    """``sm_mhz`` and ``memory_mhz``: clocks now, and ``most_sm_mhz`` the highest; ``busy``: percent of the last moments
    in which a kernel ran; ``used_bytes``: memory that is taken on the GPU, by all processes; ``own_bytes``: by this
    one, None where the driver doesn't tell (another PID namespace); ``slowed``: why it is slower than it could be.
    What a GPU doesn't tell (a MIG instance has no clocks of its own) is None."""

    sm_mhz: int | None
    memory_mhz: int | None
    most_sm_mhz: int | None
    busy: int | None
    celsius: int | None
    watts: float | None
    used_bytes: int
    own_bytes: int | None
    slowed: tuple[str, ...] = ()
    fixed_clocks: bool = False


class Watch:
    """NVML kept open. :func:`watch` makes one."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def state(self) -> State:
        nvml, handle = self._nvml, self._handle
        reasons = self._reasons()
        watts = self._told(nvml.nvmlDeviceGetPowerUsage, handle)
        busy = self._told(nvml.nvmlDeviceGetUtilizationRates, handle)
        return State(
            sm_mhz=self._told(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            memory_mhz=self._told(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            most_sm_mhz=self._told(nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
            busy=None if busy is None else int(busy.gpu),
            celsius=self._told(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            watts=None if watts is None else watts / 1000,
            used_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).used),
            own_bytes=self._own(),
            slowed=tuple(words for bit, words in SLOWED.items() if reasons & bit),
            fixed_clocks=bool(reasons & FIXED_CLOCKS),
        )

    def _reasons(self) -> int:
        """Drivers before 535 know them as throttle reasons."""
        for name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"):
            ask = getattr(self._nvml, name, None)
            found = None if ask is None else self._told(ask, self._handle)
            if found is not None:
                return int(found)
        return 0

    def _own(self) -> int | None:
        listed = self._told(self._nvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or ()
        own = [process.usedGpuMemory for process in listed if process.pid == os.getpid()]
        return None if not own or own[0] is None else int(own[0])

    def _told(self, ask: Any, *given: Any) -> Any:
        try:
            return ask(*given)
        except self._nvml.NVMLError:
            return None


def watch(nvml: Any = None) -> Watch | None:
    """Of the GPU that CUDA has as its first; None where there is no NVML or no GPU. ``nvml``: a module like pynvml."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return None
    try:
        nvml.nvmlInit()
        return Watch(nvml, _first(nvml))
    except nvml.NVMLError:
        return None


def memory_of(before: State, after: State) -> int:
    """What a model takes on the GPU: this process's memory, before it was loaded and after it was asked; all
    processes' where the driver doesn't tell this one's."""
    if after.own_bytes is not None:
        return max(after.own_bytes - (before.own_bytes or 0), 0)
    return max(after.used_bytes - before.used_bytes, 0)


def slowed(*states: State) -> str:
    """Why figures taken between these states are marked; empty where they aren't."""
    return ", ".join(dict.fromkeys(words for state in states for words in state.slowed))


def words(state: State) -> str:
    parts = [
        f"{state.sm_mhz} of {state.most_sm_mhz} MHz{' (set)' if state.fixed_clocks else ''}" if state.sm_mhz else "",
        f"{state.busy}% busy" if state.busy is not None else "",
        f"{state.celsius} C" if state.celsius is not None else "",
        f"{state.watts:.0f} W" if state.watts is not None else "",
        f"{state.used_bytes / MIB:,.0f} MiB taken",
        f"SLOWED: {', '.join(state.slowed)}" if state.slowed else "",
    ]
    return ", ".join(part for part in parts if part)


def _first(nvml: Any) -> Any:
    """CUDA_VISIBLE_DEVICES names one by its number, or by its (or its MIG instance's) UUID; CUDA numbers the fastest
    first where CUDA_DEVICE_ORDER isn't PCI_BUS_ID, which is the same on a machine of equal GPUs."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if named.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(named)
    return nvml.nvmlDeviceGetHandleByIndex(int(named) if named.isdigit() else 0)
