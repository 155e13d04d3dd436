"""20 publications and rollbacks on the managed Triton, under load: failed requests, wrong answers, looks at `ready`.

    python benchmarks/publications.py [--changes 20] [--clients 4] [--perf-clients 4]

Clients of ours hold each answer against the versions that may have given it (tests/models/asking.py); perf_analyzer
keeps as many requests in flight beside them and ends with an error if one fails. Every fourth change is a rollback.
Results: benchmarks/results/publications.json. Ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "artifacts")]

from artifacts.conftest import manifest_of  # noqa: E402 -- the tests' bundles and clients
from artifacts.test_publish_triton import ROWS, scaling  # noqa: E402
from models.asking import Seen, asking  # noqa: E402

from millwork.artifacts.repository import publish, rollback, served_version  # noqa: E402
from millwork.triton import install, server  # noqa: E402
from millwork.triton.client import Session  # noqa: E402
from millwork.tuning.load import perf_analyzer  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "publications.json"
ROLLBACK = 4
"""Every so many changes is a rollback."""
SECONDS_A_CHANGE = 2.0


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--changes", type=int, default=20)
    asked.add_argument("--clients", type=int, default=4)
    asked.add_argument("--perf-clients", type=int, default=4)
    words = asked.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(Path(scratch), words.changes, words.clients, words.perf_clients)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(found)
    return int(bool(found["failed"] or found["wrong"] or found["not_ready"]))


def measured(scratch: Path, changes: int, clients: int, perf_clients: int) -> dict[str, Any]:
    """The figures of one run."""
    repository = scratch / "models"
    repository.mkdir()
    seen, factors, rolled_back = Seen(), {}, 0
    installation = install.install()
    began = time.monotonic()
    with (
        server.start(installation, repository, log=scratch / "triton.log") as running,
        Session(running.grpc_url) as session,
        ThreadPoolExecutor(1) as threads,
    ):

        def verify(version: int) -> None:
            session.load("m")
            assert session.versions("m") == (version,)

        def put(number: int) -> None:
            with seen.changing(ROWS * number):
                made = publish(scaling(scratch / str(number), manifest_of("m"), str(number)), repository, verify=verify)
            factors[made.version] = number

        put(2)
        load = threads.submit(
            perf_analyzer.closed_loop,
            installation.perf_analyzer or "",
            installation.perf_libraries,
            running.grpc_url,
            "m",
            {"input__0": ROWS},
            1,
            perf_clients,
            changes * SECONDS_A_CHANGE,
            scratch,
        )
        with asking(running, "m", ROWS, seen, clients):
            for number in range(3, 3 + changes):
                if number % ROLLBACK:
                    put(number)
                    continue
                target = max(version for version in factors if version != served_version(repository, "m"))
                with seen.changing(ROWS * factors[target]):
                    rollback(repository, "m", target, verify=verify)
                rolled_back += 1
            changed = time.monotonic() - began
            by_perf_analyzer = load.result()
    return {
        "publications": changes - rolled_back,
        "rollbacks": rolled_back,
        "requests": len(seen.answers),
        "failed": len(seen.failures),
        "wrong": len(seen.wrong()),
        "looks_at_ready": seen.looks,
        "not_ready": sum(seen.not_ready.values()),
        "perf_analyzer_requests": len(by_perf_analyzer.rows),
        "perf_analyzer_seconds": round(by_perf_analyzer.seconds, 1),
        "seconds_of_changes": round(changed, 1),
        "first_failures": seen.failures[:3] + seen.wrong()[:3],
    }


if __name__ == "__main__":
    raise SystemExit(main())
