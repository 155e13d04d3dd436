"""What the driver says of this machine's GPUs: by NVML, by nvidia-smi, and where there is neither."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millwork import gpus, targets
from millwork.gpus import Gpu

A100 = Gpu(name="NVIDIA A100-SXM4-40GB", driver="580.95.05", compute_capability="8.0", memory_gib=40.0)
L40S = Gpu(name="NVIDIA L40S", driver="580.95.05", compute_capability="8.9", memory_gib=45.0)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    gpus.look.cache_clear()
    yield
    gpus.look.cache_clear()


class NvmlError(Exception):
    pass


def nvml(found: list[Gpu], *, loses: bool = False, text: type = str) -> Any:
    """A module as nvidia-ml-py's, of a machine with these GPUs."""

    def told(words: str) -> object:
        return words if text is str else words.encode()

    def name(index: int) -> object:
        if loses:
            raise NvmlError("GPU is lost")
        return told(found[index].name)

    return types.SimpleNamespace(
        NVMLError=NvmlError, nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: len(found),
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetName=name,
        nvmlSystemGetDriverVersion=lambda: told(A100.driver),
        nvmlDeviceGetCudaComputeCapability=lambda index: map(int, found[index].compute_capability.split(".")),
        nvmlDeviceGetMemoryInfo=lambda index: types.SimpleNamespace(total=int(found[index].memory_gib * 2**30)),
    )  # fmt: skip


@pytest.mark.parametrize("text", [str, bytes])
def test_by_nvml(text: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([A100, L40S], text=text))
    assert gpus.visible() == (A100, L40S)


def test_nvml_without_a_driver_or_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml([])
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert gpus.look().why == "none here: the driver shows no device"
    gpus.look.cache_clear()

    def missing() -> None:
        raise NvmlError("NVML Shared Library Not Found")

    module.nvmlInit = missing
    assert gpus.look() == gpus.Sight(why="none here: NVML says NVML Shared Library Not Found")
    gpus.look.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", nvml([A100], loses=True))
    assert gpus.look() == gpus.Sight(why="NVML fails: GPU is lost")


@pytest.mark.parametrize(
    ("printed", "memory"), [("NVIDIA A100-SXM4-40GB, 580.95.05, 8.0, 40960", 40.0), ("A100, 1, 8.0, [N/A]", 0.0)]
)
def test_by_nvidia_smi(printed: str, memory: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [gpu.memory_gib for gpu in gpus.visible()] == [memory]
    gpus.look.cache_clear()
    program.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert gpus.look().why == "nvidia-smi finds none"


def see(monkeypatch: pytest.MonkeyPatch, *found: Gpu) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.Sight(gpus=found))


def test_a_target_is_here_by_its_capability_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert targets.is_here(targets.find("host"))
    see(monkeypatch)
    assert not targets.is_here(targets.find("a100"))
    see(monkeypatch, A100, L40S)
    here = {name for name in targets.TABLE if targets.is_here(targets.find(name))}
    assert here == {"host", "cpu", "a100", "l40s"}, "an L4 is no L40S"
    assert "NVIDIA L40S (compute capability 8.9, driver 580.95.05)" in targets.machine()
    assert targets.summary(targets.find("l4")).is_target is False


def test_every_gpu_of_the_table_has_its_capability() -> None:
    found = {name: target.compute_capability for name, target in targets.TABLE.items() if target.kind == "gpu"}
    assert found == {
        "t4": "7.5", "a100": "8.0", "a10g": "8.6", "l4": "8.9", "l40s": "8.9", "h100": "9.0", "h200": "9.0",
    }  # fmt: skip
