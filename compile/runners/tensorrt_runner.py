"""TensorRT, by execute_async_v3. Standalone: numpy, tensorrt and cuda-python (``cuda.bindings.runtime``).

Parameters: ``graphs``, the batch sizes that are recorded as CUDA graphs, comma-separated (none without it);
``output``, the tensor that is asked for where it isn't ``output__0``.

Buffers are made once, for the largest batch of any profile. A call copies its rows to the GPU, runs by the profile
that takes their number (the narrowest one), and copies the answers back; a batch beyond all profiles goes in parts.
An execution context belongs to one profile, so each has its own: no switch, and a CUDA graph stays valid.
``last_us`` is the GPU's own time of the last call, by CUDA events: without Python, with both copies.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt
from cuda.bindings import runtime

INPUT, OUTPUT = "input__0", "output__0"


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed."""


class PlanError(RuntimeError):
    """The plan can't be read or run here."""


@dataclass(frozen=True)
class Range:
    """The batch sizes that an optimization profile takes."""

    index: int
    smallest: int
    largest: int


def choose(ranges: Sequence[Range], rows: int) -> Range:
    """The narrowest profile that takes ``rows``. PlanError where none does."""
    fitting = [one for one in ranges if one.smallest <= rows <= one.largest]
    if not fitting:
        taken = ", ".join(f"{one.smallest} to {one.largest}" for one in ranges)
        raise PlanError(f"the plan can't run a batch of {rows} rows; its profiles take {taken}")
    return min(fitting, key=lambda one: (one.largest - one.smallest, one.index))


def parts(ranges: Sequence[Range], rows: int) -> list[int]:
    """``rows`` as batches that profiles take: whole where it can be, else by the largest."""
    most = max(one.largest for one in ranges)
    found = [most] * (rows // most)
    return [*found, rows % most] if rows % most else found


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self._cuda = runtime
        self._output = parameters.get("output", OUTPUT)
        self.version = tensorrt.__version__
        self._log = tensorrt.Logger(tensorrt.Logger.WARNING)
        self._runtime = tensorrt.Runtime(self._log)  # an engine needs its runtime for as long as it lives
        engine = self._runtime.deserialize_cuda_engine(Path(model_file).read_bytes())
        if engine is None:
            raise PlanError(f"{model_file}: TensorRT {self.version} can't read this plan on this GPU")
        self._engine = engine
        self._names = (INPUT, self._output)
        self._types = {name: np.dtype(tensorrt.nptype(engine.get_tensor_dtype(name))) for name in self._names}
        self._columns = {name: int(engine.get_tensor_shape(name)[1]) for name in self._names}
        self._ranges = ranges_of(engine)
        self._most = max(one.largest for one in self._ranges)
        self._stream = self._taken(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))
        self._events = [self._taken(runtime.cudaEventCreate()) for _ in range(2)]
        self._host = {name: self._pinned(name) for name in self._names}
        self._device = {name: self._taken(runtime.cudaMalloc(self._bytes(name, self._most))) for name in self._host}
        self._contexts = [self._context(one) for one in self._ranges]
        self._graphs = {
            int(size): self._recorded(int(size)) for size in parameters.get("graphs", "").split(",") if size
        }
        self.last_us = 0.0

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F] -> [N, K], float32 of ``output__0``."""
        out = np.empty((len(rows), self._columns[self._output]), self._types[self._output])
        done = 0
        spent = 0.0
        for size in parts(self._ranges, len(rows)):
            self._host[INPUT][:size] = rows[done : done + size]
            spent += self._run(size)
            out[done : done + size] = self._host[self._output][:size]
            done += size
        self.last_us = spent
        return out

    def _run(self, size: int) -> float:
        """One batch, from the pinned rows to the pinned answers; microseconds on the GPU."""
        cuda, stream = self._cuda, self._stream
        self._taken(cuda.cudaEventRecord(self._events[0], stream))
        if size in self._graphs:
            self._taken(cuda.cudaGraphLaunch(self._graphs[size], stream))
        else:
            self._enqueue(size)
        self._taken(cuda.cudaEventRecord(self._events[1], stream))
        self._taken(cuda.cudaStreamSynchronize(stream))
        return float(self._taken(cuda.cudaEventElapsedTime(*self._events))) * 1e3

    def _enqueue(self, size: int) -> None:
        cuda, stream = self._cuda, self._stream
        kind = cuda.cudaMemcpyKind
        self._taken(
            cuda.cudaMemcpyAsync(
                self._device[INPUT],
                self._host[INPUT].ctypes.data,
                self._bytes(INPUT, size),
                kind.cudaMemcpyHostToDevice,
                stream,
            )
        )
        context = self._contexts[self._ranges.index(choose(self._ranges, size))]
        if not context.set_input_shape(INPUT, (size, self._columns[INPUT])):
            raise PlanError(f"the plan can't run a batch of {size} rows")
        if not context.execute_async_v3(int(stream)):
            raise PlanError(f"TensorRT failed on a batch of {size} rows")
        self._taken(
            cuda.cudaMemcpyAsync(
                self._host[self._output].ctypes.data,
                self._device[self._output],
                self._bytes(self._output, size),
                kind.cudaMemcpyDeviceToHost,
                stream,
            )
        )

    def _recorded(self, size: int) -> Any:
        """A CUDA graph of one batch, copies included. The first run is outside: TensorRT does what it does once."""
        cuda, stream = self._cuda, self._stream
        self._enqueue(size)
        self._taken(cuda.cudaStreamSynchronize(stream))
        self._taken(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        self._enqueue(size)
        graph = self._taken(cuda.cudaStreamEndCapture(stream))
        recorded = self._taken(cuda.cudaGraphInstantiate(graph, 0))
        self._taken(cuda.cudaGraphDestroy(graph))
        return recorded

    def _context(self, one: Range) -> tensorrt.IExecutionContext:
        context = self._engine.create_execution_context()
        if context is None or not context.set_optimization_profile_async(one.index, int(self._stream)):
            raise PlanError(f"profile {one.index} can't be run here")
        self._taken(self._cuda.cudaStreamSynchronize(self._stream))
        for name, address in self._device.items():
            context.set_tensor_address(name, int(address))
        return context

    def _pinned(self, name: str) -> Any:
        """[largest batch, columns] of host memory that the GPU copies from and to by itself."""
        size = self._bytes(name, self._most)
        address = self._taken(self._cuda.cudaMallocHost(size))
        held = (ctypes.c_byte * size).from_address(int(address))
        return np.frombuffer(memoryview(held), self._types[name]).reshape(self._most, self._columns[name])

    def _bytes(self, name: str, rows: int) -> int:
        return int(rows * self._columns[name] * self._types[name].itemsize)

    def _taken(self, answer: tuple[Any, ...]) -> Any:
        """What a call of the CUDA runtime gave beside its status; CudaError where that isn't success."""
        status, *given = answer
        if int(status) != 0:
            raise CudaError(f"CUDA: {getattr(status, 'name', status)}")
        return given[0] if given else None


def ranges_of(engine: tensorrt.ICudaEngine) -> list[Range]:
    """The batch sizes of each of the engine's profiles; of a fixed batch, that one."""
    found = []
    for index in range(engine.num_optimization_profiles):
        smallest, _, largest = engine.get_tensor_profile_shape(INPUT, index)
        found.append(Range(index, int(smallest[0]), int(largest[0])))
    return found
