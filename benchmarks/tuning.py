"""What the tuner chooses, against an exhaustive grid and Triton's default, on the managed Triton.

    python benchmarks/tuning.py [--models xgboost-500,xgboost-2000,catboost-categories,mlp]
                                [--traffic "batch=1 clients=8;…"] [--repeats 1] [--lock FILE] [--servers N]

For each model and traffic: a grid of 24 configurations of each of its backends (instances 1-3, threads 1-2, batching
off or with a delay of 0, 200, 1000 us), one round each, the best six three more; the tuner, from nothing, with its
usual budget (90 s, 12 trials); then the grid's best, the tuner's choice and Triton's default of the ONNX model again,
interleaved, eight rounds each: those medians are what is compared. Backends: ONNX in Triton's python backend, and where
the model is a forest our kernel in our Triton backend. ``--repeats``: how often the tuner runs; its choices are
compared in the same way. ``--lock``: a file to hold while anything is timed, for a shared machine. A cell takes 4 to 6
minutes and is written to benchmarks/results/tuning.json as soon as it is known; cells that are there stay.
tuning_report.py makes a page of them.

``--servers``: instead, compare what a cell chose with the grid's best once more, on so many servers, each started anew,
five rounds on each, and the grid's best twice: what two loads of the same configuration differ by is what such a
comparison can't see.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from millwork.artifacts.repository import at
from millwork.commands import tune as tune_command
from millwork.executors import LocalExecutor
from millwork.pipeline import optimize as pipeline
from millwork.pipeline.options import Options
from millwork.pipeline.plan import objective_of
from millwork.progress import Silent
from millwork.storage import tables
from millwork.storage.run_directory import RunDirectory
from millwork.targets import machine
from millwork.triton import address
from millwork.triton import serving as servers
from millwork.triton.settings import Settings
from millwork.tuning import knobs, scoring
from millwork.tuning import tune as tuning
from millwork.tuning.budget import TUNE_S
from millwork.tuning.figures import Round, row_rate
from millwork.tuning.knobs import Workload
from millwork.tuning.load import tensors
from millwork.tuning.search import Found
from millwork.tuning.session import TuningSession
from millwork.tuning.slo import Slo
from millwork.tuning.trials import SearchProblem, ServedCandidate, Trial, TrialError
from millwork.validators import traffic as traffics
from millwork.validators.rows.given import Given
from millwork.validators.traffic import Traffic

HERE = Path(__file__).parent
MODELS, RESULTS = HERE / ".models", HERE / "results"
ROWS, FEATURES = 20_000, 32
NAMES = ("xgboost-500", "xgboost-2000", "catboost-categories", "mlp")
TRAFFIC = ("batch=1 clients=1", "batch=1 clients=8", "batch=1 clients=32", "batch=64 clients=4", "mix")
MIX, MIX_SHARE = "batch=1:0.8,16:0.15,64:0.05", 0.6
"""An open loop at this share of what the default configuration can answer of the mix."""
DELAYS = (None, 0, 200, 1000)
GRID_ROUNDS, GRID_BEST, FINAL_ROUNDS = 3, 6, 8
ANEW_ROUNDS = 5
"""Of each configuration on each server of ``--servers``."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--traffic", default=";".join(TRAFFIC))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--servers", type=int, default=0)
    parser.add_argument("--lock", default="")
    parser.add_argument("--output", default=str(RESULTS / "tuning.json"))
    options = parser.parse_args()
    output = Path(options.output)
    output.parent.mkdir(exist_ok=True)
    document: dict[str, Any] = (
        json.loads(output.read_text()) if output.exists() else {"machine": machine(), "cells": []}
    )
    for model, spec in itertools.product(options.models.split(","), options.traffic.split(";")):
        known = [c for c in document["cells"] if (c["model"], c["asked"]) == (model, spec)]
        if options.servers:
            for cell in known:
                cell["anew"] = anew(cell, options.servers, options.lock)
                print(f"{model} {spec}: {cell['anew']}", flush=True)
        else:
            cell = measured(model, spec, options.repeats, options.lock)
            document["cells"] = [c for c in document["cells"] if c not in known] + [cell]
            print(line(cell), flush=True)
        output.write_text(json.dumps(document, indent=1) + "\n")


def line(cell: dict[str, Any]) -> str:
    best = cell["tuned"][0]
    return (
        f"{cell['model']:>13} {cell['traffic']:<42} chosen {best['words']:<48} {best['seconds']:5.0f} s "
        f"{best['to_grid']:.3f} of the grid's best, {best['to_default']:.2f} times the default, "
        f"p99 {best['p99_us'] / 1e3:.2f} ms (default {cell['default']['p99_us'] / 1e3:.2f})"
    )


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────


