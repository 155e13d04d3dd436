"""A/A: the same artifact twice, 400 times. How often does the choice declare the two different?

    python benchmarks/aa.py [--runs 400] [--backends native,onnx]

Each run is the real step (validators/gate_steps.py: ``measure``), with both copies loaded anew, and the real
``choose``. The two are declared different where the choice finds no tie. Beside it, how often the 95% interval of a
batch size leaves out 1: two copies in one process lie at other addresses, which makes one of them faster by a little
for as long as it lives, and no statistics of that process tell. Results: benchmarks/results/aa.json. Ends with 1 if
more than 5% of the runs are declared different.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from models import xgboost_models  # noqa: E402 -- the tests' models
from models.gate import Gate, gate  # noqa: E402

from millwork.compile.backends.base import Artifact  # noqa: E402
from millwork.validators import gate_steps  # noqa: E402
from millwork.validators.choose_candidate import choose  # noqa: E402
from millwork.validators.gate_steps import MeasureRequest, read_samples  # noqa: E402
from millwork.validators.latency import Samples, slower_by  # noqa: E402
from millwork.validators.traffic import parse  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "aa.json"
TRAFFIC = "batch=1:0.5,64:0.5"
MOST = 0.05
DECLARED = " times as fast as "
"""What the choice says of a winner that is faster beyond noise; a tie is told in other words."""


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=400)
    asked.add_argument("--backends", default="native,onnx")
    words = asked.parse_args()
    names = words.backends.split(",")
    found = {name: measured(name, words.runs) for name in names}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    for name, line in found.items():
        print(name, line)
    return int(any(line["declared_different"] > MOST * line["runs"] for line in found.values()))


def measured(backend: str, runs: int) -> dict[str, Any]:
    """The figures of one backend's artifact beside its own copy."""
    began = time.monotonic()
    shares = parse(TRAFFIC).shares
    different, apart, ratios = 0, {share.batch: 0 for share in shares}, []
    with tempfile.TemporaryDirectory() as scratch:
        model = xgboost_models.save(xgboost_models.model("binary"), Path(scratch) / "model.json")
        judge = gate(model, Path(scratch) / "gate")
        copies = twice(judge, backend, Path(scratch))
        ranks = {one.id: rank for rank, one in enumerate(copies)}
        for _ in range(runs):
            samples = taken(judge, copies, tuple(apart), Path(scratch))
            choice = choose(ranks, samples, shares)
            different += DECLARED in choice.winner.why
            ratios.append(choice.times[copies[1].id] / choice.times[copies[0].id])
            for batch in apart:
                first, second = sorted((s for s in samples if s.batch == batch), key=lambda s: s.id)
                interval = slower_by(first, second)[1]
                apart[batch] += not interval.low <= 1 <= interval.high
    return {
        "runs": runs,
        "declared_different": different,
        "share": different / runs,
        "interval_leaves_out_1": {str(batch): count / runs for batch, count in apart.items()},
        "largest_ratio": round(max(max(ratio, 1 / ratio) for ratio in ratios), 4),
        "traffic": TRAFFIC,
        "cores": os.cpu_count(),
        "seconds": round(time.monotonic() - began, 1),
    }


def twice(judge: Gate, backend: str, scratch: Path) -> tuple[Artifact, Artifact]:
    """One artifact, and its copy in another folder."""
    built = judge.build(backend, scratch / "a").artifact
    assert built is not None
    shutil.copytree(scratch / "a", scratch / "b")
    return msgspec.structs.replace(built, precision="a"), msgspec.structs.replace(built, precision="b")


def taken(judge: Gate, copies: tuple[Artifact, ...], batches: tuple[int, ...], scratch: Path) -> list[Samples]:
    """The samples of one run of the real step."""
    folders = tuple(str(scratch / copy.precision) for copy in copies)
    rows = str(judge.folder / gate_steps.ROWS_FILE)
    request = MeasureRequest(artifacts=copies, folders=folders, rows=rows, skip=0, batches=batches)
    with contextlib.chdir(scratch):
        gate_steps.measure(request)
    return read_samples(scratch / gate_steps.SAMPLES_FILE)


if __name__ == "__main__":
    raise SystemExit(main())
