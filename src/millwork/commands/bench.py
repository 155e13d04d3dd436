"""``bench``: the candidates of a model, judged and timed here, nothing published."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ..errors import UsageError
from ..pipeline import optimize as pipeline
from ..pipeline.optimize import Outcome
from ..pipeline.options import Options
from ..progress import Progress
from ..storage import scratch
from .options import BenchOptions


def bench(options: BenchOptions, progress: Progress) -> Outcome:
    """The candidates, as ``optimize`` judges and times them, and why it ended early, if it did. UsageError for what
    can't be right."""
    traffic = _traffic(options.batch)
    with scratch.folder("bench") as folder:
        found, error = pipeline.optimize(_dry_run(options, traffic, folder), progress)
    return Outcome(
        msgspec.structs.replace(found, winner=None, tuning=None, publication=None, run_dir=options.run_dir or ""), error
    )


def _traffic(batch: str) -> str:
    sizes = [part.strip() for part in batch.split(",")]
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"--batch {batch!r}: expected row counts, such as 1,64,4096")
    return f"batch={','.join(dict.fromkeys(sizes))}"


def _dry_run(options: BenchOptions, traffic: str, folder: Path) -> Options:
    return Options(
        model=options.model,
        data=options.data,
        trust=options.trust,
        traffic=traffic,
        backends=options.backends,
        threads=options.threads,
        triton="none",
        triton_release=options.triton_release,
        run_dir=options.run_dir or str(folder),
        dry_run=True,
    )
