"""Engines of run.py at one batch size, as :class:`device_timing.Work`: inputs in turn, copies apart. Only numpy, the
engine and millwork's standalone runners, which are loaded by their files' paths.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import device_timing as timing
import numpy as np

SOURCE = Path(__file__).resolve().parents[2]
RUNNERS = SOURCE / "compile" / "runners"


class NotMeasuredError(Exception):
    """Why a part, or an engine of it, isn't measured here."""


def load(path: Path) -> ModuleType:
    """A standalone file of ours; it can import those beside it. NotMeasuredError where the engine isn't there."""
    name = path.stem
    if name not in sys.modules:
        sys.path.insert(0, str(path.parent))
        try:
            importlib.import_module(name)
        except ImportError as error:
            sys.modules.pop(name, None)
            raise NotMeasuredError(f"{error.name or error} isn't installed") from error
        finally:
            sys.path.remove(str(path.parent))
    return sys.modules[name]


def runner(name: str) -> ModuleType:
    return load(RUNNERS / f"{name}.py")


@dataclass(frozen=True, eq=False)
class Model:
    """A folder of make_models.py. ``expected``: rows, answers and of a forest leaf_rows, tree_leaves."""

    folder: Path
    card: dict[str, Any]
    expected: dict[str, Any]

    @property
    def features(self) -> int:
        return int(self.card["features"])


@dataclass(frozen=True, eq=False)
class Engine:
    """One engine with one model. ``predict``: float32 [N, F] in host memory -> [N, K]; ``leaves``: [N, T], numbered as
    ``leaf_kind`` of the model's expected; ``works``: (name, work, clock) of so many rows and inputs of them."""

    name: str
    version: str
    predict: Callable[[Any], Any]
    works: Callable[[Any], Iterator[tuple[str, Any, Any]]]
    leaves: Callable[[Any], Any] | None = None
    leaf_kind: str = ""
    notes: str = ""


@dataclass
class Simple:
    """A work out of three functions of the input's number."""

    copy_in: Callable[[int], Any]
    run: Callable[[int], Any]
    copy_out: Callable[[int], Any]


def native_cuda(model: Model) -> Engine:
    """Our own kernel: its driver's stream and events, device-resident rows; to 1,024 rows as a graph, too. Up to how
    many rows the small-batch plan is taken is measured first, as it is where a candidate is built."""
    kind = runner("cuda_runner")
    engine = kind.Runner(model.folder / "forest.cuda", {}, 1)
    engine.crossover = kind.crossover(engine)
    device, columns = engine.device, model.expected["answers"].shape[1]

    def works(batches: Any) -> Iterator[tuple[str, Any, Any]]:
        inputs, rows, _ = batches.shape
        pinned = [device.pinned(part.nbytes) for part in batches]
        for place, part in zip(pinned, batches, strict=True):
            place[:] = np.ascontiguousarray(part).view(np.uint8).ravel()
        there = [device.room(place.nbytes) for place in pinned]
        out, answers = device.room(rows * columns * 4), device.pinned(rows * columns * 4)
        for address, part in zip(there, batches, strict=True):
            device.upload(address, part)
        work = Simple(
            lambda i: device.copy_in(there[i], pinned[i], pinned[i].nbytes),
            lambda i: engine.enqueue(there[i], rows, out),
            lambda _: device.copy_out(answers, out, answers.nbytes),
        )
        yield "launches", work, device
        if rows <= kind.GRAPH_ROWS:
            few = min(inputs, 64)
            graphs = [device.record(lambda i=i: engine.enqueue(there[i], rows, out)) for i in range(few)]
            yield "graph", Simple(work.copy_in, lambda i: device.replay(graphs[i % few]), work.copy_out), device
            for graph in graphs:
                device.forget(graph)
        for address in (*there, out):
            device.free(address)
        for place in (*pinned, answers):
            device.unpin(place)

    return Engine(
        "native-cuda",
        engine.version,
        engine.predict,
        works,
        engine.leaves,
        "leaf_rows",
        f"few to {engine.crossover} rows",
    )


