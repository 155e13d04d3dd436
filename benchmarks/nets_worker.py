"""One engine of nets.py in a process of its own. Standalone; the eager module alone is made as the tests make it.

    python nets_worker.py ENGINE FOLDER CORE…

FOLDER is nets_made.py's. Prints a line of JSON when the engine is loaded, then one for each line of JSON that it reads:

    {"answers": N, "to": FILE}                            the answers for the first N rows, float64 [N, K]
    {"batch": N, "warm": S, "seconds": S, "most": K}      calls of N rows, timed one by one: {"ns": […]}

A call takes numpy arrays and gives one: torch's engines do torch.from_numpy, the net, its answer, and .numpy().
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np

SLICED = 1024
"""Smaller batches go through so many rows in turn."""

Call = Callable[..., Any]


class Engine:
    def __init__(self, call: Call, rows: list[Any], version: str) -> None:
        self.call, self.rows, self.version = call, rows, version
        self.next = self.batch = 0

    def answers(self, n: int) -> Any:
        answers = np.asarray(self.call(*(part[:n] for part in self.rows)), np.float64)
        return answers.reshape(n, -1)

    def turn(self, batch: int, warm: float, seconds: float, most: int) -> list[int]:
        if batch != self.batch:
            parts = max(1, SLICED // batch)
            self.batch = batch
            self.slices = [
                [np.ascontiguousarray(part[i * batch : (i + 1) * batch]) for part in self.rows] for i in range(parts)
            ]
        call, slices, clock, i = self.call, self.slices, time.perf_counter_ns, self.next
        until = clock() + int(warm * 1e9)
        while clock() < until:
            call(*slices[i % len(slices)])
            i += 1
        until = clock() + int(seconds * 1e9)
        times: list[int] = []
        while not times or (len(times) < most and clock() < until):
            given = slices[i % len(slices)]
            before = clock()
            call(*given)
            times.append(clock() - before)
            i += 1
        self.next = i
        return times


def torch_call(module: Any, answer: str) -> Call:
    """A user's call of a module: numpy in, the answer in numpy out."""
    import torch

    torch.set_num_threads(1)

    def call(*given: Any) -> Any:
        with torch.inference_mode():
            out = module(*map(torch.from_numpy, given))
            if answer in ("binary", "sigmoid"):
                out = torch.sigmoid(out)
            elif answer == "softmax":
                out = torch.softmax(out, dim=1)
            if answer == "binary":
                out = out.reshape(-1, 1)
                out = torch.cat([1 - out, out], dim=1)
            return out.numpy()

    return call


def eager(_: Path, made: dict[str, Any], rows: list[Any]) -> Engine:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from models.nets import KINDS

    return Engine(torch_call(KINDS[made["kind"]]().module, made["answer"]), rows, version("torch"))


def aotinductor(folder: Path, made: dict[str, Any], rows: list[Any]) -> Engine:
    import torch

    model = torch._inductor.aoti_load_package(str(folder / made["files"]["aotinductor"]))  # noqa: SLF001
    return Engine(torch_call(model, made["answer"]), rows, version("torch"))


def onnxruntime(precision: str) -> Callable[..., Engine]:
    def engine(folder: Path, made: dict[str, Any], rows: list[Any]) -> Engine:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = folder / made["files"][precision]
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        run = session.run
        return Engine(lambda *given: run(["output__0"], dict(zip(names, given, strict=True)))[0], rows, ort.__version__)

    return engine


def openvino(precision: str) -> Callable[..., Engine]:
    def engine(folder: Path, made: dict[str, Any], rows: list[Any]) -> Engine:
        import openvino as ov

        core = ov.Core()
        settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        if precision == "fp32":
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        compiled = core.compile_model(str(folder / made["files"][precision]), "CPU", settings)
        request = compiled.create_infer_request()
        return Engine(lambda *given: request.infer(list(given))[0], rows, version("openvino"))

    return engine


ENGINES: dict[str, Callable[..., Engine]] = {
    "torch": eager, "aotinductor": aotinductor, "fp32": onnxruntime("fp32"), "fp16": onnxruntime("fp16"),
    "int8": onnxruntime("int8"), "openvino-fp32": openvino("fp32"), "openvino-int8": openvino("int8"),
}  # fmt: skip


def main() -> int:
    speech = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to stdout
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, map(int, sys.argv[3:]))
    folder = Path(sys.argv[2])
    made = json.loads((folder / "made.json").read_text())
    with np.load(folder / "rows.npz") as archive:
        rows = [archive[name] for name in ("X", "C") if name in archive.files]
    try:
        engine = ENGINES[sys.argv[1]](folder, made, rows)
        engine.answers(1)
    except BaseException as error:  # noqa: BLE001 (whatever an engine throws is what is reported)
        speech.write(json.dumps({"error": _said(error)}) + "\n")
        return 0
    speech.write(json.dumps({"version": engine.version}) + "\n")
    for line in sys.stdin:
        try:
            reply = _reply(engine, json.loads(line))
        except Exception as error:  # noqa: BLE001
            reply = {"error": _said(error)}
        speech.write(json.dumps(reply) + "\n")
    return 0


def _reply(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    if "answers" in asked:
        np.save(asked["to"], engine.answers(asked["answers"]))
        return {}
    return {"ns": engine.turn(asked["batch"], asked["warm"], asked["seconds"], asked["most"])}


def _said(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:300]}"


if __name__ == "__main__":
    sys.exit(main())
