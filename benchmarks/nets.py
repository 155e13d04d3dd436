"""Each kind of net in fp32, fp16 and int8 on ONNX Runtime, against eager torch, AOTInductor and OpenVINO.

    python benchmarks/nets.py [--nets mlp,tabm,…] [--batch 1,64,4096] [--engines torch,…] [--seconds 3] [--page-only]

The nets are the tests' (tests/models/nets.py), trained a little, small as tabular nets are. Ours is the artifact that
Triton would serve: guards, the answer and all. An engine is a process of its own on the same core, with one thread;
they take turns, and rounds go to and fro (trees_race.py). Nothing is timed before its answers are torch's, within what
the gate allows its precision. AOTInductor compiles for half a minute a net, once, into benchmarks/.models (remove that
folder when a net of the tests has changed); OpenVINO lives in an environment of its own in the user's cache folder.
Writes benchmarks/results/nets.json and its section of docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import nets_report as report  # noqa: E402
from nets_report import OURS  # noqa: E402
from trees import cores, machine  # noqa: E402
from trees_race import Engine, EngineError, race  # noqa: E402

from millwork import environments  # noqa: E402
from millwork.errors import TargetError  # noqa: E402
from millwork.validators import tolerance  # noqa: E402

WORKER, MAKER = HERE / "nets_worker.py", HERE / "nets_made.py"
OPENVINO = ("openvino==2026.4.1", "numpy==2.4.6")
KINDS = ("mlp", "resnet", "ft-transformer", "tabnet", "tabm", "dcn", "dlrm", "periodic", "piecewise", "saint")
BATCHES = (1, 64, 4096)
ENGINES = ("torch", "aotinductor", *OURS, "openvino-fp32", "openvino-int8")
CHECKED = 1024
"""Rows whose answers are compared before anything is timed."""


class ParityError(Exception):
    """Our own answers aren't torch's."""


def main() -> int:
    asked = arguments()
    if asked.page_only:
        document = json.loads(asked.out.read_text())
    else:
        document = run(asked)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(document, indent=1) + "\n")
    if not asked.no_page:
        report.put(document)
    print(report.judgement(document))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(KINDS))
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)))
    parser.add_argument("--engines", default=",".join(ENGINES), help="torch is always one of them")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a net and batch, for all engines together")
    parser.add_argument("--models", type=Path, default=HERE / ".models" / "nets")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "nets.json")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md as it is")
    return parser.parse_args()


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """The whole document."""
    began = time.perf_counter()
    names = [name for name in ENGINES if name in asked.engines.split(",") or name == "torch"]
    pythons, refused = interpreters(names)
    document: dict[str, Any] = {
        "machine": machine(),
        "seconds": asked.seconds,
        "versions": {},
        "refused": refused,
        "nets": [],
        "cells": [],
    }
    for kind in asked.nets.split(","):
        folder = files(kind, asked.models)
        made = json.loads((folder / "made.json").read_text())
        entry: dict[str, Any] = {
            "name": kind,
            "features": made["features"],
            "parameters": made["parameters"],
            "notes": made["notes"],
            "bytes": {name: (folder / file).stat().st_size for name, file in made["files"].items()},
            "without": dict(made["absent"]),
            "farthest": {},
        }
        document["nets"].append(entry)
        with started(folder, made, pythons, entry) as engines:
            check(made["answer"], engines, entry)
            document["versions"] |= {engine.name: engine.version for engine in engines}
            for batch in map(int, asked.batch.split(",")):
                document["cells"].append(_cell(kind, batch, engines, asked.seconds))
                print(report.line(document["cells"][-1]), flush=True)
    document["took_s"] = round(time.perf_counter() - began)
    document["machine"]["load_after"] = os.getloadavg()[0]
    return document


def interpreters(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Each engine's Python, and why there is none."""
    pythons, refused = {}, {}
    for name in names:
        if not name.startswith("openvino"):
            pythons[name] = sys.executable
            continue
        try:
            pythons[name] = str(environments.ensure("nets-openvino", OPENVINO, print).python)
        except TargetError as error:
            refused[name] = f"pip install {' '.join(OPENVINO)}: {error}"
    return pythons, refused


def files(kind: str, models: Path) -> Path:
    """The net's folder, our own files in it made anew: passes change."""
    folder = models / kind
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{kind}: trained, exported, compiled …", flush=True)
    subprocess.run([sys.executable, MAKER, kind, folder], check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def started(
    folder: Path, made: dict[str, Any], pythons: dict[str, str], entry: dict[str, Any]
) -> Iterator[list[Engine]]:
    """Those that take the net; why another doesn't goes into ``entry``."""
    engines = []
    with contextlib.ExitStack() as stack:
        for name, python in pythons.items():
            if name.rpartition("-")[2] in made["absent"]:
                continue
            try:
                engines.append(stack.enter_context(Engine(name, python, folder, cores()[:1], WORKER)))
            except EngineError as error:
                _leave_out(name, entry, str(error))
        yield engines


def check(answer: str, engines: list[Engine], entry: dict[str, Any]) -> None:
    """Every engine's answers beside torch's; a peer that is off is left out, ours raises ParityError."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "answers.npy"
        wanted = engines[0].answers(CHECKED, file)
        for engine in engines[1:].copy():
            precision = engine.name.rpartition("-")[2]
            allowed = tolerance.of_precision(
                precision if precision in tolerance.SHARES else "fp32",
                wanted.astype(np.float32),
                probability=answer != "identity",
            )
            distance = np.abs(engine.answers(CHECKED, file) - wanted)
            entry["farthest"][engine.name] = float(f"{distance.max():.3g}")
            outside = (distance > allowed.abs + allowed.rel * np.abs(wanted)).any(axis=1).mean()
            if outside > allowed.share:
                if engine.name == "fp32":
                    raise ParityError(f"{entry['name']}: {outside:.2%} of the answers are off ({allowed.words})")
                engines.remove(engine)
                _leave_out(engine.name, entry, f"{outside:.2%} of its answers are off by more than is allowed")


def _leave_out(name: str, entry: dict[str, Any], reason: str) -> None:
    entry["without"][name] = reason
    print(f"{entry['name']}: without {name}: {reason}", flush=True)


def _cell(kind: str, batch: int, engines: list[Engine], seconds: float) -> dict[str, Any]:
    """``us``: of a call; ``ratios``: of each of ours, every other engine's median over it; with the intervals' ends."""
    done = race(engines, batch, seconds, {engine.name for engine in engines}, {})
    return {
        "net": kind,
        "batch": batch,
        "rounds": done.rounds,
        "calls": {name: sum(map(len, times)) for name, times in done.times.items()},
        "us": _rounded(done.medians()),
        "ratios": {name: _rounded(done.ratios(name)) for name in OURS if name in done.times},
    }


def _rounded(table: dict[str, tuple[float, float, float]]) -> dict[str, list[float]]:
    return {name: [float(f"{number:.4g}") for number in numbers] for name, numbers in table.items()}


if __name__ == "__main__":
    sys.exit(main())
