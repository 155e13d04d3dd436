"""One engine of trees.py in a process of its own. Standalone: run in the engine's own environment.

    python trees_worker.py ENGINE FOREST.json CORE…

FOREST.json says where the model, its artifacts and the rows are (see trees_forests.py). Prints a line of JSON when the
engine is loaded, then one for each line of JSON that it reads, and does nothing between them. CORE…: where it runs.

    {"answers": N, "to": FILE}                            the answers for the first N rows, float64 [N]
    {"margins": N, "to": FILE}                            the same of raw scores: the frameworks and ours only
    {"batch": N, "warm": S, "seconds": S, "most": K}      calls of N rows, timed one by one: {"ns": […]}

Synthetic forests are regressions, so what is timed is the margin; a classifier's answer is the last class's.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np

SLICED = 1024
"""Smaller batches go through so many rows in turn, so that no branch predictor knows the row."""

Call = Callable[[Any], Any]
"""A user's call in Python: rows float32 [N, F] -> the answers."""


class Timed:
    """Calls of a function in Python."""

    def __init__(
        self,
        call: Call,
        rows: Any,
        version: str,
        *,
        margin: Call | None = None,
        prepare: Callable[[int], None] = lambda _batch: None,
    ) -> None:
        """``prepare``: is told the batch before the first call of it."""
        self.call, self.rows, self.version, self.margin, self.prepare = call, rows, version, margin, prepare
        self.next = self.batch = 0

    def answers(self, n: int) -> Any:
        self.prepare(n)
        return np.asarray(self.call(self.rows[:n]), np.float64).reshape(n, -1)[:, -1]

    def margins(self, n: int) -> Any:
        assert self.margin is not None
        return np.asarray(self.margin(self.rows[:n]), np.float64).reshape(n)

    def turn(self, batch: int, warm: float, seconds: float, most: int) -> list[int]:
        if batch != self.batch:
            self.prepare(batch)
            self.batch, self.slices = batch, [self.rows[i * batch : (i + 1) * batch] for i in range(slices(batch))]
        call, parts, clock, i = self.call, self.slices, time.perf_counter_ns, self.next
        until = clock() + int(warm * 1e9)
        while clock() < until:
            call(parts[i % len(parts)])
            i += 1
        until = clock() + int(seconds * 1e9)
        times: list[int] = []
        while not times or (len(times) < most and clock() < until):
            part = parts[i % len(parts)]
            before = clock()
            call(part)
            times.append(clock() - before)
            i += 1
        self.next = i
        return times


class Work(ctypes.Structure):
    """``work`` of trees_loop.c."""

    _fields_ = [
        ("function", ctypes.c_void_p),
        ("model", ctypes.c_void_p),
        ("threads", ctypes.c_int),
        ("rows", ctypes.c_void_p),
        ("n", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
        ("slices", ctypes.c_size_t),
        ("out", ctypes.c_void_p),
    ]


class Looped:
    """Calls of a library from trees_loop.c: nothing of Python in what is timed."""

    def __init__(
        self, loop: Any, function: Any, model: Any, rows: Any, version: str, width: int = 1, threads: int = 1
    ) -> None:
        self.rows, self.version, self.width, self.next = rows, version, width, 0
        self.loop = loop.timed
        self.loop.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_long,
            ctypes.c_void_p,
        ]
        self.loop.restype = ctypes.c_long
        self.out = np.zeros((len(rows), width), np.float32)
        self.work = Work(
            ctypes.cast(function, ctypes.c_void_p),
            model,
            threads,
            rows.ctypes.data,
            0,
            rows.shape[1],
            1,
            self.out.ctypes.data,
        )

    def answers(self, n: int) -> Any:
        self.work.n, self.work.slices = n, 1
        self._ask(0, 0, 1)
        return self.out[:n, -1].astype(np.float64)

    def turn(self, batch: int, warm: float, seconds: float, most: int) -> list[int]:
        self.work.n, self.work.slices = batch, slices(batch)
        return self._ask(warm, seconds, most)

    def _ask(self, warm: float, seconds: float, most: int) -> list[int]:
        times = np.zeros(most, np.int64)
        work = ctypes.byref(self.work)
        count = self.loop(work, self.next, int(warm * 1e9), int(seconds * 1e9), most, times.ctypes.data)
        if count < 0:
            raise ValueError("the library refused the call")
        self.next += count
        return times[:count].tolist()  # type: ignore[no-any-return]


