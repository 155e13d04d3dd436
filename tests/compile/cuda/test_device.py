"""cuda_device against the driver's interface: every call by a name that ``cuda.bindings.driver`` has, with as many
arguments as it takes. A driver that answers isn't needed; that it would answer so isn't shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.forests import hard_rows, program_of, random_forest

from millwork.compile.backends.native import cuda_file
from millwork.compile.runners import cuda_device
from millwork.compile.runners.cuda_runner import Runner

real = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings isn't installed")


class Driver:
    """Stands for the driver: enumerations and structures are the real ones, calls are counted and given what one would
    give. Memory is the host's."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.memory: list[Any] = []
        self.load_status = 0
        self.attributes = {
            "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 132,
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 9,
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 0,
            "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232_448,
        }

    def __getattr__(self, name: str) -> Any:
        found = getattr(real, name)
        if not name.startswith("cu") or isinstance(found, type):
            return found
        first = found.__doc__.strip().splitlines()[0]
        arguments = re.fullmatch(rf"{name}\((.*)\)", first)
        assert arguments is not None, first
        takes = len([one for one in arguments[1].split(",") if one.strip()])

        def call(*given: Any) -> tuple[Any, ...]:
            assert len(given) == takes, f"{first}: {len(given)} arguments"
            self.calls.append((name, given))
            own = getattr(self, f"_{name}", None)
            return (real.CUresult.CUDA_SUCCESS, *(own(*given) if own else ()))

        return call

    def _address(self, size: int) -> int:
        held = np.zeros(size + 64, np.uint8)
        self.memory.append(held)
        return int(held.ctypes.data)

    def _cuDeviceGet(self, _: int) -> tuple[Any]:  # noqa: N802 -- the driver's own names
        return (real.CUdevice(),)

    def _cuDevicePrimaryCtxRetain(self, _: Any) -> tuple[Any]:  # noqa: N802
        return (real.CUcontext(),)

    def _cuDeviceGetAttribute(self, which: Any, _: Any) -> tuple[int]:  # noqa: N802
        return (self.attributes[which.name],)

    def _cuDeviceGetName(self, size: int, _: Any) -> tuple[bytes]:  # noqa: N802
        return (b"NVIDIA H100".ljust(size, b"\0"),)

    def _cuDriverGetVersion(self) -> tuple[int]:  # noqa: N802
        return (13000,)

    def _cuModuleLoadData(self, code: bytes) -> tuple[Any]:  # noqa: N802
        assert isinstance(code, bytes)
        return (real.CUmodule(),)

    def _cuModuleGetFunction(self, _: Any, name: bytes) -> tuple[Any]:  # noqa: N802
        assert name.startswith(b"mw_")
        return (real.CUfunction(),)

    def _cuFuncGetAttribute(self, which: Any, _: Any) -> tuple[int]:  # noqa: N802
        assert isinstance(which, real.CUfunction_attribute)
        return (16,)

    def _cuStreamCreate(self, _: Any) -> tuple[Any]:  # noqa: N802
        return (real.CUstream(),)

    def _cuEventCreate(self, _: int) -> tuple[Any]:  # noqa: N802
        return (real.CUevent(),)

    def _cuEventElapsedTime(self, *_: Any) -> tuple[float]:  # noqa: N802
        return (0.25,)

    def _cuMemAlloc(self, size: int) -> tuple[int]:  # noqa: N802
        return (self._address(size),)

    def _cuMemHostAlloc(self, size: int, _: int) -> tuple[int]:  # noqa: N802
        return (self._address(size),)

    def _cuStreamEndCapture(self, _: Any) -> tuple[Any]:  # noqa: N802
        return (real.CUgraph(),)

    def _cuGraphInstantiate(self, *_: Any) -> tuple[Any]:  # noqa: N802
        return (real.CUgraphExec(),)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    import cuda.bindings

    found = Driver()
    monkeypatch.setattr(cuda.bindings, "driver", found)
    return found


def test_every_call_is_one_that_the_driver_has(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "forest.fatbin").write_bytes(b"code")
    cuda_file.write(program_of(random_forest(3)), tmp_path / "forest.cuda")
    runner = Runner(tmp_path / "forest.cuda", {}, 1)
    assert runner.version == "1 (NVIDIA H100, sm_90, CUDA driver 13000)"
    assert runner.device.built_by == "forest.fatbin"
    runner.predict(hard_rows(1, 7, 5))
    runner.predict(hard_rows(1, 7, 5))
    runner.leaves(hard_rows(1, 2000, 5))
    assert runner.predict_device(runner.device.room(4000), 100, runner.device.room(4000)) == 250
    runner.device.copy_rows(runner.device.room(64), runner.device.room(64), 2, 8, 16)
    runner.device.free(runner.device.room(16))
    made = [name for name, _ in driver.calls]
    assert made.count("cuGraphInstantiate") == 1
    assert made.count("cuGraphLaunch") == 2
    recorded = made[made.index("cuStreamBeginCapture") + 1 : made.index("cuStreamEndCapture")]
    assert recorded == ["cuMemcpyHtoDAsync", "cuLaunchKernel", "cuMemcpyDtoHAsync"], "nothing else may be captured"
    default = {"cuMemsetD8", "cuMemcpyHtoD", "cuMemcpyDtoH"}
    assert not default & set(made), "they are on the default stream, which ours doesn't wait for"
    launched = next(given for name, given in driver.calls if name == "cuLaunchKernel")
    assert launched[1:7] == (1, 1, 1, 128, 1, 1)


def test_a_fatbin_without_code_for_the_gpu_is_passed_over(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forest.fatbin").write_bytes(b"code")
    (tmp_path / "forest.cu").write_text("source")
    asked: list[tuple[Path, int]] = []
    monkeypatch.setattr(cuda_device, "compiled", lambda *given: asked.append(given) or b"new")
    answer = driver._cuModuleLoadData

    def load(code: bytes) -> tuple[Any, ...]:
        return (real.CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU, None) if code == b"code" else (0, *answer(code))

    driver.__dict__["cuModuleLoadData"] = load
    assert int(real.CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU) == cuda_device.NO_BINARY
    assert cuda_device.Cuda(tmp_path).built_by == "NVRTC"
    assert asked == [(tmp_path / "forest.cu", 90)]
    driver.__dict__["cuModuleLoadData"] = lambda _: (real.CUresult.CUDA_ERROR_INVALID_IMAGE, None)
    with pytest.raises(cuda_device.CudaError, match=r"forest\.fatbin: CUDA_ERROR_INVALID_IMAGE"):
        cuda_device.Cuda(tmp_path)


def test_what_the_driver_refuses_is_named(driver: Driver, tmp_path: Path) -> None:
    driver.__dict__["cuInit"] = lambda _: (real.CUresult.CUDA_ERROR_NO_DEVICE,)
    with pytest.raises(cuda_device.CudaError, match="CUDA: CUDA_ERROR_NO_DEVICE"):
        cuda_device.Cuda(tmp_path)
