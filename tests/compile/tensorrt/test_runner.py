"""The TensorRT runner's control flow, on made-up modules: no GPU ran it. Which profile, which buffers, which errors."""

from __future__ import annotations

import ctypes
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COLUMNS = {"input__0": 3, "output__0": 2}
PROFILES = [(1, 1, 1), (2, 8, 16)]


class Cuda:
    """The CUDA runtime's calls, on plain memory; ``fails`` names one that gives an error. Work is done at once, except
    while a graph is recorded."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sizes: list[int] = []
        self.held: list[Any] = []
        self.work: list[Any] = []
        self.recording = False
        self.fails = ""
        self.cudaStreamNonBlocking = 1
        self.cudaMemcpyKind = types.SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        self.cudaStreamCaptureMode = types.SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        self.do_cudaMalloc = self.do_cudaMallocHost = self.allocate

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*given: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            if name == self.fails:
                return (2,)
            return (0, *getattr(self, f"do_{name}", lambda *_: (7,))(*given))

        return call

    def allocate(self, size: int) -> tuple[int]:
        self.sizes.append(size)
        self.held.append(ctypes.create_string_buffer(size))
        return (ctypes.addressof(self.held[-1]),)

    def later(self, work: Any) -> None:
        if self.recording:
            self.work.append(work)
        else:
            work()

    def do_cudaMemcpyAsync(self, to: int, of: int, size: int, *_: Any) -> tuple[()]:  # noqa: N802
        self.later(lambda: ctypes.memmove(to, of, size))
        return ()

    def do_cudaStreamBeginCapture(self, *_: Any) -> tuple[()]:  # noqa: N802
        self.recording, self.work = True, []
        return ()

    def do_cudaStreamEndCapture(self, *_: Any) -> tuple[Any]:  # noqa: N802
        self.recording = False
        return (list(self.work),)

    def do_cudaGraphInstantiate(self, graph: Any, _: int) -> tuple[Any]:  # noqa: N802
        return (graph,)

    def do_cudaGraphLaunch(self, graph: Any, _: int) -> tuple[()]:  # noqa: N802
        for work in graph:
            work()
        return ()

    def do_cudaEventElapsedTime(self, *_: Any) -> tuple[float]:  # noqa: N802
        return (0.5,)


class Context:
    """Answers [first feature, number of the profile]."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.address, self.profile, self.rows = cuda, {}, -1, 0

    def set_optimization_profile_async(self, index: int, _: int) -> bool:
        self.profile = index
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.address[name] = address
        return True

    def set_input_shape(self, _: str, shape: tuple[int, int]) -> bool:
        low, _, high = PROFILES[self.profile]
        self.rows = shape[0]
        return low <= shape[0] <= high

    def execute_async_v3(self, _: int) -> bool:
        rows = self.rows

        def work() -> None:
            given = (ctypes.c_float * (rows * 3)).from_address(self.address["input__0"])
            out = (ctypes.c_float * (rows * 2)).from_address(self.address["output__0"])
            for row in range(rows):
                out[2 * row], out[2 * row + 1] = given[3 * row], float(self.profile)

        self.cuda.later(work)
        return True


class Engine:
    num_optimization_profiles = len(PROFILES)

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda

    def create_execution_context(self) -> Context:
        return Context(self.cuda)

    def get_tensor_dtype(self, _: str) -> type:
        return np.float32

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return (-1, COLUMNS[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, int]]:
        return [(batch, COLUMNS[name]) for batch in PROFILES[index]]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda()

    def runtime(_: object) -> Any:
        def read(plan: bytes) -> Engine | None:
            return Engine(made) if plan == b"plan" else None

        return types.SimpleNamespace(deserialize_cuda_engine=read)

    class Logger:
        WARNING = 2

        def __init__(self, _: int) -> None: ...

    tensorrt = types.SimpleNamespace(__version__="11.4.0.106", Logger=Logger, Runtime=runtime, nptype=lambda kind: kind)
    bindings = types.SimpleNamespace(runtime=made)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(bindings=bindings))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.delitem(sys.modules, "millwork.compile.runners.tensorrt_runner", raising=False)
    return made


def runner(tmp_path: Path, plan: bytes = b"plan", **parameters: str) -> Any:
    (tmp_path / "model.plan").write_bytes(plan)
    module = importlib.import_module("millwork.compile.runners.tensorrt_runner")
    return module.Runner(tmp_path / "model.plan", parameters, 1)


@pytest.mark.parametrize("graphs", ["", "1,8"])
def test_each_batch_runs_by_its_profile_whole_or_in_parts(graphs: str, cuda: Cuda, tmp_path: Path) -> None:
    made = runner(tmp_path, graphs=graphs)
    assert cuda.sizes == [16 * 3 * 4, 16 * 2 * 4] * 2, "pinned and on the GPU, for the largest batch"
    for rows, profiles in ((1, [0]), (2, [1] * 2), (8, [1] * 8), (16, [1] * 16), (33, [1] * 32 + [0]), (0, [])):
        given = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        answer = made.predict(given)
        assert answer.tolist() == [[x, float(p)] for x, p in zip(given[:, 0].tolist(), profiles, strict=True)]
    assert ("cudaGraphLaunch" in cuda.calls) == bool(graphs)
    made.predict(np.zeros((33, 3), np.float32))
    assert made.last_us == 1500.0, "three parts of half a millisecond"


def test_its_errors_say_what_failed(cuda: Cuda, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"model\.plan: TensorRT 11\.4\.0\.106 can't read this plan on this GPU"):
        runner(tmp_path, plan=b"another")
    cuda.fails = "cudaMalloc"
    with pytest.raises(RuntimeError, match="CUDA: 2"):
        runner(tmp_path)
    cuda.fails = ""
    module = importlib.import_module("millwork.compile.runners.tensorrt_runner")
    with pytest.raises(module.PlanError, match="can't run a batch of 40 rows; its profiles take 1 to 1, 2 to 16"):
        module.choose(module.ranges_of(Engine(cuda)), 40)
