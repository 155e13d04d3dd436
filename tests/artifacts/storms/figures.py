"""What storms did, in numbers: a document, a table, and the page of the docs that states the last whole run's."""

from __future__ import annotations

import platform
import re
import signal
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storms.jobs import Ended
from storms.known import SIGNED
from storms.plan import ROLLBACK, SILENT, SMALL, WRONG

import millwork
from millwork.triton import install

BEGIN, END = "<!-- storms: written by make faults -->", "<!-- end of storms -->"
LABELS = {
    "commands": "commands",
    "publications": "publications that said 0",
    "signed": "of them signed",
    "rollbacks": "rollbacks that said 0",
    "wrong_refused": "wrong versions refused",
    "sigkills": "killed by SIGKILL",
    "sigterms": "stopped by SIGTERM",
    "sigints": "stopped by Ctrl-C",
    "silent_servers": "whose server fell silent",
    "small_files": "refused by a limit of file sizes",
    "full_disks": "times the disk was full",
    "store_requests": "requests to the store",
    "store_faults": "of them failed",
    "versions": "versions at the end",
    "looks": "looks at what serves",
    "changes_seen": "changes that were seen",
    "requests": "requests of clients",
    "requests_failed": "of them failed",
}


def numbers(ended: Iterable[Ended]) -> dict[str, Any]:
    """What the commands were, and how they ended."""
    all_ended = list(ended)
    done = [one for one in all_ended if one.code == 0]
    codes = Counter(one.code for one in all_ended)

    def stopped(by: int) -> int:
        return sum(one.job.doom == by and one.code != 0 for one in all_ended)

    return {
        "commands": len(all_ended),
        "publications": sum(one.job.kind != ROLLBACK for one in done),
        "signed": sum(one.job.name == SIGNED and one.job.kind != ROLLBACK for one in done),
        "rollbacks": sum(one.job.kind == ROLLBACK for one in done),
        "wrong_refused": sum(one.job.kind == WRONG and one.code > 0 for one in all_ended),
        "sigkills": codes[-signal.SIGKILL],
        "sigterms": stopped(signal.SIGTERM),
        "sigints": stopped(signal.SIGINT),
        "silent_servers": sum(one.job.kind == SILENT for one in all_ended),
        "small_files": sum(one.job.kind == SMALL and one.code > 0 for one in all_ended),
        "own_processes": sum(one.job.real for one in all_ended),
        "ends": {str(code): count for code, count in sorted(codes.items())},
    }


def document(found: dict[str, dict[str, Any]], together: int, seconds: float, words: str) -> dict[str, Any]:
    """The figures: of each storm, and of all. ``words``: what was asked for, but for paths."""
    return {
        "together": together,
        "asked": words,
        "storms": found,
        "all": {name: sum(storm[name] for storm in found.values()) for name in LABELS},
        "seconds": round(seconds, 1),
        "violations": sum(len(storm["violations"]) for storm in found.values()),
        "versions": {
            "millwork": millwork.__version__,
            "python": platform.python_version(),
            "kernel": platform.release().partition("-")[0],
            "triton": install.TRITON_VERSION,
        },
    }


def lines(figures: dict[str, Any]) -> list[str]:
    """For the screen."""
    said = [f"{len(figures['storms'])} storms of {figures['together']} commands at once, {figures['seconds']:.0f} s"]
    return said + [f"{count:>9,} {LABELS[name]}" for name, count in figures["all"].items()]


def section(figures: dict[str, Any]) -> str:
    """For the docs: what the last whole run did, a column a storm."""
    storms = figures["storms"]
    versions = figures["versions"]
    head = ["", *(name.rpartition("-")[0] for name in storms), "together"]
    rows = [["seed", *(str(storm["seed"]) for storm in storms.values()), ""]]
    for name, label in LABELS.items():
        rows.append([label, *(f"{storm[name]:,}" for storm in storms.values()), f"{figures['all'][name]:,}"])
    rows.append(
        ["violations", *(str(len(storm["violations"])) for storm in storms.values()), str(figures["violations"])]
    )
    rows.append(["seconds", *(f"{storm['seconds']:.0f}" for storm in storms.values()), f"{figures['seconds']:.0f}"])
    table = "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows))
    when = datetime.now(UTC).date().isoformat()
    asked = f"`make faults STORM='{figures['asked']}'`, {figures['together']} commands at once"
    where = f"Python {versions['python']}, Triton {versions['triton']}, Linux {versions['kernel']}"
    return f"{asked}, on {when}: millwork {versions['millwork']}, {where}.\n\n{table}"


def write(figures: dict[str, Any], page: Path) -> None:
    """Replace the page's section by these figures."""
    text = page.read_text()
    made = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{section(figures)}\n{END}", text, flags=re.DOTALL)
    page.write_text(made)
