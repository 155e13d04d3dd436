"""The first request after a load, beside the p50: published models on the managed Triton, warmed up and not.

    python benchmarks/warm_up.py REPOSITORY [NAME ...]        (default: all its models; needs a quiet machine)

Each model is loaded ROUNDS times each way, in turn, under a name of its own by the load API, and asked REQUESTS times
by one client whose connection is open already: one row, then 64. A row of the table: medians over the loads.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from millwork.artifacts import manifest as manifests
from millwork.artifacts.bundle_rehearsal import golden_rows
from millwork.artifacts.repository import at
from millwork.triton import config as triton_config
from millwork.triton import install, server
from millwork.triton.client import Session

ROUNDS, REQUESTS, MANY = 7, 300, 64
RESULTS = Path(__file__).parent / "results" / "warm_up.json"


def main(repository: Path, names: list[str]) -> None:
    found = []
    there = at(str(repository.absolute()))
    log = Path("warm-up-triton.log")
    with server.start(install.install(), repository, log=log) as running, Session(running.grpc_url) as asked:
        for name in names or there.models():
            found.append(measured(asked, there.files(name, there.find(name), Path()), there.config(name)))
            print(line(found[-1]))
    log.unlink(missing_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def measured(asked: Session, folder: Path, text: str) -> dict[str, object]:
    """Microseconds of the first request and of the p50, of one row and of many, with the warm-up and without."""
    manifest = manifests.read_intact(folder)
    given, _ = golden_rows(folder, manifest)
    files = {f"file:1/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}
    taken: dict[str, list[tuple[float, ...]]] = {"with": [], "without": []}
    for i in range(2 * ROUNDS):
        way = ("with", "without")[(i + i // 2) % 2]
        name = f"{manifest.name}-warm-up-{i}"
        config = triton_config.parse(text)
        config.name = name
        config.version_policy.specific.versions[:] = [1]
        sent = dict(files)
        if way == "without":
            config.ClearField("model_warmup")
            cold = json.loads(files["file:1/manifest.json"])
            sent["file:1/manifest.json"] = json.dumps({**cold, "golden_file": ""}).encode()
        asked.load(name, str(json_format.MessageToJson(config, preserving_proto_field_name=True)), sent)
        figures: list[float] = []
        for rows in (1, MANY):
            x = np.resize(given.numbers, (rows, given.numbers.shape[1]))
            c = None if given.categories is None else np.resize(given.categories, (rows, given.categories.shape[1]))
            times = []
            for _ in range(REQUESTS):
                began = time.perf_counter()
                asked.infer(name, x, None, c)
                times.append((time.perf_counter() - began) * 1e6)
            figures += [times[0], statistics.median(times)]
        taken[way].append(tuple(figures))
        asked.unload(name)
    medians = {
        way: [round(statistics.median(column), 1) for column in zip(*rows, strict=True)] for way, rows in taken.items()
    }
    return {"name": manifest.name, "backend": manifest.triton_backend, "candidate": manifest.candidate_id, **medians}


def line(found: dict[str, object]) -> str:
    told = [f"{found['name']:<20} {found['candidate']:<16} {found['backend']:<10}"]
    for way in ("with", "without"):
        first, p50, first_many, p50_many = found[way]  # type: ignore[misc]
        told.append(
            f"{way}: first {first / 1e3:8.2f} ms, {first / p50:6.1f} times p50; "
            f"{MANY} rows {first_many / 1e3:7.2f} ms, {first_many / p50_many:5.1f} times"
        )
    return "  ".join(told)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
