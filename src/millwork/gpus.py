"""The NVIDIA GPUs of this machine, as the driver tells them: by NVML, else by nvidia-smi, which the driver brings.

NVML's Python binding is the package ``nvidia-ml-py`` (module ``pynvml``). Neither needs CUDA, and nothing is put on a
GPU by asking.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess

from .values import Value

QUERY = "--query-gpu=name,driver_version,compute_cap,memory.total"
"""nvidia-smi's words for the fields of :class:`Gpu`, in their order."""


class Gpu(Value):
    """``name`` as the driver has it (``NVIDIA A100-SXM4-40GB``), ``compute_capability`` as ``8.0``."""

    name: str
    driver: str
    compute_capability: str
    memory_gib: float


class Sight(Value):
    """What was seen; ``why``: where there is none, why not."""

    gpus: tuple[Gpu, ...] = ()
    why: str = ""


@functools.cache
def look() -> Sight:
    """The GPUs that the driver shows this process; asked once."""
    by_nvml = _nvml()
    return by_nvml if by_nvml is not None else _nvidia_smi()


def visible() -> tuple[Gpu, ...]:
    """The GPUs; none where there is no driver."""
    return look().gpus


def _nvml() -> Sight | None:
    """None where the binding isn't installed."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Sight(why=f"none here: NVML says {error}")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        found = tuple(
            Gpu(
                name=_text(pynvml.nvmlDeviceGetName(handle)), driver=driver,
                compute_capability=".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(handle))),
                memory_gib=round(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30, 1),
            )
            for handle in handles
        )  # fmt: skip
    except pynvml.NVMLError as error:
        return Sight(why=f"NVML fails: {error}")
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    return Sight(gpus=found, why="" if found else "none here: the driver shows no device")


def _text(given: str | bytes) -> str:
    """Earlier bindings answer in bytes."""
    return given.decode(errors="replace") if isinstance(given, bytes) else given


def _nvidia_smi() -> Sight:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Sight(why="none here: nvidia-smi isn't installed")
    try:
        asked = subprocess.run(
            [program, QUERY, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=20,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sight(why=f"nvidia-smi fails: {error}")
    found = tuple(gpu for line in asked.stdout.splitlines() if (gpu := _of_line(line)) is not None)
    if asked.returncode or not found:
        return Sight(why="nvidia-smi finds none")
    return Sight(gpus=found)


def _of_line(line: str) -> Gpu | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != 4:
        return None
    name, driver, capability, mib = fields
    with contextlib.suppress(ValueError):  # memory that the driver doesn't tell: "[N/A]"
        return Gpu(name=name, driver=driver, compute_capability=capability, memory_gib=round(float(mib) / 1024, 1))
    return Gpu(name=name, driver=driver, compute_capability=capability, memory_gib=0.0)
