"""Triton Model Analyzer beside our tuner: the same model, server, traffic and machine.

    python benchmarks/model_analyzer.py [--model xgboost-500] [--traffic "batch=64 clients=4;batch=1 clients=32"]

Model Analyzer (quick search, local mode, an environment of its own out of pip) searches for the ONNX model in the
managed Triton's python backend. It is told the concurrency; the batch size by a perf_analyzer that sends no other: its
quick mode takes none (1.58 refuses the option, and ends in a TypeError with perf_analyzer's own flag). Then our tuner
does, for the same model, and for all of its backends as `optimize` would. All three choices and Triton's default are
measured again, interleaved, eight rounds each. Written to benchmarks/results/model_analyzer.json; 3 to 12 minutes a
traffic, most of it Model Analyzer's search.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import tuning as bench

from millwork import environments
from millwork.targets import machine
from millwork.triton import address, install
from millwork.triton import config as triton_config
from millwork.triton import serving as servers
from millwork.triton.settings import Settings
from millwork.tuning import knobs
from millwork.tuning import tune as tuning
from millwork.tuning.knobs import Workload
from millwork.tuning.trials import Trial
from millwork.tuning.tune import TuningSession
from millwork.validators import traffic as traffics
from millwork.validators.traffic import Traffic

VERSION = "1.58.0"
REQUIREMENTS = (f"triton-model-analyzer=={VERSION}",)
LONGEST_S = 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="xgboost-500")
    parser.add_argument("--traffic", default="batch=64 clients=4;batch=1 clients=32")
    parser.add_argument("--lock", default="")
    parser.add_argument("--output", default=str(bench.RESULTS / "model_analyzer.json"))
    options = parser.parse_args()
    output = Path(options.output)
    document: dict[str, Any] = (
        json.loads(output.read_text()) if output.exists() else {"machine": machine(), "version": VERSION, "cells": []}
    )
    for spec in options.traffic.split(";"):
        with bench.held(options.lock):
            cell = compared(options.model, spec)
        document["cells"] = [c for c in document["cells"] if (c["model"], c["traffic"]) != (options.model, spec)] + [
            cell
        ]
        output.write_text(json.dumps(document, indent=1) + "\n")
        print(json.dumps(cell, indent=1), flush=True)


def compared(model: str, spec: str) -> dict[str, Any]:
    root = bench.published(model)
    candidates = bench.served(model, root)
    serving = servers.prepare(address.parse("managed"), None, lambda _: None)
    found = traffics.parse(spec)
    workload = Workload(traffic=found, cores=tuning.cores())
    with tempfile.TemporaryDirectory(prefix="millwork-bench-") as scratch:

        def session(name: str, which: Any = candidates) -> AbstractContextManager[TuningSession]:
            return bench.opened(Path(scratch) / name, serving, which, bench.asking(model, candidates))

        their_settings, their_s, tried = searched(Path(scratch), root / f"{model}-onnx", found)
        onnx = candidates[:1]
        with session("onnx", onnx) as one:
            ours_onnx, onnx_s = tuned(workload, onnx, one)
        with session("all") as one:
            ours, ours_s = tuned(workload, candidates, one)
        candidate = onnx[0]
        default = Trial(0, candidate, knobs.triton_default(candidate.backend, workload))
        choices = [default, Trial(0, candidate, their_settings), ours_onnx, ours]
        with session("final") as one:
            seen = bench.side_by_side(one, workload, choices, bench.FINAL_ROUNDS)
    lines = {}
    names = ("Triton's default", "Model Analyzer", "millwork, onnx alone", "millwork")
    seconds = (0.0, their_s, onnx_s, ours_s)
    for name, choice, rounds, took in zip(names, choices, seen, seconds, strict=True):
        times, interval = bench.ratio(rounds, seen[1], workload)
        lines[name] = {
            "words": choice.words,
            "search_s": round(took, 1),
            **bench.figures(rounds),
            "to_model_analyzer": times,
            "to_model_analyzer_ci": interval,
        }
    return {"model": model, "traffic": spec, "model_analyzer_configurations": tried, "choices": lines}


def tuned(workload: Workload, candidates: Any, session: TuningSession) -> tuple[Trial, float]:
    began = time.monotonic()
    found, _ = bench.chosen(workload, candidates, session)
    return found, time.monotonic() - began


def searched(scratch: Path, published: Path, traffic: Traffic) -> tuple[Settings, float, int]:
    """Model Analyzer's choice, the seconds that it took, and how many configurations it measured."""
    environment = environments.ensure("model-analyzer", REQUIREMENTS, lambda line: print(line, file=sys.stderr))
    own = install.install()
    repository, out, export = scratch / "models", scratch / "out", scratch / "export"
    shutil.copytree(published, repository / published.name)
    export.mkdir()
    libraries = os.pathsep.join(own.libraries)
    paths = f"{own.environment.python.parent if own.environment else ''}{os.pathsep}$PATH"
    started = wrapper(
        scratch / "tritonserver",
        f"LD_LIBRARY_PATH={libraries} PATH={paths} ORT_DISABLE_TELEMETRY=1",
        [own.server, f"--backend-directory={own.backends}", f"--cache-directory={own.caches}"],
    )
    (batch,) = traffic.batches
    asked = wrapper(
        scratch / "perf_analyzer",
        f"LD_LIBRARY_PATH={os.pathsep.join(own.perf_libraries)}",
        [own.perf_analyzer or ""],
        ["-b", str(batch)],
    )
    grpc, http, metrics = free_ports()
    options: dict[str, object] = {
        "model-repository": repository,
        "profile-models": published.name,
        "output-model-repository-path": out,
        "export-path": export,
        "checkpoint-directory": scratch / "checkpoints",
        "triton-launch-mode": "local",
        "triton-server-path": started,
        "perf-analyzer-path": asked,
        "run-config-search-mode": "quick",
        "run-config-search-min-model-batch-size": batch,
        "run-config-search-min-concurrency": traffic.clients,
        "run-config-search-max-concurrency": traffic.clients,
        "triton-grpc-endpoint": f"127.0.0.1:{grpc}",
        "triton-http-endpoint": f"127.0.0.1:{http}",
        "triton-metrics-url": f"http://127.0.0.1:{metrics}/metrics",
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [str(environment.python.with_name("model-analyzer")), "profile", *given, "--skip-detailed-reports"]
    began = time.monotonic()
    log = scratch / "model-analyzer.log"
    with log.open("w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=scratch, timeout=LONGEST_S)
    took = time.monotonic() - began
    table = export / "results" / "metrics-model-inference.csv"
    if done.returncode or not table.exists():
        raise SystemExit(f"Model Analyzer ended with {done.returncode}:\n{log.read_text()[-3000:]}")
    rows = [row for row in csv.DictReader(table.open()) if row["Model"] == published.name]
    best = max(rows, key=lambda row: float(next(v for k, v in row.items() if k.startswith("Throughput"))))
    where = next(path for path in out.rglob("config.pbtxt") if path.parent.name == best["Model Config Path"])
    print(json.dumps(rows, indent=1), file=sys.stderr)
    return triton_config.settings_of(where.read_text()), took, len(rows)


def free_ports() -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in found)


def wrapper(path: Path, variables: str, command: list[str], last: Sequence[str] = ()) -> Path:
    """A program that runs another with variables of its own, and arguments behind those that it is given."""
    path.write_text(f'#!/bin/sh\nexec env {variables} {shlex.join(command)} "$@" {shlex.join(last)}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


if __name__ == "__main__":
    main()
