"""Targets: the machines a model is compiled for. A table; ``targets.toml`` in the working folder can add to it.

Compute capabilities are NVIDIA's (the CUDA GPUs page); memory in GiB.
"""

from __future__ import annotations

import os
import platform
import tomllib
from pathlib import Path

import msgspec

from .errors import UsageError
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
    """This machine in words: CPU model, cores, architecture."""
    cores = len(os.sched_getaffinity(0))
    return f"{_cpu_model()}, {cores} cores, {platform.machine()}"


def summary(target: Target) -> TargetSummary:
    """Where figures taken here stand against ``target``. Any CPU machine is the target ``cpu``."""
    return TargetSummary(name=target.name, measured_on=machine(), is_target=target.kind == "cpu")


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"
