"""Targets: the machines a model is compiled for. A table; ``targets.toml`` in the working folder can add to it.

Compute capabilities are NVIDIA's (the CUDA GPUs page); memory in GiB.
"""

from __future__ import annotations

import os
import platform
import re
import tomllib
from pathlib import Path

import msgspec

from . import gpus
from .errors import UsageError
from .gpus import Gpu
from .values import TargetSummary, Value


class Target(Value):
    """``kind``: cpu or gpu. ``compute_capability`` and ``memory_gib`` are None for a CPU."""

    name: str
    kind: str
    compute_capability: str | None = None
    memory_gib: float | None = None
    device: str = ""


TABLE: dict[str, Target] = {
    target.name: target
    for target in (
        Target(name="host", kind="cpu", device="this machine"),
        Target(name="cpu", kind="cpu", device="any x86-64 or arm64 CPU"),
        Target(name="t4", kind="gpu", compute_capability="7.5", memory_gib=16, device="Tesla T4"),
        Target(name="a100", kind="gpu", compute_capability="8.0", memory_gib=40, device="A100"),
        Target(name="a10g", kind="gpu", compute_capability="8.6", memory_gib=24, device="A10G"),
        Target(name="l4", kind="gpu", compute_capability="8.9", memory_gib=24, device="L4"),
        Target(name="l40s", kind="gpu", compute_capability="8.9", memory_gib=48, device="L40S"),
        Target(name="h100", kind="gpu", compute_capability="9.0", memory_gib=80, device="H100"),
        Target(name="h200", kind="gpu", compute_capability="9.0", memory_gib=141, device="H200"),
    )
}


def find(name: str, extra: Path | None = None) -> Target:
    """The target called ``name``, from the table or from the TOML file ``extra`` (``[name]`` tables)."""
    table = TABLE | (read(extra) if extra is not None and extra.exists() else {})
    if name in table:
        return table[name]
    raise UsageError(f"unknown target {name!r}", f"Known targets: {', '.join(table)}.")


def read(path: Path) -> dict[str, Target]:
    """Targets from a TOML file: ``[my-box]`` with ``kind``, ``compute_capability``, ``memory_gib``, ``device``."""
    try:
        tables = tomllib.loads(path.read_text())
        return {name: msgspec.convert({"name": name, **table}, Target) for name, table in tables.items()}
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a table of targets: {error}") from error


def machine() -> str:
    """This machine in words: CPU model, cores, architecture; its GPUs with their driver."""
    cores = len(os.sched_getaffinity(0))
    seen = [f"{gpu.name} (compute capability {gpu.compute_capability}, driver {gpu.driver})" for gpu in gpus.visible()]
    return ", ".join([_cpu_model(), f"{cores} cores", platform.machine(), *seen])


def here(target: Target) -> Gpu | None:
    """The GPU of this machine that is ``target``: of its compute capability, and of its device's name where the table
    has one (L4 and L40S are both 8.9)."""
    for gpu in gpus.visible():
        same = gpu.compute_capability == target.compute_capability
        if same and _words(target.device) <= _words(gpu.name):
            return gpu
    return None


def is_here(target: Target) -> bool:
    """Whether figures taken on this machine are the target's. Any CPU machine is the target ``cpu``."""
    return target.kind == "cpu" or here(target) is not None


def summary(target: Target) -> TargetSummary:
    """Where figures taken here stand against ``target``."""
    return TargetSummary(name=target.name, measured_on=machine(), is_target=is_here(target))


def _words(name: str) -> set[str]:
    return set(re.split(r"[\s-]+", name.lower())) - {""}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"
