"""What the driver says of this machine's GPUs: by NVML, by nvidia-smi, and where there is neither."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millwork import gpus, targets
from millwork.errors import UsageError
from millwork.gpus import Gpu
from millwork.pipeline.options import Options
from millwork.pipeline.plan import understand

A100 = Gpu(name="NVIDIA A100-SXM4-40GB", driver="580.95.05", compute_capability="8.0", memory_gib=40.0)
L40S = Gpu(name="NVIDIA L40S", driver="580.95.05", compute_capability="8.9", memory_gib=45.0)


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    gpus.look.cache_clear()
    yield
    gpus.look.cache_clear()


class NvmlError(Exception):
    pass


def nvml(found: list[Gpu], *, loses: bool = False, text: type = str, slices: dict[int, list[Gpu]] | None = None) -> Any:
    """A module as nvidia-ml-py's, of a machine with these GPUs; ``slices``: what a GPU is cut into, by its place."""
    cut = slices or {}
    parts = {(place, i): part for place, own in cut.items() for i, part in enumerate(own)}

    def told(words: str) -> object:
        return words if text is str else words.encode()

    def name(index: Any) -> object:
        if loses:
            raise NvmlError("GPU is lost")
        if index in parts:
            return told(f"{parts[index].name} MIG {parts[index].mig}")
        return told(found[index].name)

    def mode(index: int) -> list[int]:
        if found[index].compute_capability == L40S.compute_capability:
            raise NvmlError("Not Supported")
        return [int(index in cut), int(index in cut)]

    def part_of(index: int, place: int) -> tuple[int, int]:
        if (index, place) not in parts:
            raise NvmlError("Not Found")
        return index, place

    return types.SimpleNamespace(
        NVMLError=NvmlError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(found),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=name,
        nvmlSystemGetDriverVersion=lambda: told(A100.driver),
        nvmlDeviceGetCudaComputeCapability=lambda index: map(int, found[index].compute_capability.split(".")),
        nvmlDeviceGetMemoryInfo=lambda index: types.SimpleNamespace(
            total=int((parts[index] if index in parts else found[index]).memory_gib * 2**30)
        ),
        NVML_DEVICE_MIG_ENABLE=1,
        nvmlDeviceGetMigMode=mode,
        nvmlDeviceGetMaxMigDeviceCount=lambda _: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=part_of,
    )


@pytest.mark.parametrize("text", [str, bytes])
def test_by_nvml(text: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([A100, L40S], text=text))
    assert gpus.visible() == (A100, L40S)


def test_of_a_gpu_that_is_cut_its_slices_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    part = msgspec.structs.replace(A100, mig="1g.5gb", memory_gib=4.8)
    monkeypatch.setitem(sys.modules, "pynvml", nvml([A100, L40S], slices={0: [part, part]}))
    assert gpus.visible() == (part, part, L40S)


def test_nvml_without_a_driver_or_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nvml([])
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert gpus.look().why == "none here: the driver shows no device"
    gpus.look.cache_clear()

    def missing() -> None:
        raise NvmlError("NVML Shared Library Not Found")

    module.nvmlInit = missing
    assert gpus.look() == gpus.DetectedGpus(why="none here: NVML says NVML Shared Library Not Found")
    gpus.look.cache_clear()
    monkeypatch.setitem(sys.modules, "pynvml", nvml([A100], loses=True))
    assert gpus.look() == gpus.DetectedGpus(why="NVML fails: GPU is lost")


@pytest.mark.parametrize(
    ("printed", "memory", "mig"),
    [
        ("NVIDIA A100-SXM4-40GB, 580.95.05, 8.0, 40960, Disabled", 40.0, ""),
        ("A100, 1, 8.0, [N/A], [N/A]", 0.0, ""),
        ("A100, 1, 8.0, 40960, Enabled", 40.0, "unknown"),
    ],
)
def test_by_nvidia_smi(printed: str, memory: float, mig: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert [(gpu.memory_gib, gpu.mig) for gpu in gpus.visible()] == [(memory, mig)]
    gpus.look.cache_clear()
    program.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert gpus.look().why == "nvidia-smi finds none"


def see(monkeypatch: pytest.MonkeyPatch, *found: Gpu) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=found))


def test_a_target_is_here_by_its_capability_and_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert targets.is_here(targets.find("host"))
    see(monkeypatch)
    assert not targets.is_here(targets.find("a100"))
    see(monkeypatch, A100, L40S)
    here = {name for name in targets.TABLE if targets.is_here(targets.find(name))}
    assert here == {"host", "cpu", "a100", "l40s"}, "an L4 is no L40S"
    assert "NVIDIA L40S (compute capability 8.9, driver 580.95.05)" in targets.machine()
    assert targets.summary(targets.find("l4")).is_target is False


H100 = Gpu(name="NVIDIA H100 80GB HBM3", driver="580.95.05", compute_capability="9.0", memory_gib=79.6)


def test_another_gpu_stands_in_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = targets.find("a100")
    see(monkeypatch, H100)
    assert targets.instead(wanted) == "h100, not a100"
    assert not targets.measurable(wanted, other_gpu=False)
    assert targets.measurable(wanted, other_gpu=True)
    summary = targets.measured_here(wanted, other_gpu=True)
    assert (summary.is_target, summary.gpu) == (False, H100)
    assert targets.summary(targets.find("h100")).gpu == H100
    assert targets.measured_here(targets.find("host"), other_gpu=True).gpu is None, "a CPU's figures are no GPU's"
    see(monkeypatch)
    assert not targets.measurable(wanted, other_gpu=True), "there is no other"
    assert targets.instead(wanted) == ""


def test_a_slice_and_a_smaller_gpu_are_not_the_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part = msgspec.structs.replace(H100, mig="1g.10gb", memory_gib=9.8)
    see(monkeypatch, part)
    assert not targets.is_here(targets.find("h100"))
    assert targets.instead(targets.find("h100")) == "NVIDIA H100 80GB HBM3 MIG 1g.10gb, not h100"
    file = tmp_path / "targets.toml"
    file.write_text(
        '[slice]\nkind = "gpu"\ncompute_capability = "9.0"\nmemory_gib = 10\ndevice = "H100"\nmig = "1g.10gb"\n'
        'precisions = ["fp32", "fp16"]\n'
    )
    own = targets.find("slice", file)
    assert targets.here(own) == part
    assert own.precisions == ("fp32", "fp16")
    assert not targets.is_here(targets.find("h200")), "an H100 has its capability, and neither its name nor its memory"


def test_the_options_of_another_gpu_and_of_a_targets_precisions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    see(monkeypatch, H100)
    monkeypatch.chdir(tmp_path)
    plan, _ = understand(Options(model="m.json", target="a100", allow_other_gpu=True))
    assert plan.measurable
    with pytest.raises(UsageError, match="the target cpu is no GPU"):
        understand(Options(model="m.json", target="cpu", allow_other_gpu=True))
    (tmp_path / "targets.toml").write_text('[mine]\nkind = "gpu"\nprecisions = ["fp32"]\n')
    with pytest.raises(UsageError, match="--precision int8: the target mine has fp32"):
        understand(Options(model="m.json", target="mine", precision="int8"))


def test_every_gpu_of_the_table_has_its_capability() -> None:
    found = {name: target.compute_capability for name, target in targets.TABLE.items() if target.kind == "gpu"}
    assert found == {
        "t4": "7.5",
        "a100": "8.0",
        "a10g": "8.6",
        "l4": "8.9",
        "l40s": "8.9",
        "h100": "9.0",
        "h200": "9.0",
    }
