"""The parts of run.py: each asks one engine, or the main job, of every model that it takes: right first, then time."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import device_timing as timing
import engines
import numpy as np
from engines import SOURCE, Engine, Model, NotMeasuredError

ABS, REL, OF_STD = 2e-6, 1e-5, 2e-5
"""What an answer may be off by: REL of itself, or of a forest ABS, of a net OF_STD of its answers' deviation."""
LAUNCH = "import sys; from millwork.cli import main; sys.exit(main())"
L2_UNTOLD = 64 << 20
"""Bytes, where the runtime doesn't say: an H100 has 50 MiB."""


@dataclass
class Asked:
    models: list[Model]
    batches: tuple[int, ...]
    device: str
    scratch: Path
    tritonserver: str = ""
    watch: Any = None

    @property
    def gpu(self) -> bool:
        return self.device == "cuda"


@dataclass
class Line:
    """One engine with one model: ``state`` right, wrong, failed or not measured; ``figures`` of device_timing, each
    with ``work`` and ``slowed`` (why the GPU was slower than it can be, empty where it wasn't)."""

    part: str
    engine: str = ""
    model: str = ""
    state: str = "not measured"
    why: str = ""
    version: str = ""
    notes: str = ""
    parity: dict[str, Any] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)
    memory_bytes: int | None = None


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def device(asked: Asked) -> Iterator[Line]:
    """NVML: the GPU's names, MIG, clocks, throttling, utilisation and memory are told."""
    _require_gpu(asked)
    if asked.watch is None:
        raise NotMeasuredError("nvidia-ml-py isn't installed")
    watch = engines.runner("gpu_watch")
    state = asked.watch.state()
    untold = [name for name, value in dataclasses.asdict(state).items() if value is None]
    yield Line("device", "NVML", state="right", notes=watch.words(state) + (f"; untold: {untold}" if untold else ""))


def native_cuda(asked: Asked) -> Iterator[Line]:
    """Our own kernel: leaves, answers, then device-resident rows, by launches and as a graph."""
    _require_gpu(asked)
    yield from _each(asked, "native-cuda", "forest", engines.native_cuda)


def nvforest(asked: Asked) -> Iterator[Line]:
    """nvForest tuned for each batch size by itself, and for all of them together as fil-cuda is."""
    device = "gpu" if asked.gpu else "cpu"
    yield from _each(asked, "nvforest", "forest", lambda model: engines.nvforest(model, device, asked.batches))
    if asked.gpu:
        for batch in asked.batches:
            yield from _each(
                asked,
                "nvforest",
                "forest",
                lambda model, batch=batch: engines.nvforest(model, device, (batch,)),
                (batch,),
            )


def onnx_cuda(asked: Asked) -> Iterator[Line]:
    """Nets by ONNX Runtime's CUDA provider."""
    yield from _each(asked, "onnx-cuda", "net", lambda model: engines.onnx(model, asked.device))


def torch(asked: Asked) -> Iterator[Line]:
    """Nets by torch: eager, torch.compile, CUDA graphs."""
    yield from _each(asked, "torch", "net", lambda model: engines.torch(model, asked.device))


def tensorrt(asked: Asked) -> Iterator[Line]:
    """Nets by an engine of this machine's TensorRT, through tensorrt_runner."""
    _require_gpu(asked)
    batches = asked.batches[-4:] if len(asked.batches) > 4 else asked.batches
    build = lambda model: engines.tensorrt(model, batches, asked.scratch)  # noqa: E731
    yield from _each(asked, "tensorrt", "net", build, batches)


def tensorrt_rtx(asked: Asked) -> Iterator[Line]:
    """Whether an engine that TensorRT-RTX builds (for 8.0, and for this GPU itself) loads on this GPU."""
    try:
        api = importlib.import_module("tensorrt_rtx")
    except ImportError as error:
        raise NotMeasuredError("TensorRT-RTX isn't installed") from error
    engine = engines.load(SOURCE / "compile" / "tensorrt" / "engine.py")
    net = _of(asked, "net")[0]
    _require_gpu(asked)
    for capability in ("8.0", ""):
        line = Line(
            "tensorrt-rtx", f"built for {capability or 'the device itself'}", net.folder.name, version=api.__version__
        )
        made = engine.build(
            api, net.folder / "model.onnx", engine.Settings(profiles=((1, 64, 4096),), capability=capability)
        )
        if isinstance(made, engine.Refused):
            line.why = f"{made.stage}: {made.problems[0].words}"
        else:
            loaded = api.Runtime(api.Logger(api.Logger.WARNING)).deserialize_cuda_engine(made.plan)
            line.state, line.notes = "right", f"{'loads' if loaded is not None else 'does NOT load'} on this GPU"
        yield line


def millwork(asked: Asked) -> Iterator[Line]:
    """The main job for this GPU as its target, in the sandbox's GPU profile: every candidate through the gate."""
    yield _job(asked, "millwork", ["--triton", "none"])


def triton(asked: Asked) -> Iterator[Line]:
    """The same, tuned on a real Triton of this machine: KIND_GPU, fil and tensorrt configurations loaded and asked."""
    if not asked.tritonserver:
        raise NotMeasuredError("no --tritonserver PATH")
    yield _job(asked, "triton", ["--triton", asked.tritonserver, "--tune-budget", "60"])


PARTS: dict[str, Callable[[Asked], Iterator[Line]]] = {
    "device": device, "native-cuda": native_cuda, "nvforest": nvforest, "onnx-cuda": onnx_cuda, "torch": torch,
    "tensorrt": tensorrt, "tensorrt-rtx": tensorrt_rtx, "millwork": millwork, "triton": triton,
}  # fmt: skip


