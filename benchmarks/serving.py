"""The native Triton backend against Triton's own ceiling and ONNX Runtime, through a real server, by perf_analyzer.

    python benchmarks/serving.py [--rounds 5] [--seconds 2] [--traffic 1:1,1:8,1:32,64:4,1024:2]

XGBoost, 500 trees of depth 6, 50 features, on the managed Triton; every model with one instance and dynamic batching.
`empty` is a backend that does nothing (empty_backend.cpp, compiled here): what gRPC, Triton and the client cost by
themselves. `native in python` is the same kernel in Triton's python backend; ONNX Runtime is there, too, with one and
with two threads. Answers are checked before anything is timed. Rounds are
interleaved, every other one backwards. Writes benchmarks/results/serving.json and its table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pages

from millwork.compile import kernel
from millwork.pipeline import optimize as pipeline
from millwork.pipeline.options import Options
from millwork.targets import machine
from millwork.triton import config as triton_config
from millwork.triton import install, server
from millwork.triton.client import Session
from millwork.triton.settings import Settings
from millwork.tuning.load.perf_analyzer import ClosedLoop, PerfAnalyzer, closed_loop

HERE = Path(__file__).parent
MODELS, RESULTS = HERE / ".models", HERE / "results"
FEATURES = 50
TRAFFIC = "1:1,1:8,1:32,64:4,1024:2"
SERVED = ("empty", "native", "native in python", "onnxruntime, 1 thread", "onnxruntime, 2 threads")
CEILING, OURS, PEERS = SERVED[0], SERVED[1], SERVED[3:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--traffic", default=TRAFFIC)
    options = parser.parse_args()
    asked = [(int(batch), int(clients)) for batch, clients in (one.split(":") for one in options.traffic.split(","))]
    rows = trained()
    with tempfile.TemporaryDirectory(prefix="millwork-serving-") as scratch:
        repository = Path(scratch) / "models"
        repository.mkdir()
        fill(repository)
        cells = measured(repository, Path(scratch), rows, asked, options.rounds, options.seconds)
    document = {
        "machine": machine(),
        "triton": install.TRITON_VERSION,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cells": cells,
        "targets": targets(cells),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "serving.json").write_text(json.dumps(document, indent=1) + "\n")
    text = page(document)
    pages.put("serving", text)
    print(text)


def trained() -> Any:
    """The model, once, and rows to ask."""
    path = MODELS / "serving.ubj"
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, FEATURES)).astype(np.float32)
    if not path.exists():
        import xgboost

        MODELS.mkdir(exist_ok=True)
        label = (rows[:, 0] + rows[:, 1] * rows[:, 2] + rng.normal(size=len(rows)) > 0).astype(int)
        xgboost.XGBClassifier(n_estimators=500, max_depth=6, learning_rate=0.1).fit(rows, label).save_model(path)
    np.savez(MODELS / "serving-rows.npz", X=rows[:4096])
    return rows[:4096]


def fill(repository: Path) -> None:
    """Each of SERVED as a model of its own, m0, m1, …"""
    kinds = {"native": "managed", "onnx": "managed", "native-python": "none"}
    made = {kind: published(kind, triton) for kind, triton in kinds.items()}
    sources = ("native", "native", "native-python", "onnx", "onnx")
    for number, (source, what) in enumerate(zip(sources, SERVED, strict=True)):
        folder = repository / f"m{number}"
        shutil.copytree(made[source], folder)
        threads = 2 if what == SERVED[-1] else 1
        config = folder / "config.pbtxt"
        text = triton_config.with_settings(config.read_text(), Settings(instances=1, threads=threads, batching=True))
        text = text.replace('name: "m"', f'name: "m{number}"', 1)
        if what == CEILING:
            text = text.replace(f'backend: "{kernel.TRITON_BACKEND}"', 'backend: "empty"')
        config.write_text(text)


def published(kind: str, triton: str) -> Path:
    """A candidate's version in a repository of its own."""
    root = MODELS / f"serving-{kind}"
    shutil.rmtree(root, ignore_errors=True)
    options = Options(
        model=str(MODELS / "serving.ubj"),
        data=str(MODELS / "serving-rows.npz"),
        repository=str(root),
        name="m",
        backends=kind.partition("-")[0],
        traffic="batch=1",
        tune_budget=0,
        run_dir=str(MODELS / f"run-serving-{kind}"),
        triton=triton,
    )
    _, error = pipeline.optimize(options)
    if error is not None:
        raise error
    return root / "m"