def nvforest(model: Model, device: str, tuned_for: tuple[int, ...]) -> Engine:
    """nvForest, tuned for these batches together. It ends each call with its stream, so a wall clock is right; rows and
    answers lie on the GPU."""
    kind = runner("nvforest_runner")
    rng = np.random.default_rng(1)
    sample = rng.normal(size=(max(tuned_for), model.features)).astype(np.float32)
    found = kind.tuned(model.folder / "checkpoint.tl", sample, tuned_for, device)
    parameters = {"answer": model.card["answer"], "device": device, **found}
    engine = kind.Runner(model.folder / "checkpoint.tl", parameters, 1)

    answer = kind.answering(engine.model)

    def works(batches: Any) -> Iterator[tuple[str, Any, Any]]:
        if device == "cpu":
            there = list(batches)
            work = Simple(lambda _: None, lambda i: answer(there[i]), lambda _: None)
            yield "calls", work, timing.WallClock()
            return
        import cupy

        pinned = [_pinned(cupy, part) for part in batches]
        there = [cupy.asarray(part) for part in batches]
        finish = cupy.cuda.Device().synchronize
        last: list[Any] = [answer(there[0])]
        answers = _pinned(cupy, cupy.asnumpy(last[0]))

        def run(i: int) -> None:
            last[0] = answer(there[i])

        work = Simple(lambda i: there[i].set(pinned[i]), run, lambda _: last[0].get(out=answers))
        yield "calls", work, timing.WallClock(finish)

    words = ", ".join(f"{name} {value}" for name, value in found.items())
    return Engine("nvforest", engine.version, engine.predict, works, engine.leaves, "tree_leaves", words)


def _pinned(cupy: Any, array: Any) -> Any:
    memory = cupy.cuda.alloc_pinned_memory(array.nbytes)
    out = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
    out[...] = array
    return out


def onnx(model: Model, device: str) -> Engine:
    """ONNX Runtime by its CUDA provider, asserted; rows and answers bound to the GPU's memory."""
    kind = runner("onnx_runner")
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    try:
        engine = kind.Runner(model.folder / "model.onnx", {"providers": provider}, 1)
    except kind.ProviderError as error:
        raise NotMeasuredError(str(error)) from error
    ort = kind.onnxruntime
    taken = engine.session.get_providers()[0]

    def works(batches: Any) -> Iterator[tuple[str, Any, Any]]:
        bound, there = [], []
        for part in batches:
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(part), device, 0)
            binding = engine.session.io_binding()
            binding.bind_ortvalue_input("input__0", value)
            binding.bind_output("output__0", device, 0)
            bound.append(binding)
            there.append(value)
        last = [0]

        def run(i: int) -> None:
            engine.session.run_with_iobinding(bound[i])
            last[0] = i

        run(0)
        work = Simple(
            lambda i: there[i].update_inplace(np.ascontiguousarray(batches[i])),
            run,
            lambda _: bound[last[0]].copy_outputs_to_cpu(),
        )
        yield "bound", work, timing.WallClock()

    return Engine("onnx-cuda" if device == "cuda" else "onnx", engine.version, engine.predict, works, notes=taken)