def _require_gpu(asked: Asked) -> None:
    if not asked.gpu:
        raise NotMeasuredError("no GPU here, and it has no CPU form")


def _of(asked: Asked, kind: str) -> list[Model]:
    found = [model for model in asked.models if model.card["kind"] == kind]
    if not found:
        raise NotMeasuredError(f"no model of a {kind} was given (--models)")
    return found


def _each(
    asked: Asked, part: str, kind: str, make: Callable[[Model], Engine], batches: tuple[int, ...] = ()
) -> Iterator[Line]:
    for model in _of(asked, kind):
        line = Line(part, part, model.folder.name)
        try:
            _one(asked, line, make, model, batches or asked.batches)
        except NotMeasuredError as error:
            line.state, line.why = "not measured", str(error)
        except Exception as error:  # noqa: BLE001 - an engine that fails is a finding; the others go on
            line.state, line.why = "failed", f"{type(error).__name__}: {str(error).strip()[:300]}"
        yield line


def _one(asked: Asked, line: Line, make: Callable[[Model], Engine], model: Model, batches: tuple[int, ...]) -> None:
    watch = engines.runner("gpu_watch")
    before = asked.watch.state() if asked.watch else None
    engine = make(model)
    line.engine, line.version, line.notes = engine.name, engine.version, engine.notes
    line.parity = parity(model, engine)
    line.state = "right" if line.parity["right"] else "wrong"
    if asked.watch:
        line.memory_bytes = watch.memory_of(before, asked.watch.state())
    if line.state == "wrong":
        return
    rng = np.random.default_rng(2)
    for batch in batches:
        cache = _l2_bytes() if asked.gpu else 1 << 20
        inputs = timing.inputs_for(cache, model.features * 4, batch)
        rows = rng.normal(size=(min(inputs, 512), batch, model.features)).astype(np.float32)
        for name, work, clock in engine.works(rows):
            start = asked.watch.state() if asked.watch else None
            times = timing.measure(work, clock, len(rows), **({} if asked.gpu else {"samples": 16, "budget_s": 0.5}))
            end = asked.watch.state() if asked.watch else None
            line.figures.append(
                {
                    **times.figures(batch),
                    "work": name,
                    "inputs": len(rows),
                    "over_l2": rows.nbytes > cache,
                    "slowed": watch.slowed(start, end) if start and end else "",
                    "gpu": [dataclasses.asdict(start), dataclasses.asdict(end)] if start and end else [],
                }
            )


def parity(model: Model, engine: Engine) -> dict[str, Any]:
    """Leaves to the number, answers within the tolerance; all rows at once, one row, and an odd batch."""
    rows, answers = model.expected["rows"], model.expected["answers"]
    odd = np.concatenate([engine.predict(part) for part in (rows[:1], rows[1:34], rows[34:])])
    allowed = ABS if model.card["kind"] == "forest" else OF_STD * float(np.nanstd(answers))
    found: dict[str, Any] = {"rows": len(rows), "leaf_mismatches": None, "right": True}
    for given in (engine.predict(rows), odd):
        off = np.abs(given.astype(np.float64) - answers)
        same = np.isnan(given) & np.isnan(answers)
        within = same | (off <= np.maximum(allowed, REL * np.abs(answers)))
        found["right"] &= given.shape == answers.shape and bool(within.all())
        found["max_abs"] = max(found.get("max_abs", 0.0), float(np.nanmax(off, initial=0.0)))
    if engine.leaves is not None:
        wanted = model.expected[engine.leaf_kind]
        known = model.expected["leaf_rows"] >= 0
        found["leaf_mismatches"] = int(((engine.leaves(rows) != wanted) & known).sum())
        found["right"] &= found["leaf_mismatches"] == 0
    return found


def _l2_bytes() -> int:
    try:
        from cuda.bindings import runtime

        status, told = runtime.cudaGetDeviceProperties(0)
        return int(told.l2CacheSize) if int(status) == 0 else L2_UNTOLD
    except ImportError:
        return L2_UNTOLD


def _job(asked: Asked, part: str, options: list[str]) -> Line:
    """``millwork optimize`` on the smallest forest in a process of its own; wrong where a candidate isn't equal."""
    model = min(_of(asked, "forest"), key=lambda one: one.card["trees"])
    line = Line(part, "optimize", model.folder.name)
    if importlib.util.find_spec("millwork") is None:
        raise NotMeasuredError("millwork isn't installed (pip install -e .)")
    target = "host"
    if asked.gpu:
        from millwork import gpus, targets

        there = gpus.visible()
        target = targets.called(there[0]) if there else "none"
        if target not in targets.TABLE:
            raise NotMeasuredError(f"{target} is in no table of targets")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            LAUNCH,
            "optimize",
            str(model.folder / "model.json"),
            "--target",
            target,
            "--dry-run",
            "--json",
            "--run-dir",
            str(asked.scratch / part),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=900,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    try:
        record = json.loads(done.stdout)
    except ValueError:
        line.state, line.why = "failed", f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
        return line
    states = {one["id"]: one["status"] for one in record["candidates"]}
    line.notes = ", ".join(f"{name} {state}" for name, state in states.items())
    line.state = "right" if done.returncode == 0 and not {"failed", "error"} & set(states.values()) else "wrong"
    line.parity = {"exit_code": done.returncode, "record": record}
    return line
