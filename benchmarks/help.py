"""How long ``--help`` takes, beside an empty Typer app that has panels.

    python benchmarks/help.py [--rounds 41]

Each round starts every program once, in an order that is turned each time, with its output thrown away; the table and
benchmarks/results/help.json have the medians in seconds: of the clock, and of the processor's time, which another
program on the machine disturbs less. ``more`` is what a program takes more than the empty app.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"

EMPTY = """
from typing import Annotated
import typer

app = typer.Typer(add_completion=False)

@app.command()
def command(
    model: Annotated[str, typer.Argument(help="A model.")],
    data: Annotated[str | None, typer.Option(help="Rows.", rich_help_panel="Model and data")] = None,
    threads: Annotated[int, typer.Option(help="Threads.", rich_help_panel="Advanced")] = 1,
) -> None:
    "Nothing."

app()
"""
OURS = "from millwork.cli import main; main()"

PROGRAMS: dict[str, list[str]] = {
    "empty app --help": ["-c", EMPTY, "--help"],
    "millwork --help": ["-c", OURS, "--help"],
    "millwork optimize --help": ["-c", OURS, "optimize", "--help"],
    "millwork tune --help": ["-c", OURS, "tune", "--help"],
    "millwork triton serve --help": ["-c", OURS, "triton", "serve", "--help"],
    "millwork --version": ["-c", OURS, "--version"],
}
REFERENCE = "empty app --help"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for words in PROGRAMS.values():
        run(words)  # writes .pyc files
    for turn in range(rounds):
        names = list(PROGRAMS)
        for name in names if turn % 2 else reversed(names):
            seconds[name].append(run(PROGRAMS[name]))
    found = {
        name: {"wall_s": statistics.median(w for w, _ in taken), "cpu_s": statistics.median(c for _, c in taken)}
        for name, taken in seconds.items()
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "help.json").write_text(json.dumps({"rounds": rounds, "programs": found}, indent=1) + "\n")
    print(f"{'':30} {'clock s':>8} {'more':>7} {'cpu s':>8} {'more':>7}")
    reference = found[REFERENCE]
    for name, taken in found.items():
        more = {key: taken[key] - reference[key] for key in taken}
        print(f"{name:30} {taken['wall_s']:8.3f} {more['wall_s']:+7.3f} {taken['cpu_s']:8.3f} {more['cpu_s']:+7.3f}")


def run(words: list[str]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    nowhere = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    began = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ, file_actions=nowhere)
    _, status, used = os.wait4(child, 0)
    took = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{words[-2:]} ended with status {os.waitstatus_to_exitcode(status)}")
    return took, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