class TorchClock:
    """torch's own events on its current stream."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]

    def mark(self, place: int) -> None:
        self._events[place].record()

    def wait(self) -> None:
        self._torch.cuda.synchronize()

    def elapsed_us(self, first: int, last: int) -> float:
        return 1e3 * float(self._events[first].elapsed_time(self._events[last]))


def torch(model: Model, device: str) -> Engine:
    """The net by torch: eager, compiled by Inductor, and eager as a CUDA graph (batches to 1,024): the baseline."""
    try:
        import torch as api
    except ImportError as error:
        raise NotMeasuredError("torch isn't installed") from error
    program = api.export.load(str(model.folder / "net.pt2"))
    if device == "cuda":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, "cuda")
    net = program.module()

    def predict(rows: Any) -> Any:
        with api.inference_mode():
            return net(api.from_numpy(np.ascontiguousarray(rows)).to(device)).cpu().numpy().reshape(len(rows), -1)

    def works(batches: Any) -> Iterator[tuple[str, Any, Any]]:
        with api.inference_mode():
            host = [api.from_numpy(np.ascontiguousarray(part)) for part in batches]
            host = [part.pin_memory() for part in host] if device == "cuda" else host
            there = [part.to(device) for part in host]
            last = [net(there[0])]
            answers = api.empty_like(last[0], device="cpu", pin_memory=device == "cuda")
            clock = TorchClock(api) if device == "cuda" else timing.WallClock()

            def of(call: Any) -> Simple:
                def run(i: int) -> None:
                    last[0] = call(there[i])

                return Simple(
                    lambda i: there[i].copy_(host[i], non_blocking=True),
                    run,
                    lambda _: answers.copy_(last[0], non_blocking=True),
                )

            yield "eager", of(net), clock
            if device != "cuda":
                return
            yield "compile", of(api.compile(net, dynamic=False)), clock
            if len(batches[0]) <= 1024:
                yield "graph", _graphed(api, net, host, there, answers), clock

    return Engine("torch", api.__version__, predict, works)


def _graphed(api: Any, net: Any, host: list[Any], there: list[Any], answers: Any) -> Simple:
    """Eager kernels as one CUDA graph for each of up to 64 inputs."""
    graphs, outs = [], []
    for given in there[:64]:
        side = api.cuda.Stream()
        with api.cuda.stream(side):
            net(given)
        side.synchronize()
        graph = api.cuda.CUDAGraph()
        with api.cuda.graph(graph):
            outs.append(net(given))
        graphs.append(graph)
    few = len(graphs)
    last = [0]

    def run(i: int) -> None:
        last[0] = i % few
        graphs[last[0]].replay()

    return Simple(
        lambda i: there[i % few].copy_(host[i % few], non_blocking=True),
        run,
        lambda _: answers.copy_(outs[last[0]], non_blocking=True),
    )


def tensorrt(model: Model, batches_of: tuple[int, ...], folder: Path) -> Engine:
    """An engine of this machine's TensorRT, built here, by our runner: last_us has both copies, and graphs are recorded
    for batches to 64."""
    if importlib.util.find_spec("tensorrt") is None:
        raise NotMeasuredError("TensorRT isn't installed")
    api = importlib.import_module("tensorrt")
    engine = load(SOURCE / "compile" / "tensorrt" / "engine.py")
    kind = runner("tensorrt_runner")
    tops = sorted(set(batches_of))
    profiles = tuple(zip([1, *(top + 1 for top in tops[:-1])], tops, tops, strict=True))
    made = engine.build(api, model.folder / "model.onnx", engine.Settings(profiles=profiles))
    if isinstance(made, engine.Refused):
        raise NotMeasuredError(f"{made.stage}: {made.problems[0].words}")
    plan = folder / "model.plan"
    plan.write_bytes(made.plan)
    graphs = ",".join(str(top) for top in tops if top <= 64)
    found = kind.Runner(plan, {"graphs": graphs}, 1)

    def works(batches: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "calls", Simple(lambda _: None, lambda i: found.predict(batches[i]), lambda _: None), Spent(found)

    notes = f"built in {made.seconds:.1f} s; run has both copies"
    return Engine("tensorrt", found.version, found.predict, works, notes=notes)


class Spent:
    """A clock of a runner that counts a call's microseconds itself (``last_us``)."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._last = engine, 0

    def mark(self, place: int) -> None:
        self._last = place

    def wait(self) -> None: ...

    def elapsed_us(self, first: int, last: int) -> float:
        of_the_run = (1, 2) if self._last == 3 else (0, 1)  # a sample with copies has four marks, a run alone two
        return float(self._engine.last_us) if (first, last) == of_the_run else 0.0