def slices(batch: int) -> int:
    return max(1, SLICED // batch)


# ── the engines ───────────────────────────────────────────────────────────────────────────────────────────


def xgboost(forest: dict[str, Any], rows: Any) -> Timed:
    import xgboost

    booster = xgboost.Booster(model_file=forest["model"])
    booster.set_param({"nthread": 1})
    booster.feature_names = booster.feature_types = None
    return Timed(
        lambda part: booster.inplace_predict(part, validate_features=False),
        rows,
        xgboost.__version__,
        margin=lambda part: booster.inplace_predict(part, predict_type="margin"),
    )


def catboost(forest: dict[str, Any], rows: Any) -> Timed:
    import catboost

    model, kind = _catboost(forest), "Probability" if forest["classifier"] else "RawFormulaVal"
    return Timed(
        lambda part: model.predict(part, prediction_type=kind, thread_count=1),
        rows,
        catboost.__version__,
        margin=lambda part: model.predict(part, prediction_type="RawFormulaVal", thread_count=1),
    )


def _catboost(forest: dict[str, Any]) -> Any:
    import catboost

    model = (catboost.CatBoostClassifier if forest["classifier"] else catboost.CatBoostRegressor)()
    return model.load_model(forest["model"])


def onnxruntime(forest: dict[str, Any], rows: Any) -> Timed:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(forest["onnx"], options, providers=["CPUExecutionProvider"])
    names = ["output__0"]
    return Timed(lambda part: session.run(names, {"input__0": part})[0], rows, onnxruntime.__version__)


def onedal(forest: dict[str, Any], rows: Any) -> Timed:
    import daal4py

    daal4py.daalinit(1)
    if forest["framework"] == "xgboost":
        import xgboost

        booster = xgboost.Booster(model_file=forest["model"])
        booster.feature_names = booster.feature_types = None
        model = daal4py.mb.convert_model(booster)
    else:
        model = daal4py.mb.convert_model(_catboost(forest))
    call = model.predict_proba if forest["classifier"] else model.predict
    return Timed(call, rows, _version("scikit-learn-intelex"))


def gtil(forest: dict[str, Any], rows: Any) -> Timed:
    import treelite

    model = _treelite(forest)
    return Timed(lambda part: treelite.gtil.predict(model, part, nthread=1), rows, treelite.__version__)


def _treelite(forest: dict[str, Any]) -> Any:
    """By Treelite's own reader; it has none for CatBoost, so there our checkpoint is taken."""
    import treelite

    if forest["framework"] == "xgboost":
        return treelite.frontend.load_xgboost_model(forest["model"])
    return treelite.Model.deserialize(forest["treelite"])


def tl2cgen(forest: dict[str, Any], rows: Any) -> Timed:
    import tl2cgen

    predictor = tl2cgen.Predictor(_compiled(forest), nthread=1)
    return Timed(lambda part: predictor.predict(tl2cgen.DMatrix(part)), rows, tl2cgen.__version__)


def tl2cgen_library(forest: dict[str, Any], rows: Any) -> Looped:
    """Its rows are made ready beforehand: a NaN is the integer -1 there."""
    import tl2cgen

    entries = rows.copy()
    entries.view(np.int32)[np.isnan(rows)] = -1
    library = ctypes.CDLL(_compiled(forest))
    return Looped(_loop(forest), library.predict, None, entries, tl2cgen.__version__)


def _compiled(forest: dict[str, Any]) -> str:
    """The library that gcc makes of tl2cgen's C; kept, and so is that it took too long."""
    import tl2cgen

    path, limit = Path(forest["folder"]) / "tl2cgen.so", forest["compile_seconds"]
    late = path.with_suffix(".late")
    if late.exists() and float(late.read_text()) >= limit:
        raise TimeoutError(f"gcc -O3 takes more than {late.read_text()} s for its C")
    if path.exists():
        return str(path)
    sources = path.with_suffix("")
    tl2cgen.generate_c_code(_treelite(forest), dirpath=sources, params={"parallel_comp": 64})
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        _gcc(sources, path, limit)
    except subprocess.TimeoutExpired as error:
        late.write_text(str(limit))
        raise TimeoutError(f"gcc -O3 takes more than {limit} s for its C") from error
    finally:
        os.sched_setaffinity(0, pinned)
        shutil.rmtree(sources)
    return str(path)


def _gcc(sources: Path, library: Path, limit: float) -> None:
    """As tl2cgen's own export_lib does it, but stopped in time."""
    until = time.perf_counter() + limit

    def compiled(unit: Path) -> str:
        command = ["gcc", "-c", "-O3", "-fPIC", "-std=c99", unit.name]
        subprocess.run(command, cwd=sources, check=True, timeout=max(until - time.perf_counter(), 0.01))
        return unit.with_suffix(".o").name

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sorted(sources.glob("*.c"))))
    subprocess.run(["gcc", "-shared", "-O3", "-o", library, *objects, "-lm"], cwd=sources, check=True)


