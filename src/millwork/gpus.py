"""The NVIDIA GPUs of this machine, as the driver tells them: by NVML, else by nvidia-smi, which the driver brings.

NVML's Python binding is the package ``nvidia-ml-py`` (module ``pynvml``). Neither needs CUDA, and nothing is put on a
GPU by asking.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
from typing import Any

import msgspec

from .values import Gpu, Value

__all__ = ["DetectedGpus", "Gpu", "look", "visible"]

QUERY = "--query-gpu=name,driver_version,compute_cap,memory.total,mig.mode.current"
"""nvidia-smi's words for the fields of :class:`Gpu`, in their order."""


class DetectedGpus(Value):
    """What was seen; ``why``: where there is none, why not."""

    gpus: tuple[Gpu, ...] = ()
    why: str = ""


@functools.cache
def look() -> DetectedGpus:
    """The GPUs that the driver shows this process; asked once."""
    by_nvml = _nvml()
    return by_nvml if by_nvml is not None else _nvidia_smi()


def visible() -> tuple[Gpu, ...]:
    """The GPUs; none where there is no driver."""
    return look().gpus


def _nvml() -> DetectedGpus | None:
    """None where the binding isn't installed."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return DetectedGpus(why=f"none here: NVML says {error}")
    try:
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = tuple(
            gpu
            for index in range(pynvml.nvmlDeviceGetCount())
            for gpu in _with_slices(pynvml, pynvml.nvmlDeviceGetHandleByIndex(index), driver)
        )
    except pynvml.NVMLError as error:
        return DetectedGpus(why=f"NVML fails: {error}")
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return DetectedGpus(gpus=found, why="" if found else "none here: the driver shows no device")


def _with_slices(pynvml: Any, handle: Any, driver: str) -> list[Gpu]:
    """The GPU of ``handle``; where it is cut into MIG instances, those: nothing runs on the whole of it then."""
    whole = Gpu(
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        driver=driver,
        compute_capability=".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
        memory_gib=_memory_gib(pynvml, handle),
    )
    try:
        cut = pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE
    except pynvml.NVMLError:  # a GPU that has no MIG
        return [whole]
    if not cut:
        return [whole]
    found = []
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(pynvml.NVMLError):  # a place where no instance was made
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
            name = _text(pynvml.nvmlDeviceGetName(part))  # NVIDIA A100-SXM4-40GB MIG 1g.5gb
            found.append(
                msgspec.structs.replace(
                    whole, mig=name.partition(" MIG ")[2] or "unknown", memory_gib=_memory_gib(pynvml, part)
                )
            )
    return found


def _memory_gib(pynvml: Any, handle: Any) -> float:
    return round(int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) / 2**30, 1)


def _text(given: str | bytes) -> str:
    """Earlier bindings answer in bytes."""
    return given.decode(errors="replace") if isinstance(given, bytes) else given


def _nvidia_smi() -> DetectedGpus:
    program = shutil.which("nvidia-smi")
    if program is None:
        return DetectedGpus(why="none here: nvidia-smi isn't installed")
    try:
        asked = subprocess.run(
            [program, QUERY, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return DetectedGpus(why=f"nvidia-smi fails: {error}")
    found = tuple(gpu for line in asked.stdout.splitlines() if (gpu := _of_line(line)) is not None)
    if asked.returncode or not found:
        return DetectedGpus(why="nvidia-smi finds none")
    return DetectedGpus(gpus=found)


def _of_line(line: str) -> Gpu | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 5:
        return None
    name, driver, capability, mib, mode = fields
    memory = 0.0
    with contextlib.suppress(ValueError):  # memory that the driver doesn't tell: "[N/A]"
        memory = round(float(mib) / 1024, 1)
    mig = "unknown" if mode == "Enabled" else ""  # which slice this process has, nvidia-smi's table doesn't say
    return Gpu(name=name, driver=driver, compute_capability=capability, memory_gib=memory, mig=mig)
