"""The forest kernel (`native`) against every engine that we know of, on the same forests and rows, one thread each.

    python benchmarks/trees.py [--forests "xgboost 500x6x50,…"] [--full] [--batch 1,4,16,64,256,4096,65536]
                               [--engines onedal,…] [--isa avx512,avx2,portable] [--seconds 3] [--page-only]

An engine is a process of its own, pinned to one core; they take turns, so that one runs at any time, and in rounds that
go to and fro (trees_race.py). Engines that pin other packages run in an environment of their own, made in the user's
cache folder; what can't be installed or run is reported with its error. No engine is timed on a forest before its
answers are the framework's: within float32's rounding for the peers, bit for bit for ours.

Ours is timed twice: the call in Python, as every peer's, and the library's call alone, from C. Forests are made once,
into benchmarks/.models; tl2cgen's code of a large one may take minutes to compile, once (--compile-seconds). Writes
benchmarks/results/trees.json, and its section of docs/performance.md. --full: the cross product of XGBoost forests too.
--page-only: write the page again from the results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import trees_forests as forests  # noqa: E402
import trees_report as report  # noqa: E402
from trees_forests import Forest, Shape  # noqa: E402
from trees_race import Engine, EngineError, Race, race  # noqa: E402

from millwork import environments  # noqa: E402
from millwork.errors import TargetError  # noqa: E402

BATCHES = (1, 4, 16, 64, 256, 4096, 65_536)
PEERS: dict[str, tuple[str, ...]] = {
    "xgboost": (),
    "catboost": (),
    "onnxruntime": (),
    "onedal": ("scikit-learn-intelex==2026.2.0", "xgboost-cpu==3.2.0", "catboost==1.2.10"),
    "treelite": ("treelite==4.8.1", "numpy", "scipy"),
    "tl2cgen": ("treelite==4.8.1", "tl2cgen==1.0.0", "numpy", "scipy"),
    "tl2cgen-library": ("treelite==4.8.1", "tl2cgen==1.0.0", "numpy", "scipy"),
    "nvforest": ("nvforest-cu12==26.10.0",),
}
"""Each peer, and what its own environment has; none: this one's."""
OWN, LIBRARY = "millwork", "millwork-library"
CHECKED = 2048
"""Rows whose answers are compared before anything is timed."""
CLOSE = 2e-5
"""Of the sum of the answers' spread and their largest: what the order of sums in float32 may change."""
ROUNDED = 1e-14
"""Of the largest margin: what the order of CatBoost's sums in float64 may change."""
TWO_THREADS, THREADS_BATCH = "millwork-two-threads", 4096


@dataclass(frozen=True)
class Field:
    """The engines that run here. ``pythons``: of each engine its interpreter; ``refused``: why others don't."""

    pythons: dict[str, str]
    refused: dict[str, str]


class ParityError(Exception):
    """Our own answers aren't the framework's."""


def main() -> int:
    asked = arguments()
    if asked.page_only:
        document = json.loads(asked.out.read_text())
    else:
        with tempfile.TemporaryDirectory() as scratch:
            document = run(asked, Path(scratch))
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    asked.page.write_text(report.into_page(asked.page.read_text(), document))
    print(report.tables(document))
    print(report.judgement(document))
    return 0


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forests", default="", help="names, separated by commas; all of the set where none is given")
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=3.0, help="of a forest and batch, for all engines together")
    parser.add_argument("--engines", default=",".join(PEERS), help="the peers; the framework is always one of them")
    parser.add_argument("--isa", default="avx512,avx2,portable", help="instruction sets of ours that are timed as well")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--compile-seconds", type=float, default=300, help="for tl2cgen's C, of one forest")
    parser.add_argument("--models", type=Path, default=forests.MODELS)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "trees.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "performance.md")
    parser.add_argument("--page-only", action="store_true")
    return parser.parse_args(given)