def nvforest(forest: dict[str, Any], rows: Any) -> Timed:
    """With the layout and chunks that its own ``optimize`` chooses for the batch, from at most 64 rows."""
    import nvforest

    own = forest["framework"] == "xgboost"
    path, kind = (forest["model"], "xgboost_ubj") if own else (forest["treelite"], "treelite_checkpoint")
    plain = nvforest.load_model(path, model_type=kind, device="cpu")
    tuned: dict[int, Any] = {}
    current = plain

    def prepare(batch: int) -> None:
        nonlocal current
        n = min(batch, 64)
        if n not in tuned:
            tuned[n] = plain.optimize(data=rows[:n], timeout=0.0)
        current = tuned[n]

    def call(part: Any) -> Any:
        return current.predict_proba(part) if forest["classifier"] else current.predict(part)

    return Timed(call, rows, _version("nvforest"), prepare=prepare)


def _ours(isa: str = "", threads: int = 1, library: bool = True) -> Callable[[dict[str, Any], Any], Any]:
    def engine(forest: dict[str, Any], rows: Any) -> Any:
        sys.path.insert(0, str(Path(forest["native_runner"]).parent))
        spec = importlib.util.spec_from_file_location("native_runner", forest["native_runner"])
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        runner = module.Runner(Path(forest["native"]), {"isa": isa} if isa else {}, threads)
        if not library:
            return Timed(runner.predict, rows, runner.version, margin=runner.margins)
        looped = Looped(
            _loop(forest), runner.library.mw_predict, runner.handle, rows, runner.version, runner.shape.answers, threads
        )
        looped.runner = runner  # type: ignore[attr-defined]  # what closes the model when it goes
        return looped

    return engine


def _loop(forest: dict[str, Any]) -> Any:
    return ctypes.CDLL(forest["loop"])


def _version(package: str) -> str:
    import importlib.metadata as metadata

    return next(
        found.version for found in metadata.distributions() if (found.metadata["Name"] or "").startswith(package)
    )


ENGINES: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "xgboost": xgboost, "catboost": catboost, "onnxruntime": onnxruntime, "onedal": onedal, "treelite": gtil,
    "tl2cgen": tl2cgen, "tl2cgen-library": tl2cgen_library, "nvforest": nvforest, "millwork": _ours(library=False),
    "millwork-library": _ours(), "millwork-avx512": _ours("avx512"), "millwork-avx2": _ours("avx2"),
    "millwork-portable": _ours("portable"), "millwork-two-threads": _ours(threads=2),
}  # fmt: skip


def main() -> int:
    speech = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to stdout
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, map(int, sys.argv[3:]))
    engine, forest = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    rows = np.load(forest["rows"])
    try:
        made = ENGINES[engine](forest, rows)
    except BaseException as error:  # noqa: BLE001 (whatever an engine throws is what is reported)
        speech.write(json.dumps({"error": _said(error)}) + "\n")
        return 0
    speech.write(json.dumps({"version": made.version}) + "\n")
    for line in sys.stdin:
        try:
            reply = answer(made, json.loads(line))
        except Exception as error:  # noqa: BLE001
            reply = {"error": _said(error)}
        speech.write(json.dumps(reply) + "\n")
    return 0


def answer(engine: Any, asked: dict[str, Any]) -> dict[str, Any]:
    for what in ("answers", "margins"):
        if what in asked:
            np.save(asked["to"], getattr(engine, what)(asked[what]))
            return {}
    return {"ns": engine.turn(asked["batch"], asked["warm"], asked["seconds"], asked["most"])}


def _said(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:300]}"


if __name__ == "__main__":
    sys.exit(main())
