"""200 seeded parity faults in each backend, through the gate's real check: how many pass?

    python benchmarks/faults.py [--tries 200] [--backends onnx,fil,native,tensor,reference]

A fault is one thing of a lowered program that a builder gets wrong (tests/models/planted.py): the backend's real writer
writes that program's files, and they are checked against the right one. ``reference`` has the framework's own file, of
which one thing is changed. A process that dies is a failed candidate, as in a run. Before them each untouched artifact
must pass. Results: benchmarks/results/faults.json. Ends with 1 if any fault passes.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
BACKENDS = ("onnx", "fil", "native", "tensor", "reference")
RELEASE = "25.12"
PASSED = "passed"


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tries", type=int, default=200)
    asked.add_argument("--backends", default=",".join(BACKENDS))
    words = asked.parse_args()
    names = words.backends.split(",")
    with ThreadPoolExecutor(2) as threads:
        found = dict(zip(names, threads.map(tried, names, [words.tries] * len(names)), strict=True))
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for name, line in found.items():
        print(f"{name:10} {line['passed']} of {line['tries']} passed, {line['seconds']:.0f} s")
        print(f"{'':10} {line['verdicts']} {line['got_through']}")
    return int(any(line["passed"] for line in found.values()))


def tried(backend: str, tries: int) -> dict[str, Any]:
    """The figures of one backend: its faults by kind, and those that passed."""
    began = time.monotonic()
    through: list[str] = []
    kinds: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    seed = 0
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(Apart()) as apart:
        gates = apart.call(prepared, backend, Path(scratch))
        while sum(kinds.values()) < tries:
            name = list(gates)[seed % len(gates)]
            folder = Path(scratch) / str(seed)
            kind = kind_of(backend, seed)
            try:
                verdict = apart.call(judged, gates[name], backend, folder, seed)
            except BrokenProcessPool:
                verdict = "the process died"
            seed += 1
            for used in (folder, folder.with_name(f"{folder.name}-check")):
                shutil.rmtree(used, ignore_errors=True)
            if verdict is None:  # no such thing in this model
                continue
            kinds[kind] += 1
            failed[verdict] += 1
            if verdict == PASSED:
                through.append(f"{kind}, {name}, seed {seed - 1}")
    return {
        "tries": sum(kinds.values()),
        "passed": len(through),
        "got_through": through,
        "kinds": dict(kinds),
        "verdicts": dict(failed),
        "models": list(gates),
        "seconds": round(time.monotonic() - began, 1),
    }


class Apart:
    """Another process, and a new one once it died."""

    def __init__(self) -> None:
        self._pool = self._begun()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self._pool = self._begun()
            raise

    def close(self) -> None:
        self._pool.shutdown()

    def _begun(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def prepared(backend: str, scratch: Path) -> dict[str, Any]:
    """The gates of the models that the backend can build, each of which its untouched artifact passes."""
    from models import catboost_models, xgboost_cases, xgboost_models
    from models.gate import gate

    makers: dict[str, Callable[[Path], Path]] = {
        "xgboost binary": lambda at: xgboost_models.save(xgboost_models.model("binary"), at / "model.json"),
        "xgboost multiclass": lambda at: xgboost_models.save(xgboost_models.model("multiclass"), at / "model.json"),
        "xgboost category sets": lambda at: xgboost_cases.CASES["category codes, sets"](at).model,
        "catboost binary": lambda at: catboost_models.save(catboost_models.model("logloss"), at / "model.cbm"),
    }
    if backend == "reference":
        del makers["catboost binary"]
    gates = {}
    for name, make in makers.items():
        folder = scratch / name.replace(" ", "-")
        folder.mkdir()
        judge = gate(make(folder), folder / "gate", limit=60_000)
        whole = judge.build(backend, folder / "whole", RELEASE)
        if whole.artifact is None:
            continue
        verdict = judge.check(whole.artifact, folder / "whole")
        assert verdict.passed, (backend, name, verdict.reason)
        gates[name] = judge
    return gates


def kind_of(backend: str, seed: int) -> str:
    from models import planted, planted_reference

    names = planted_reference.NAMES if backend == "reference" else tuple(fault.__name__ for fault in planted.FAULTS)
    return names[np.random.default_rng(seed).integers(len(names))]


def judged(judge: Any, backend: str, folder: Path, seed: int) -> str | None:
    """What became of the artifact with the fault of that seed; None where the model has nothing of the kind."""
    from millwork.compile.backends.base import Artifact

    plant = of_reference if backend == "reference" else of_program
    try:
        built = plant(judge, backend, folder, seed)
        if not isinstance(built, Artifact):
            return None
        verdict = judge.check(built, folder)
    except Exception as error:  # noqa: BLE001 -- an error is a failed candidate, as in a run
        return f"error: {type(error).__name__}"
    return PASSED if verdict.passed else "failed"


def of_program(judge: Any, backend: str, folder: Path, seed: int) -> Any:
    """What the backend makes of a changed program."""
    from models.planted import FAULTS

    from millwork.compile.backends import table as backends
    from millwork.compile.backends.base import Source
    from millwork.triton_releases import find

    random = np.random.default_rng(seed)
    changed = FAULTS[random.integers(len(FAULTS))](judge.lowered, random)
    if changed is None:
        return None
    folder.mkdir()
    with contextlib.chdir(folder):
        source = Source(str(judge.native), judge.signature)
        return backends.find(backend).build(changed, source, folder, find(RELEASE))


def of_reference(judge: Any, backend: str, folder: Path, seed: int) -> Any:
    """The framework's own file, changed."""
    from models import planted_reference

    random = np.random.default_rng(seed)
    name = planted_reference.NAMES[random.integers(len(planted_reference.NAMES))]
    built = judge.build(backend, folder, RELEASE).artifact
    before = (folder / built.model_file).read_bytes()
    planted_reference.plant(folder / built.model_file, name, random)
    return built if (folder / built.model_file).read_bytes() != before else None


if __name__ == "__main__":
    raise SystemExit(main())
