"""Many mutants of one format through confined processes; a process that dies is one mutant's end, another takes over.

python tests/fuzz/campaign.py [--mutants 10000] [FORMAT …]      a table, and 1 where something wasn't as promised
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import formats  # noqa: E402
import msgspec  # noqa: E402
import mutations  # noqa: E402, F401 (the tests want it, too)
import seeds  # noqa: E402
from fuzz_steps import PROGRESS, TALLY, Mutants, Tally  # noqa: E402

from millwork import worker  # noqa: E402
from millwork.errors import MillworkError, ModelError  # noqa: E402
from millwork.worker import Done, Failure, Limits  # noqa: E402

MEMORY = 2 << 30
SECONDS = 600
LARGEST_GROWTH = 200 << 20


@dataclass
class Campaign:
    """``ended``: how many processes ended before their time, by how. ``grown``: bytes that this process grew by."""

    format: str
    mutants: int
    tally: Tally = field(default_factory=Tally)
    ended: Counter[str] = field(default_factory=Counter)
    where: list[str] = field(default_factory=list)
    seconds: float = 0.0
    grown: int = 0

    @property
    def broken(self) -> list[str]:
        """What wasn't as promised, in words."""
        found = list(self.tally.uncaught)
        if not formats.FORMATS[self.format].may_crash:
            found += self.where
        if self.grown > LARGEST_GROWTH:
            found.append(f"this process grew by {self.grown >> 20} MB")
        return found


def run(name: str, folder: Path, mutants: int, begin: int = 0) -> Campaign:
    """Mutants ``begin`` to ``begin + mutants`` of the format. Whatever they do, it comes back here as a value."""
    made, own = folder / "seeds", folder / "own"
    made.mkdir(), own.mkdir()
    seeds.write(name, made)
    found = Campaign(name, mutants)
    started, before = time.monotonic(), _peak()
    at, end = begin, begin + mutants
    while at < end:
        for left in (own / "mutant").glob("*"):
            left.unlink()
        (own / "mutant").rmdir() if (own / "mutant").exists() else None
        done = worker.run(
            "fuzz_steps:run",
            Mutants(name, str(made), at, end),
            Tally,
            folder=own,
            extra_path=HERE,
            limits=Limits(seconds=SECONDS, memory_bytes=MEMORY),
            threads=1,
        )
        if isinstance(done, Done):
            _add(found.tally, done.value)
            break
        number = int((own / PROGRESS).read_text()) if (own / PROGRESS).exists() else at
        if (own / TALLY).exists():
            _add(found.tally, msgspec.json.decode((own / TALLY).read_bytes(), type=Tally))
            (own / TALLY).unlink()
        kind = "hang" if "Timeout (" in done.log_tail else done.kind
        found.ended[kind] += 1
        found.where.append(f"mutant {number}: {kind}: {done.log_tail[-600:]}")
        _typed(done)
        at = number + 1
    found.seconds = time.monotonic() - started
    found.grown = _peak() - before
    return found


def _typed(done: Failure) -> None:
    """As the pipeline reports it: one of our errors, whatever the process died of."""
    with contextlib.suppress(MillworkError):
        done.raise_(ModelError, "Reading the model")


def _add(into: Tally, more: Tally) -> None:
    into.read += more.read
    into.refused += more.refused
    into.engine += more.engine
    into.escaped += more.escaped
    into.uncaught += more.uncaught


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=list(formats.FORMATS))
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--begin", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    broken = 0
    for name in asked.formats:
        with tempfile.TemporaryDirectory() as folder:
            found = run(name, Path(folder), asked.mutants, asked.begin)
        tally = found.tally
        ends = dict(found.ended) or "no process died"
        said = f"{tally.read} read, {tally.refused} refused, {tally.engine} refused by the engine, {ends}"
        _say(f"{name:9} {found.mutants:6} mutants: {said}; {found.seconds:.0f} s, grown {found.grown >> 20} MB")
        for line in found.broken:
            _say("    " + line.replace("\n", "\n    "))
        broken += len(found.broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
