"""What is left once a storm is over and each model was published once more: nothing may be, but what was published."""

from __future__ import annotations

import json
import os
import time
import traceback
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from storms import checker
from storms.checker import There
from storms.known import Known

from millwork.artifacts import signing
from millwork.artifacts.repository import Repository, at, layout, lock
from millwork.artifacts.repository import ledger as ledgers
from millwork.artifacts.repository.object_store import ObjectRepository, address, records
from millwork.artifacts.repository.terms import Terms
from millwork.pipeline import serve

ENDS_S = 20.0
"""A process whose parent was killed may take so long to notice."""
BEAT_S = 0.2


def found(work: Path, repository: str, known: Known, direct: dict[str, str]) -> tuple[There, list[str]]:
    """What is there, and what is left over, a line each. A store's client has threads: a forked process reads it."""
    out = work / "there.json"
    if not (pid := os.fork()):
        code = 1
        try:
            os.environ.update(direct)
            out.write_text(json.dumps(_found(repository, known, work / "tmp")))
            code = 0
        except BaseException:  # noqa: BLE001 -- the end of a forked child
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise AssertionError("what is there can't be read")
    said = json.loads(out.read_text())
    there = There(said["contents"], frozenset(said["noted"]), frozenset(said["signed"]))
    return there, said["left"] + [f"a process is left: {one}" for one in _processes()]


def _found(repository: str, known: Known, temporary: Path) -> dict[str, Any]:
    opened = at(repository)
    left = [f"{one} is left in the repository" for one in opened.models() if one not in known.names]
    for name in known.names:
        left += _left_in_store(repository, name, known) if "://" in repository else _left_in_folder(opened, name)
    there = asdict(checker.inventory(opened, known, signing.problems))
    left += [f"{path} is left" for path in temporary.glob("millwork-*")]
    return {**{key: value if isinstance(value, dict) else sorted(value) for key, value in there.items()}, "left": left}


def _left_in_folder(repository: Repository, name: str) -> list[str]:
    place = layout.locate(Path(repository.url), name)
    listed = {str(entry.version) for entry in repository.versions(name)}
    left = [path for path in place.model.iterdir() if path.name not in {"config.pbtxt", *listed}]
    left += [part for part in (place.staging, place.trash, place.holder) if part.exists()]
    left += [path for path in place.ledger.parent.iterdir() if ".tmp-" in path.name]
    said = [f"{path} is left" for path in left]
    if ledgers.read(place).transaction is not None:
        said.append(f"{name}: a publication is under way")
    with lock.hold_if_free(place) as held:
        if not held:
            said.append(f"{name}: its lock is held")
    return said


def _left_in_store(url: str, name: str, known: Known) -> list[str]:
    """After a publication that takes what others left for dead at once, which otherwise takes a quarter of an hour."""
    repository = ObjectRepository(address.parse(url), None, timedelta(0))
    for variant in known.variants[:2]:
        repository.publish(serve.chosen(known.run(name, variant))[0], terms=Terms(allow_unsigned=True))
    place = address.Place(address=repository.address, name=name)
    listed = {str(entry.version) for entry in repository.versions(name)}
    keys = (key.removeprefix(f"{place.model}/") for key in repository.store.sizes(place.model))
    said = [f"{name}/{key} is left" for key in keys if key.partition("/")[0] not in {"config.pbtxt", *listed}]
    for number, record in records.read_all(repository.store, place).items():
        if record.state in ("uploading", "committing"):
            said.append(f"{name}: version {number} is {record.state}")
    return said


def _processes() -> list[str]:
    """Whoever was killed may have left processes, which then are children of this one; but for those of the storm."""
    until = time.monotonic() + ENDS_S
    while True:
        left = [line for one in psutil.Process().children() if (line := _left(one))]
        if not left or time.monotonic() > until:
            return left
        time.sleep(BEAT_S)


def _left(one: psutil.Process) -> str:
    try:
        line = " ".join(one.cmdline())
        return "" if one.status() == psutil.STATUS_ZOMBIE or _of_the_storm(line) else line[:200]
    except psutil.NoSuchProcess:
        return ""


def _of_the_storm(line: str) -> bool:
    return "campaign.py" in line or "supervisor.py" in line