def published(name: str) -> Path:
    """A repository with the model's candidates, each published under a name of its own; trained once."""
    root = MODELS / "repository"
    MODELS.mkdir(exist_ok=True)
    path = MODELS / MODEL_FILES.get(name, f"{name}.json")
    for backend in backends(name):
        published_as = f"{name}-{backend}"
        if (root / published_as / "config.pbtxt").exists():
            continue
        if not path.exists():
            trained(name, path)
        options = Options(
            model=str(path),
            data=str(asked(name)),
            repository=str(root),
            name=published_as,
            backends=backend,
            traffic="batch=1,64",
            tune_budget=0,
            run_dir=str(MODELS / f"run-{published_as}"),
        )
        _, error = pipeline.optimize(options)
        if error is not None:
            raise error
    return root


MODEL_FILES = {"catboost-categories": "catboost-categories.cbm", "mlp": "mlp.pt2"}


def backends(name: str) -> tuple[str, ...]:
    return ("onnx",) if name == "mlp" else ("onnx", "native")


def asked(name: str) -> Path:
    """The rows that the model is asked with."""
    return MODELS / ("tuning-rows.npy" if name == "mlp" else "tuning-rows.parquet")


def trained(name: str, path: Path) -> None:
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    shop, town = rng.integers(0, 40, ROWS), rng.integers(0, 300, ROWS)
    signal = x[:, :8] @ rng.normal(size=8) + 0.5 * x[:, 0] * x[:, 1] + rng.normal(size=40)[shop] + 0.01 * (town % 7)
    y = (signal + rng.normal(size=ROWS) > 0).astype(int)
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(FEATURES)])
    both = frame.assign(shop=[f"shop {i}" for i in shop], town=[f"town {i}" for i in town])
    both.iloc[:4096].to_parquet(MODELS / "tuning-rows.parquet", index=False)
    np.save(MODELS / "tuning-rows.npy", x[:4096])
    if name == "mlp":
        _mlp(x, y, path)
    elif name == "catboost-categories":
        import catboost

        model = catboost.CatBoostClassifier(
            iterations=500, depth=6, cat_features=["shop", "town"], verbose=0, allow_writing_files=False
        )
        model.fit(both, y).save_model(str(path))
    else:
        import xgboost

        trees = int(name.removeprefix("xgboost-"))
        xgboost.XGBClassifier(n_estimators=trees, max_depth=6, learning_rate=0.05).fit(frame, y).save_model(path)


def _mlp(x: Any, y: Any, path: Path) -> None:
    import torch
    from torch import nn

    import millwork

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1)
    )
    rows, wanted = torch.from_numpy(x), torch.from_numpy(y).float()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for i in range(0, ROWS, 256):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(rows[i : i + 256])[:, 0], wanted[i : i + 256])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    millwork.save_net(net.eval(), (rows[:64],), path, task="binary")


# ── one model under one traffic ───────────────────────────────────────────────────────────────────────────


def measured(model: str, spec: str, repeats: int, lock: str) -> dict[str, Any]:
    candidates = served(model, published(model))
    serving = servers.prepare(address.parse("managed"), None, lambda _: None)
    rows = asking(model, candidates)
    with tempfile.TemporaryDirectory(prefix="millwork-bench-") as scratch:

        def session(name: str) -> contextlib.AbstractContextManager[TuningSession]:
            return opened(Path(scratch) / name, serving, candidates, rows)

        found = traffics.parse(spec) if spec != "mix" else mix(session, candidates[0], lock)
        workload = Workload(traffic=found, cores=tuning.cores())
        default = Trial(0, candidates[0], knobs.triton_default(candidates[0].backend, workload))
        with held(lock), session("grid") as grid_desk:
            began = time.monotonic()
            best, tried = grid(grid_desk, candidates, workload)
            grid_s = time.monotonic() - began
        choices, seconds, searches = [], [], []
        for number in range(repeats):
            with held(lock), session(f"tune-{number}") as tune_desk:
                began = time.monotonic()
                choice, search = chosen(workload, candidates, tune_desk)
                seconds.append(time.monotonic() - began)
            choices.append(choice)
            searches.append(considered(search))
        with held(lock), session("final") as final_desk:
            seen = side_by_side(final_desk, workload, [default, best, *choices], FINAL_ROUNDS)
    return summary(model, spec, found, seen, best, (choices, seconds, searches), (tried, grid_s))