def with_empty_backend(installation: install.Installation, folder: Path) -> install.Installation:
    """The managed Triton with one backend more."""
    backends = folder / "backends"
    backends.mkdir()
    for one in Path(installation.backends).iterdir():
        (backends / one.name).symlink_to(one.resolve())
    (backends / "empty").mkdir()
    sources = Path(kernel.__file__).parent
    subprocess.run(
        [
            "c++",
            "-std=c++17",
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-static-libstdc++",
            "-static-libgcc",
            f"-I{sources}",
            str(HERE / "empty_backend.cpp"),
            "-o",
            str(backends / "empty" / "libtriton_empty.so"),
        ],
        check=True,
    )
    return msgspec.structs.replace(installation, backends=str(backends))


def measured(
    repository: Path, scratch: Path, rows: Any, asked: Sequence[tuple[int, int]], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    installation = with_empty_backend(install.install(print), scratch)
    tool = PerfAnalyzer(installation.perf_analyzer or "", installation.perf_libraries)
    tensors = {"input__0": rows}
    cells = []
    with (
        server.start(installation, repository, log=scratch / "triton.log") as running,
        Session(running.grpc_url) as session,
    ):
        for number in range(len(SERVED)):
            session.load(f"m{number}")
        answers = [session.infer(f"m{number}", rows[:1024]) for number in range(len(SERVED))]
        for answer in answers[2:]:
            np.testing.assert_allclose(answers[1], answer, rtol=1e-5, atol=1e-6)
        for batch, clients in asked:
            seen: dict[str, list[Any]] = {what: [] for what in SERVED}
            for sweep in range(rounds):
                order = list(enumerate(SERVED))
                for number, what in order if sweep % 2 else order[::-1]:
                    load = ClosedLoop(batch, clients, seconds)
                    samples = closed_loop(tool, running.grpc_url, f"m{number}", tensors, load, scratch)
                    seen[what].append(samples)
            cells.append({"batch": batch, "clients": clients, "served": {w: figures(s) for w, s in seen.items()}})
            print(cells[-1], flush=True)
    return cells


def figures(rounds: list[Any]) -> dict[str, float]:
    """Medians over the rounds."""
    quantiles = [np.quantile(r.answered, (0.5, 0.99)) for r in rounds]
    rate = [len(r.answered) * int(r.rows[0]) / r.seconds for r in rounds]
    return {
        "rows_per_s": round(statistics.median(rate), 1),
        "p50_us": round(statistics.median(float(q[0]) for q in quantiles), 1),
        "p99_us": round(statistics.median(float(q[1]) for q in quantiles), 1),
    }


def targets(cells: list[dict[str, Any]]) -> list[str]:
    """What was asked for, and what came: ONNX Runtime with one thread, as ours has, is the peer."""
    found = []
    for cell in cells:
        ours, ceiling = cell["served"][OURS], cell["served"][CEILING]
        one, two = (cell["served"][name] for name in PEERS)
        faster, share = ours["rows_per_s"] / one["rows_per_s"], ours["p99_us"] / one["p99_us"]
        more = f"{ours['rows_per_s'] / two['rows_per_s']:.1f} times it with two"
        match cell["batch"], cell["clients"]:
            case 1, 32:
                of = ours["rows_per_s"] / ceiling["rows_per_s"]
                found.append(f"batch 1, 32 clients: {of:.0%} of the ceiling; 90% was asked: {_met(of >= 0.9)}")
            case 64, 4:
                found.append(
                    f"batch 64, 4 clients: {faster:.1f} times ONNX Runtime with one thread ({more}); 6 was asked: "
                    + _met(faster >= 6)
                )
            case 1024, 2:
                found.append(
                    f"batch 1,024, 2 clients: {faster:.1f} times ONNX Runtime with one thread ({more}), at {share:.2f} "
                    f"of its p99; 17 at 0.20 was asked: {_met(faster >= 17 and share <= 0.2)}"
                )
    return found


def _met(met: bool) -> str:
    return "met" if met else "short"


def page(document: dict[str, Any]) -> str:
    where = f"On {document['machine']}, Triton {document['triton']}, medians of {document['rounds']} rounds of"
    lines = [
        f"{where} {document['seconds']:g} s; rows a second, p50 / p99 in µs.",
        "",
        "| batch, clients | " + " | ".join(SERVED) + " |",
        "|---|" + "---|" * len(SERVED),
    ]
    for cell in document["cells"]:
        each = [f"{s['rows_per_s']:,.0f}, {s['p50_us']:,.0f} / {s['p99_us']:,.0f}" for s in cell["served"].values()]
        lines.append(f"| {cell['batch']:,}, {cell['clients']} | " + " | ".join(each) + " |")
    return "\n".join([*lines, "", *(f"- {line}" for line in document["targets"])]) + "\n"


if __name__ == "__main__":
    main()
