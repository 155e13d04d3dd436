"""An NVIDIA GPU as cuda_runner uses it: memory, copies, launches, graphs, events; by the driver's interface
(``cuda.bindings.driver``). Standalone: numpy and cuda-bindings.

The kernels are those of ``forest.fatbin`` where it lies beside the model (or beside millwork's own sources) and has
code for the GPU; else ``forest.cu`` is compiled by NVRTC, which takes some seconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SOURCE, FATBIN = "forest.cu", "forest.fatbin"
OPTIONS = ("--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true")
"""The answers are those of the CPU's kernel only where float arithmetic is IEEE's, step by step."""
NO_BINARY = 209
EVENTS = 4


class CudaError(RuntimeError):
    """The driver, or NVRTC, refuses."""


class Cuda:
    has_graphs = True

    def __init__(self, folder: Path, number: int = 0) -> None:
        from cuda.bindings import driver

        self._driver = driver
        try:
            _taken(driver.cuInit(0))
        except CudaError:
            raise
        except Exception as error:  # the bindings' own, where libcuda.so.1 can't be found
            raise CudaError("this machine has no CUDA driver") from error
        device = _taken(driver.cuDeviceGet(number))
        self._context = _taken(driver.cuDevicePrimaryCtxRetain(device))
        self.enter()
        asked = driver.CUdevice_attribute
        self.processors = self._attribute(asked.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device)
        self.shared_bytes = self._attribute(asked.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device)
        major = self._attribute(asked.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)
        minor = self._attribute(asked.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)
        name = _taken(driver.cuDeviceGetName(64, device)).split(b"\0")[0].decode()
        self.version = f"1 ({name}, sm_{major}{minor}, CUDA driver {_taken(driver.cuDriverGetVersion())})"
        self._number = number
        self._module, self.built_by = self._loaded(folder, major * 10 + minor)
        self._functions: dict[str, Any] = {}
        self.stream = _taken(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        self._events = [_taken(driver.cuEventCreate(0)) for _ in range(EVENTS)]

    @property
    def dl_device(self) -> tuple[int, int]:
        """DLPack's type and number of it."""
        return 2, self._number

    @property
    def dl_stream(self) -> int | None:
        """The stream that reads what is given, as DLPack has it."""
        return int(self.stream)

    def enter(self) -> None:
        """Makes the GPU that of this thread's calls."""
        _taken(self._driver.cuCtxSetCurrent(self._context))

    # ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────

    def room(self, size: int) -> int:
        """The address of ``size`` bytes of zeros on the GPU."""
        address = _taken(self._driver.cuMemAlloc(size))
        _taken(self._driver.cuMemsetD8Async(address, 0, size, self.stream))
        return int(address)

    def free(self, address: int) -> None:
        self.enter()  # whichever thread collects what held it
        _taken(self._driver.cuMemFree(address))

    def pinned(self, size: int) -> Any:
        """uint8 [size] of host memory that the GPU copies from and to by itself."""
        address = int(_taken(self._driver.cuMemHostAlloc(size, 0)))
        return np.frombuffer(memoryview((ctypes.c_uint8 * size).from_address(address)), np.uint8)

    def unpin(self, pinned: Any) -> None:
        """Gives it back; nobody may look at it any more."""
        _taken(self._driver.cuMemFreeHost(pinned.ctypes.data))

    def upload(self, address: int, array: Any) -> None:
        """A whole array, and it is there when this comes back. On our stream: that doesn't wait for the default one, on
        which what isn't asked to be asynchronous may go on after its call."""
        held = np.ascontiguousarray(array)
        if held.nbytes:
            _taken(self._driver.cuMemcpyHtoDAsync(address, held.ctypes.data, held.nbytes, self.stream))
            self.wait()

    def copy_in(self, address: int, pinned: Any, size: int) -> None:
        if size:
            _taken(self._driver.cuMemcpyHtoDAsync(address, pinned.ctypes.data, size, self.stream))

    def copy_out(self, pinned: Any, address: int, size: int) -> None:
        if size:
            _taken(self._driver.cuMemcpyDtoHAsync(pinned.ctypes.data, address, size, self.stream))

    def copy_rows(self, to: int, given: int, rows: int, wide: int, stride: int) -> None:
        """Rows of ``wide`` bytes, ``stride`` bytes apart at ``given``, together at ``to``; on the GPU."""
        if not rows or not wide:
            return
        memory = self._driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
        copy = self._driver.CUDA_MEMCPY2D()
        copy.srcMemoryType = copy.dstMemoryType = memory
        copy.srcDevice, copy.srcPitch, copy.dstDevice, copy.dstPitch = given, max(stride, wide), to, wide
        copy.WidthInBytes, copy.Height = wide, rows
        _taken(self._driver.cuMemcpy2DAsync(copy, self.stream))

    # ── work ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def launch(self, one: Any, given: ctypes.Structure) -> None:
        """A kernel with ``given`` as its one parameter, which is copied here."""
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(given))
        _taken(
            self._driver.cuLaunchKernel(
                self._function(one.kernel),
                one.x,
                one.y,
                1,
                one.threads,
                1,
                1,
                one.shared,
                self.stream,
                ctypes.addressof(parameters),
                0,
            )
        )

    def record(self, work: Callable[[], None]) -> Any:
        """What ``work`` enqueues, as a graph. Once outside first: kernels are loaded then, and not in the recording."""
        work()
        self.wait()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _taken(self._driver.cuStreamBeginCapture(self.stream, mode))
        try:
            work()
        finally:
            graph = _taken(self._driver.cuStreamEndCapture(self.stream))
        made = _taken(self._driver.cuGraphInstantiate(graph, 0))
        _taken(self._driver.cuGraphDestroy(graph))
        return made

    def replay(self, graph: Any) -> None:
        _taken(self._driver.cuGraphLaunch(graph, self.stream))

    def forget(self, graph: Any) -> None:
        _taken(self._driver.cuGraphExecDestroy(graph))

    def mark(self, event: int) -> None:
        _taken(self._driver.cuEventRecord(self._events[event], self.stream))

    def elapsed_us(self, first: int, last: int) -> float:
        return 1e3 * float(_taken(self._driver.cuEventElapsedTime(self._events[first], self._events[last])))

    def wait(self) -> None:
        _taken(self._driver.cuStreamSynchronize(self.stream))

    # ── the kernels ──────────────────────────────────────────────────────────────────────────────────────────────

    def _function(self, name: str) -> Any:
        if name not in self._functions:
            found = _taken(self._driver.cuModuleGetFunction(self._module, name.encode()))
            most = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            static = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
            own = int(_taken(self._driver.cuFuncGetAttribute(static, found)))
            _taken(self._driver.cuFuncSetAttribute(found, most, self.shared_bytes - own))
            self._functions[name] = found
        return self._functions[name]

    def _loaded(self, folder: Path, capability: int) -> tuple[Any, str]:
        """The module, and what made it."""
        fatbin = _beside(folder, FATBIN)
        if fatbin is not None:
            status, module = self._driver.cuModuleLoadData(fatbin.read_bytes())
            if int(status) not in (0, NO_BINARY):
                raise CudaError(f"{fatbin}: {_name(status)}")
            if int(status) == 0:
                return module, FATBIN
        source = _beside(folder, SOURCE)
        if source is None:
            raise CudaError(f"{folder}: there is neither a {FATBIN} for sm_{capability} nor {SOURCE}")
        return _taken(self._driver.cuModuleLoadData(compiled(source, capability))), "NVRTC"

    def _attribute(self, which: Any, device: Any) -> int:
        return int(_taken(self._driver.cuDeviceGetAttribute(which, device)))


