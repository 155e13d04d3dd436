"""Storms over a repository: publishers, rollbacks, signals, wrong versions, silent servers, full disks, a store that
fails; and all the while looks at what serves, as Triton reads it, and clients of a real Triton.

    python tests/artifacts/storms/campaign.py [--storms explicit,poll,store] [--seed 1] [--together 8]
        [--publications 500] [--kills 250] [--looks 20000] [--requests 20000]
        [--out build/storms.json] [--docs] [--keep FOLDER]

What it did is printed in numbers and written to --out. Ends with 1 where anything was not as promised, with how to have
the same storm again.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path += [str(HERE.parents[1]), str(HERE.parent)]  # last: pytest finds conftest.py by this list, too
for quiet in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # this process forks, so it may have no threads
    os.environ[quiet] = "1"

from storms import figures, surroundings  # noqa: E402
from storms import known as knowns  # noqa: E402
from storms.storm import Amount, Storm, Weather  # noqa: E402

WEATHERS = {
    "explicit": Weather("explicit"),
    "poll": Weather("poll", triton="poll", verified=0.1),
    "store": Weather("store", store=True, verified=0.25),
    "bare": Weather("bare", triton="", wrong=(knowns.DAMAGED,)),
}
"""A Triton that is told what to load, one that polls, one that reads an object store; none at all."""
WHOLE = "explicit,poll,store"
IN_NAMESPACE = "MILLWORK_STORM_MOUNTS"
SUBREAPER = 36
SHOWN = 30
ASKED = ("storms", "seed", "publications", "kills", "looks", "requests", "wrong")


def main() -> int:
    words = asked()
    if surroundings.may_mount() and not os.environ.get(IN_NAMESPACE):  # the disks go with the last process
        os.environ[IN_NAMESPACE] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])  # noqa: S606
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)  # what killed processes leave becomes a child of this one
    names = words.storms.split(",")
    with tempfile.TemporaryDirectory(prefix="storms-") as temporary:
        folder = (words.keep or Path(temporary)).absolute()
        runs = words.runs.absolute() if words.runs else folder / "runs"
        if not (runs / knowns.FILE).exists():
            prepare(runs)
        known = knowns.load(runs)
        share = Amount(
            publications=-(-words.publications // len(names)),
            kills=-(-words.kills // len(names)),
            looks=-(-words.looks // len(names)),
            requests=-(-words.requests // len(names)),
            most=words.most,
        )
        began = time.monotonic()
        found = {}
        for number, name in enumerate(names):
            weather = replace(WEATHERS[name], name=f"{name}-{number}")
            if words.wrong:
                weather = replace(weather, wrong=tuple(words.wrong.split(",")))
            seed = words.seed + number
            storm = Storm(weather, seed, words.together, share, known, folder / weather.name)
            found[weather.name] = {"seed": seed, **storm.run()}
            print(f"{weather.name}: {found[weather.name]}", flush=True)  # noqa: T201
    asked_for = " ".join(f"--{name} {value}" for name, value in vars(words).items() if name in ASKED and value)
    made = figures.document(found, words.together, time.monotonic() - began, asked_for)
    words.out.parent.mkdir(parents=True, exist_ok=True)
    words.out.write_text(json.dumps(made, indent=1) + "\n")
    if words.docs:
        figures.write(made, ROOT / "docs" / "trust.md")
    return told(made, words)


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storms", default=WHOLE)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--together", type=int, default=8)
    for name, least in (("publications", 500), ("kills", 250), ("looks", 20_000), ("requests", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=least)
    parser.add_argument("--most", type=int, default=100_000, help="commands of a storm")
    parser.add_argument("--wrong", help="what is wrong with wrong ones: damaged,misjudged,swapped")
    parser.add_argument("--runs", type=Path, help="run directories that prepare.py has made")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "storms.json")
    parser.add_argument("--docs", action="store_true", help="write the figures into docs/trust.md, too")
    parser.add_argument("--keep", type=Path, help="a folder for all that is made; it must be empty")
    return parser.parse_args()


def prepare(runs: Path) -> None:
    """In a process of its own, which has threads."""
    subprocess.run([sys.executable, "-W", "ignore", str(HERE / "prepare.py"), str(runs)], check=True)


def told(found: dict[str, Any], words: argparse.Namespace) -> int:
    """Print what was done, and what wasn't as promised; the exit code."""
    lines = figures.lines(found)
    for number, (name, storm) in enumerate(found["storms"].items()):
        lines += [f"{name}: {violation}" for violation in storm["violations"][:SHOWN]]
        if storm["violations"]:
            kind = words.storms.split(",")[number]
            lines.append(f"  again: python {sys.argv[0]} --storms {kind} --seed {storm['seed']} --keep FOLDER")
    lines.append(f"{found['violations']} violations; all figures: {words.out}")
    print("\n".join(lines), flush=True)  # noqa: T201
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
