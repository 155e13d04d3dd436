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
from .errors import UsageError, did_you_mean
from .gpus import Gpu
from .storage.files import refusal
from .storage.opening import read_text
from .values import TargetSummary, Value


class Target(Value):
    """``kind``: cpu or gpu. ``compute_capability`` and ``memory_gib`` are None for a CPU. ``mig``: the profile of a
    slice (``1g.10gb``), empty for a whole GPU. ``precisions``: those that it is to be built in, none for all."""

    name: str
    kind: str
    compute_capability: str | None = None
    memory_gib: float | None = None
    device: str = ""
    mig: str = ""
    precisions: tuple[str, ...] = ()


ENOUGH = 0.9
"""Of a target's memory: a driver keeps some, so an 80 GB H100 says 79.6 GiB and a 24 GB L4 22.5."""

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


LONGEST_TABLE = 1 << 20


def find(name: str, extra: Path | None = None) -> Target:
    """The target called ``name``, from the table or from the TOML file ``extra`` (``[name]`` tables)."""
    table = TABLE | (read(extra) if extra is not None and extra.exists() else {})
    if name in table:
        return table[name]
    raise UsageError(f"unknown target {name!r}{did_you_mean(name, table)}", f"Known targets: {', '.join(table)}.")


def read(path: Path) -> dict[str, Target]:
    """Targets from a TOML file: ``[my-box]`` with ``kind``, ``compute_capability``, ``memory_gib``, ``device``,
    ``mig``, ``precisions``."""
    try:
        tables = tomllib.loads(read_text(path, LONGEST_TABLE))
        return {name: msgspec.convert({"name": name, **table}, Target) for name, table in tables.items()}
    except OSError as error:
        raise UsageError(refusal(error, path), "Write a table of targets there, or remove it.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, TypeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a table of targets: {error}") from error


def machine() -> str:
    """This machine in words: CPU model, cores, architecture; its GPUs with their driver."""
    cores = len(os.sched_getaffinity(0))
    return ", ".join([_cpu_model(), f"{cores} cores", platform.machine(), *map(words, gpus.visible())])


def words(gpu: Gpu) -> str:
    part = f" MIG {gpu.mig}" if gpu.mig else ""
    return f"{gpu.name}{part} (compute capability {gpu.compute_capability}, driver {gpu.driver})"


def here(target: Target) -> Gpu | None:
    """The GPU of this machine that is ``target``."""
    return next((gpu for gpu in gpus.visible() if _is(gpu, target)), None)


def called(gpu: Gpu) -> str:
    """The table's name of a GPU (``h100``); the driver's where the table has none."""
    fitting = [target for target in TABLE.values() if target.kind == "gpu" and _is(gpu, target)]
    return max(fitting, key=lambda target: target.memory_gib or 0.0).name if fitting else _named(gpu)


def is_here(target: Target) -> bool:
    """Whether figures taken on this machine are the target's. Any CPU machine is the target ``cpu``."""
    return target.kind == "cpu" or here(target) is not None


def measured_by(target: Target, *, other_gpu: bool) -> Gpu | None:
    """The GPU that figures for ``target`` are taken on: the target itself, else (``other_gpu``) the first that is here.
    None where it is a CPU, or nothing may be measured."""
    if target.kind == "cpu":
        return None
    return here(target) or (gpus.visible()[0] if other_gpu and gpus.visible() else None)


def measurable(target: Target, *, other_gpu: bool) -> bool:
    """Whether anything may be measured here for ``target``."""
    return target.kind == "cpu" or measured_by(target, other_gpu=other_gpu) is not None


def instead(target: Target) -> str:
    """``h100, not a100``: what is here in the place of a GPU; empty where it is here, or no GPU is."""
    if is_here(target) or not gpus.visible():
        return ""
    return f"{called(gpus.visible()[0])}, not {target.name}"


def summary(target: Target) -> TargetSummary:
    """Where figures taken here stand against ``target``, whose GPU is the only one that may be measured on."""
    return TargetSummary(name=target.name, measured_on=machine(), is_target=is_here(target), gpu=here(target))


def measured_here(target: Target, *, other_gpu: bool) -> TargetSummary:
    """The same, where another GPU may stand in."""
    return msgspec.structs.replace(summary(target), gpu=measured_by(target, other_gpu=other_gpu))


def _is(gpu: Gpu, target: Target) -> bool:
    """Of its compute capability, of its device's name where the table has one (L4 and L40S are both 8.9), as whole or
    the same slice, and with as much memory (0.0: the driver doesn't tell)."""
    if gpu.compute_capability != target.compute_capability or gpu.mig != target.mig:
        return False
    enough = not gpu.memory_gib or gpu.memory_gib >= ENOUGH * (target.memory_gib or 0.0)
    return enough and _words(target.device) <= _words(gpu.name)


def _named(gpu: Gpu) -> str:
    return f"{gpu.name} MIG {gpu.mig}" if gpu.mig else gpu.name


def _words(name: str) -> set[str]:
    return set(re.split(r"[\s-]+", name.lower())) - {""}


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"