def run(asked: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The whole document."""
    began = time.perf_counter()
    loop = compiled_loop(scratch)
    field = engines_here([name for name in asked.engines.split(",") if name])
    isas = [f"millwork-{isa}" for isa in asked.isa.split(",") if isa]
    document: dict[str, Any] = {
        "machine": machine(),
        "seconds": asked.seconds,
        "versions": {},
        "refused": field.refused,
        "forests": [],
        "cells": [],
        "threads": [],
    }
    for shape in chosen(asked):
        forest = forests.make(shape, loop, asked.compile_seconds, asked.models)
        entry: dict[str, Any] = {
            "name": shape.name,
            "framework": shape.framework,
            **forest.facts,
            "farthest": {},
            "without": {},
        }
        document["forests"].append(entry)
        with started(forest, field, isas, entry) as engines:
            check(forest, engines, entry, scratch)
            document["versions"] |= {engine.name: engine.version for engine in engines}
            _cells(engines, asked, entry, document)
            _threads(forest, engines, asked, document)
    document["took_s"] = round(time.perf_counter() - began)
    document["machine"]["load_after"] = os.getloadavg()[0]
    return document


def chosen(asked: argparse.Namespace) -> list[Shape]:
    by_name = {shape.name: shape for shape in (*forests.FULL, *forests.TINY)}
    if asked.forests:
        return [by_name[name.strip()] for name in asked.forests.split(",")]
    return list(forests.FULL if asked.full else forests.DEFAULT)


def compiled_loop(folder: Path) -> Path:
    library = folder / "loop.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "trees_loop.c"], check=True)
    return library


def engines_here(peers: list[str]) -> Field:
    """Each peer's environment, made where it isn't there."""
    pythons, refused = {}, {}
    for name in peers:
        if not PEERS[name]:
            pythons[name] = sys.executable
            continue
        try:
            made = environments.ensure(f"trees-{name.removesuffix('-library')}", PEERS[name], print)
            pythons[name] = str(made.python)
        except TargetError as error:
            refused[name] = f"pip install {' '.join(PEERS[name])}: {error}"
    return Field(pythons=pythons, refused=refused)


@contextlib.contextmanager
def started(forest: Forest, field: Field, isas: list[str], entry: dict[str, Any]) -> Iterator[list[Engine]]:
    """Those that take the forest; why another doesn't goes into ``entry``."""
    framework = forest.shape.framework
    pythons = {framework: sys.executable} | {
        name: python for name, python in field.pythons.items() if name not in ("xgboost", "catboost")
    }
    engines = []
    with contextlib.ExitStack() as stack:
        for name in (*pythons, OWN, LIBRARY, *isas):
            try:
                engines.append(
                    stack.enter_context(Engine(name, pythons.get(name, sys.executable), forest.file, cores()[:1]))
                )
            except EngineError as error:
                entry["without"][name] = str(error)
                print(f"{forest.shape.name}: without {name}: {error}", flush=True)
        yield engines


def check(forest: Forest, engines: list[Engine], entry: dict[str, Any], scratch: Path) -> None:
    """Every engine's answers beside the framework's; a peer that is off is left out, ours raises ParityError."""
    file, framework = scratch / "answers.npy", engines[0]
    own = next(engine for engine in engines if engine.name == OWN)
    _check_margins(forest, framework.margins(CHECKED, file), own.margins(CHECKED, file))
    wanted, ours = framework.answers(CHECKED, file), own.answers(CHECKED, file)
    allowed = CLOSE * (np.ptp(wanted) + np.abs(wanted).max())
    for engine in engines[1:].copy():
        try:
            got = engine.answers(CHECKED, file)
        except EngineError as error:
            _leave_out(engine, engines, entry, str(error))
            continue
        distance = entry["farthest"][engine.name] = float(np.abs(got - wanted).max())
        if engine.name.startswith(OWN):
            if got.tobytes() != ours.tobytes() or not distance <= allowed:
                raise ParityError(f"{forest.shape.name}: {engine.name} answers something else than {OWN}")
        elif not distance <= allowed:
            _leave_out(engine, engines, entry, f"answers off by up to {distance:.2g}, where {allowed:.2g} is allowed")


def _check_margins(forest: Forest, framework: Any, own: Any) -> None:
    """Bit for bit: XGBoost sums in float32; CatBoost in float64, in an order of its own."""
    same = framework.tobytes() == own.astype(np.float32).astype(np.float64).tobytes()
    if forest.shape.framework == "catboost":
        same = bool((np.abs(framework - own) <= ROUNDED * np.abs(own).max()).all())
    if not same:
        raise ParityError(f"{forest.shape.name}: our margins aren't the framework's: {np.abs(framework - own).max()}")


def _leave_out(engine: Engine, engines: list[Engine], entry: dict[str, Any], reason: str) -> None:
    entry["without"][engine.name] = reason
    print(f"{entry['name']}: without {engine.name}: {reason}", flush=True)
    engines.remove(engine)


def _cells(engines: list[Engine], asked: argparse.Namespace, entry: dict[str, Any], document: dict[str, Any]) -> None:
    last: dict[str, float] = {}
    before = 0
    for batch in map(int, asked.batch.split(",")):
        expected = {name: 0.7 * seconds * batch / before for name, seconds in last.items() if batch >= 4 * before >= 16}
        done = _raced(engines, batch, asked.seconds, expected, entry)
        medians = done.medians()
        last = {name: us[0] / 1e6 for name, us in medians.items()} | done.left_out
        before = batch
        document["cells"].append(_cell(entry["name"], batch, done, medians))
        print(report.line(document["cells"][-1]), flush=True)


def _raced(
    engines: list[Engine], batch: int, seconds: float, expected: dict[str, float], entry: dict[str, Any]
) -> Race:
    """Again without a peer that dies of it."""
    kept = {engine.name for engine in engines if engine.name.startswith(OWN)}
    while True:
        try:
            return race(engines, batch, seconds, kept, expected)
        except EngineError as error:
            dead = next(engine for engine in engines if engine.process.poll() is not None)
            if dead.name in kept:
                raise
            _leave_out(dead, engines, entry, f"{batch} rows: {error}")


def _cell(name: str, batch: int, done: Race, medians: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    """``us``: of a call; ``python``, ``library``: each engine's median over ours, called in Python and from C. Each
    with its interval's ends."""
    return {
        "forest": name,
        "batch": batch,
        "rounds": done.rounds,
        "calls": {engine: sum(map(len, times)) for engine, times in done.times.items()},
        "us": _rounded(medians),
        "python": _rounded(done.ratios(OWN)),
        "library": _rounded(done.ratios(LIBRARY)),
        "left_out_s": {engine: float(f"{seconds:.3g}") for engine, seconds in done.left_out.items()},
    }


def _rounded(table: dict[str, tuple[float, float, float]]) -> dict[str, list[float]]:
    return {name: [float(f"{number:.4g}") for number in numbers] for name, numbers in table.items()}


def _threads(forest: Forest, engines: list[Engine], asked: argparse.Namespace, document: dict[str, Any]) -> None:
    """Two threads on two cores against one."""
    if len(cores()) < 2:
        return
    one = next(engine for engine in engines if engine.name == LIBRARY)
    with Engine(TWO_THREADS, sys.executable, forest.file, cores()[:2]) as two:
        done = race([one, two], THREADS_BATCH, asked.seconds / 3, {LIBRARY, TWO_THREADS}, {})
    ratios = _rounded(done.ratios(TWO_THREADS))
    document["threads"].append(
        {"forest": forest.shape.name, "batch": THREADS_BATCH, "us": _rounded(done.medians()), "faster": ratios[LIBRARY]}
    )


def cores() -> list[int]:
    """Those that this process may run on; engines take the first."""
    return sorted(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return {
        "cpu": facts.get("model name", platform.processor()),
        "family": facts.get("cpu family", ""),
        "model": facts.get("model", ""),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