def compiled(source: Path, capability: int) -> bytes:
    """The kernels by NVRTC, without a GPU: code of ``sm_capability`` where it knows that, else PTX of the newest below.

    CudaError where there is no NVRTC, with what to install; where the source isn't taken, with its log's beginning."""
    from cuda.bindings import nvrtc

    try:
        known = [int(one) for one in _taken(nvrtc.nvrtcGetSupportedArchs())]
    except CudaError:
        raise
    except Exception as error:  # the bindings' own, where libnvrtc can't be found
        raise CudaError("NVRTC isn't installed: pip install nvidia-cuda-nvrtc") from error
    fitting = [one for one in known if one <= capability]
    if not fitting:
        raise CudaError(f"this NVRTC can't compile for sm_{capability}; it can for {', '.join(map(str, known))}")
    exact = capability in known
    target = f"--gpu-architecture={'sm' if exact else 'compute'}_{max(fitting)}"
    program = _taken(nvrtc.nvrtcCreateProgram(source.read_bytes(), source.name.encode(), 0, [], []))
    options = [option.encode() for option in (target, *OPTIONS)]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if int(status) != 0:
        log = b" " * _taken(nvrtc.nvrtcGetProgramLogSize(program))
        _taken(nvrtc.nvrtcGetProgramLog(program, log))
        raise CudaError(f"{source}: NVRTC: {log.decode(errors='replace')[:500]}")
    size, get = (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN) if exact else (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
    code: bytes = b" " * _taken(size(program))
    _taken(get(program, code))
    _taken(nvrtc.nvrtcDestroyProgram(program))
    return code


def _beside(folder: Path, name: str) -> Path | None:
    """A file beside the model, else beside millwork's own kernel sources."""
    for place in (folder, Path(__file__).resolve().parent.parent / "kernel" / "cuda"):
        if (place / name).is_file():
            return place / name
    return None


def _taken(answer: tuple[Any, ...]) -> Any:
    """What a call gave beside its status; CudaError where that isn't success."""
    status, *given = answer
    if int(status) != 0:
        raise CudaError(f"CUDA: {_name(status)}")
    return given[0] if given else None


def _name(status: Any) -> str:
    return str(getattr(status, "name", status))
