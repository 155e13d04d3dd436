"""Runs of ``millwork optimize`` that end by a signal, one after another, in processes forked from this one.

    dying_runs.py FOLDER SIGNAL stages|server|published|tuning WORD…        WORD…: the command's own

One run for each place of PLACES (or SERVER_PLACES), all with the same words; the signal comes there and is SIGKILL to
the process; or for SIGINT in turn SIGINT to its process group, as Ctrl-C is, SIGTERM to the process, and SIGHUP to the
group, as of a terminal that is closed. Then one that is left alone. FOLDER/deaths.json says how each ended and what it
left.

Forked from one process, so that none of them pays for the imports.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from millwork.artifacts import bundle_rehearsal
from millwork.artifacts.repository import publication
from millwork.cli import app, terminal
from millwork.interrupts import catch
from millwork.storage import run_directory
from millwork.worker import process

Die = Callable[[], object]

STAGES = {
    "load": ("load", "lower"), "triton": (), "rows": ("rows",), "oracle": ("oracle",), "build": ("build-onnx",),
    "check": ("check-onnx",), "measure": ("measure",), "serve": ("serve",), "publish": (),
}  # fmt: skip
"""What the run says that it begins -> the stages of the run directory that are made in it."""

PLACES = (
    *(("begin", name) for name in STAGES),
    *(("worker", stage) for stages in STAGES.values() for stage in stages if stage != "serve"),
    ("publishing", "rename the model's folder into the repository"),
)
"""Where a signal comes: as a stage begins, while its worker is at work, or before a step of the publication."""

SERVER_PLACES = {
    "server": (("asking", "1"), ("asking", "2")), "published": (("asking", "2"),), "tuning": (("worker", "trial"),),
}  # fmt: skip
"""With a Triton at work and the model loaded: as the golden rows are asked for the first time, which is the rehearsal;
for the second time, which is of what has just been published; and as a trial puts it under load."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ORDER = ["load", "lower", "triton", "rows", "oracle", "build", "build-onnx", "check", "check-onnx", "measure", "serve",
         "publish", "rename the model's folder into the repository"]  # fmt: skip


def in_order() -> list[tuple[str, str]]:
    """PLACES in the order in which a run comes by them."""
    return sorted(PLACES, key=lambda place: (ORDER.index(place[1]), place[0]))


def main(folder: Path, number: int, which: str, words: list[str]) -> None:
    deaths = []
    first = list(SERVER_PLACES).index(which) if which in SERVER_PLACES else 0
    for at, (where, name) in enumerate([*(in_order() if which == "stages" else SERVER_PLACES[which]), ("", "")], first):
        sent = number if number == signal.SIGKILL else ENDING[at % len(ENDING)]
        status = run(folder, where, name, lambda sent=sent: send(sent), words)  # type: ignore[misc]
        deaths.append({"where": where, "name": name, "sent": sent, **status, "stages": stages(folder)})
        (folder / "deaths.json").write_text(json.dumps(deaths))


def send(number: int) -> None:
    if number in (signal.SIGINT, signal.SIGHUP):
        os.killpg(0, number)
    else:
        os.kill(os.getpid(), number)


def run(folder: Path, where: str, name: str, die: Die, words: list[str]) -> dict[str, Any]:
    """One run in a child of its own process group: its wait status, what it wrote, and the processes it had."""
    out, err, pids = folder / "out", folder / "err", folder / "processes"
    pids.write_text("[]")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            {"begin": at_begin, "worker": at_work, "publishing": at_step, "asking": at_asking}.get(where, nowhere)(
                name, lambda: (pids.write_text(json.dumps(descendants())), die())
            )
            catch()
            code = app.run(app.millwork, ["optimize", *words])
            sys.stdout.flush()
        except BaseException:  # noqa: BLE001 -- the end of a forked child, which mustn't run its parent's code
            traceback.print_exc()
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
    return {
        "signal": signalled,
        "code": code,
        "out": out.read_text(),
        "err": err.read_text(),
        "pid": child,
        "processes": json.loads(pids.read_text()),
    }


def descendants() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True)]


def stages(folder: Path) -> dict[str, int]:
    """The stages in the run directory, half-made ones too, and when each was made (nanoseconds)."""
    kept = folder / "run" / "stages"
    return {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} if kept.is_dir() else {}


def nowhere(name: str, die: Die) -> None:
    """Let it live."""


def at_begin(name: str, die: Die) -> None:
    class Dying(terminal.TerminalProgress):
        def begin(self, stage: str, what: str) -> None:
            super().begin(stage, what)
            if stage == name:
                die()

    terminal.TerminalProgress = Dying  # type: ignore[misc]


def at_work(name: str, die: Die) -> None:
    """Once the worker of the stage has been started: its working folder is the stage's, half-made."""
    watch = process._watch

    def dying(seen: Any, *rest: Any) -> None:
        worker = seen.process.pid
        if Path(f"/proc/{worker}/cwd").readlink().name.startswith(f"{name}-"):
            die()
        watch(seen, *rest)

    process._watch = dying


def at_step(name: str, die: Die) -> None:
    publish = publication.publish

    def dying(*given: Any, **options: Any) -> Any:
        return publish(*given, **options, step=lambda step: die() if step == name else None)

    publication.publish = dying


def at_asking(name: str, die: Die) -> None:
    """As the golden rows are asked for the n-th time."""
    check, asked = bundle_rehearsal.check_golden, itertools.count(1)

    def dying(*given: Any) -> Any:
        if next(asked) == int(name):
            die()
        return check(*given)

    bundle_rehearsal.check_golden = dying


if __name__ == "__main__":
    app.millwork.get_command(None, "optimize")  # type: ignore[arg-type]
    run_directory.source_digest()
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