def anew(cell: dict[str, Any], servers: int, lock: str) -> dict[str, list[float]]:
    """What the cell chose over the grid's best, and the grid's best over itself loaded a second time: by servers."""
    candidates = served(cell["model"], published(cell["model"]))
    serving = servers.prepare(address.parse("managed"), None, lambda _: None)
    rows = asking(cell["model"], candidates)
    workload = Workload(traffic=traffics.parse(cell["traffic"]), cores=tuning.cores())
    known = {trial.words: trial for trial in every(candidates, workload)}
    best, choice = known[cell["grid"]["words"]], known[cell["tuned"][0]["words"]]
    seen: dict[str, list[float]] = {"to_grid": [], "grid_to_itself": []}
    for number in range(servers):
        with (
            tempfile.TemporaryDirectory(prefix="millwork-bench-") as scratch,
            held(lock),
            opened(Path(scratch) / "anew", serving, candidates, rows) as session,
        ):
            names = list(seen) if number % 2 else list(reversed(seen))
            others = [{"to_grid": choice, "grid_to_itself": best}[name] for name in names]
            first, *rounds = side_by_side(session, workload, [best, *others], ANEW_ROUNDS)
        for name, own in zip(names, rounds, strict=True):
            seen[name].append(round(ratio(own, first, workload)[0], 4))
    return seen


def every(candidates: list[ServedCandidate], workload: Workload) -> list[Trial]:
    """All that the grid, or the tuner, can choose."""
    tuned = [Trial(0, candidate, one) for candidate in candidates for one in knobs.space(candidate.backend, workload)]
    usual = [Trial(0, candidate, knobs.triton_default(candidate.backend, workload)) for candidate in candidates]
    return [*grid_of(candidates, workload), *tuned, *usual]


def served(model: str, root: Path) -> list[ServedCandidate]:
    """The model's candidates, as they are published under ``root``."""
    found = []
    for i, backend in enumerate(backends(model)):
        bundle = tune_command.published(at(str(root)), f"{model}-{backend}", MODELS)
        found.append(ServedCandidate.of(bundle, i))
    return found


def asking(model: str, candidates: list[ServedCandidate]) -> Path:
    """The file of the rows that requests are made of."""
    rows = MODELS / "ask.npz"
    read = tables.read(asked(model), candidates[0].bundle.manifest.features, None, limit=4096)
    tensors.save(rows, Given(read.rows, read.categories))
    return rows


def chosen(workload: Workload, candidates: list[ServedCandidate], session: TuningSession) -> tuple[Trial, Found]:
    """What the tuner takes, from nothing and with its usual budget; and how it came to that."""
    problem = SearchProblem(workload, Slo(), objective_of(None, workload.traffic), TUNE_S)
    tuned = tuning.tune(problem, candidates, session)
    if tuned.winner is None:
        raise RuntimeError(str(tuned.found.state.failed))
    candidate = next(e for e in candidates if e.id == tuned.winner.candidate.id)
    return Trial(0, candidate, tuned.winner.settings), tuned.found


def considered(found: Found) -> list[dict[str, Any]]:
    """The tuner's trials, the best first: in how many sweeps each was, and what it answered in them."""
    state = found.state
    return [
        {"words": one.words, "sweeps": len(state.rounds[one.id]), "rows_per_s": round(state.figures(one).rows_per_s, 1)}
        for one in found.ranking
    ]


@contextlib.contextmanager
def opened(folder: Path, serving: Any, candidates: list[ServedCandidate], rows: Path) -> Iterator[TuningSession]:
    with (
        RunDirectory(folder) as directory,
        TuningSession(directory, LocalExecutor(), Silent(), serving, candidates, "bench", rows, tuning.ROUND_S) as one,
    ):
        yield one


@contextlib.contextmanager
def held(lock: str) -> Iterator[None]:
    if not lock:
        yield
        return
    with Path(lock).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def mix(session: Any, candidate: ServedCandidate, lock: str) -> Traffic:
    """The mix at a share of what the default configuration answers of it in a closed loop."""
    closed = traffics.parse(f"{MIX} clients=16")
    workload = Workload(traffic=closed, cores=tuning.cores())
    with held(lock), session("capacity") as one:
        (seen,) = side_by_side(
            one, workload, [Trial(0, candidate, knobs.triton_default(candidate.backend, workload))], 3
        )
    rate = float(np.median([len(r.samples.answered) / r.samples.seconds for r in seen]))
    return traffics.parse(f"{MIX} rate={MIX_SHARE * rate:.0f}/s")


def grid(session: TuningSession, candidates: list[ServedCandidate], workload: Workload) -> tuple[Trial, int]:
    """The best of the grid, and how many were tried."""
    choices = grid_of(candidates, workload)
    first = side_by_side(session, workload, choices, 1)
    ranked = sorted(range(len(choices)), key=lambda i: merit(first[i], workload), reverse=True)[:GRID_BEST]
    again = side_by_side(session, workload, [choices[i] for i in ranked], GRID_ROUNDS, start=2, ids=ranked)
    both = [[*first[i], *rounds] for i, rounds in zip(ranked, again, strict=True)]
    best = max(range(len(both)), key=lambda i: merit(both[i], workload))
    return choices[ranked[best]], len(choices)


def grid_of(candidates: list[ServedCandidate], workload: Workload) -> list[Trial]:
    return [
        Trial(
            0,
            candidate,
            Settings(
                instances=i, threads=t, batching=delay is not None, delay_us=delay or 0, max_batch=workload.max_batch
            ),
        )
        for candidate, i, t, delay in itertools.product(candidates, (1, 2, 3), (1, 2), DELAYS)
    ]


def side_by_side(
    session: TuningSession,
    workload: Workload,
    choices: list[Trial],
    rounds: int,
    start: int = 1,
    ids: list[int] | None = None,
) -> list[list[Round]]:
    """Rounds of each, interleaved, every other sweep backwards."""
    trials = [replace(one, id=1 + (ids[i] if ids else i)) for i, one in enumerate(choices)]
    seen: list[list[Round]] = [[] for _ in trials]
    for sweep in range(start, start + rounds):
        order = list(range(len(trials)))
        for i in order if sweep % 2 else reversed(order):
            with contextlib.suppress(TrialError):
                seen[i].append(session.measure(trials[i], sweep, workload.traffic, f"round-{i}"))
    return seen


def merit(rounds: list[Round], workload: Workload) -> float:
    if not rounds:
        return -math.inf
    objective = objective_of(None, workload.traffic)
    return float(np.median([scoring.score(r, objective, 0.99, 1.0) for r in rounds]))


def summary(
    model: str,
    spec: str,
    found: Traffic,
    seen: list[list[Round]],
    grid_best: Trial,
    tuned: tuple[Any, Any, Any],
    tried: tuple[int, float],
) -> dict[str, Any]:
    workload = Workload(traffic=found, cores=tuning.cores())
    default, best, *others = seen
    lines = []
    for choice, seconds, ranking, rounds in zip(*tuned, others, strict=True):
        to_grid, grid_ci = ratio(rounds, best, workload)
        to_default, default_ci = ratio(rounds, default, workload)
        lines.append(
            {
                "words": choice.words,
                "seconds": round(seconds, 1),
                "trials": len(ranking),
                **figures(rounds),
                "to_grid": to_grid,
                "to_grid_ci": grid_ci,
                "to_default": to_default,
                "to_default_ci": default_ci,
                "ranking": ranking,
            }
        )
    return {
        "model": model,
        "asked": spec,
        "traffic": found.words,
        "objective": objective_of(None, found),
        "grid": {
            "configurations": tried[0],
            "seconds": round(tried[1], 1),
            "words": grid_best.words,
            **figures(best),
        },
        "default": figures(default),
        "tuned": lines,
        "pairs": pairs(list(tuned[0]), others, workload),
    }


def pairs(choices: list[Trial], seen: list[list[Round]], workload: Workload) -> list[dict[str, Any]]:
    """Each run of the tuner beside the next one: the ratio of what they chose, and whether that is the same."""
    found = []
    for i in range(len(choices) - 1):
        times, (low, high) = ratio(seen[i + 1], seen[i], workload)
        found.append({"ratio": times, "low": low, "high": high, "same": choices[i + 1].words == choices[i].words})
    return found


def ratio(a: list[Round], b: list[Round], workload: Workload) -> tuple[float, list[float]]:
    """a's figure of merit over b's (larger is better), paired by rounds, with its 95% interval."""
    objective = objective_of(None, workload.traffic)
    mine, others = ({r.number: scoring.score(r, objective, 0.99, 1.0) for r in rounds} for rounds in (a, b))
    common = sorted(mine.keys() & others.keys())
    gaps = [mine[n] - others[n] for n in common]
    spread = scoring.difference(gaps, [0.0] * len(gaps))
    return math.exp(float(np.median(gaps))), [math.exp(max(spread.low, -50)), math.exp(min(spread.high, 50))]


def figures(rounds: list[Round]) -> dict[str, float]:
    latency = np.concatenate([r.samples.answered for r in rounds])
    return {
        "rows_per_s": round(float(np.median([row_rate(r.samples) for r in rounds])), 1),
        "p50_us": round(float(np.median(latency)), 1),
        "p99_us": round(float(np.median([np.quantile(r.samples.answered, 0.99) for r in rounds])), 1),
    }


if __name__ == "__main__":
    main()
