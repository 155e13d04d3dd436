"""Publications and rollbacks that die, are refused, or lose their power at every one of their system calls.

    traced_publishers.py FOLDER BUNDLE TEMPLATE MODE every|some

MODE: publish; refused (the verification raises, so all is undone); rollback. TEMPLATE is a folder with a repository
``models`` in it, and the state folder beside that. FOLDER/found.json: the number of calls, and every problem in words.
``some``: one errno a call instead of three, every fifth call of a run loses its power, and every ninth begins a disk
that stays full, another one that stays broken, and another is a death whose next publisher loses its power.

Forked from one process, so that none of them pays for the imports.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crashing.power_loss import Disk
from crashing.system_calls import KILL, Call, traced

from millwork.artifacts import manifest as manifests
from millwork.artifacts.bundle import Bundle
from millwork.artifacts.repository import publish, rollback, served_version, unfinished, versions
from millwork.errors import ModelError, PublicationError
from millwork.storage import wire
from millwork.triton import config as triton_config

REFUSALS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
POWER_SEEDS = (0, 1, 2, 3)
FAILED, FAILED_OTHERWISE = 7, 1
"""Exit codes of a publisher: a PublicationError, and anything else."""

FOREIGN = "foreign.py"
"""A file of a version that isn't ours, which has no manifest."""

Report = Callable[[str], None]


class Scenario:
    def __init__(self, folder: Path, bundle: Bundle, template: Path, mode: str, *, every: bool) -> None:
        self.folder, self.bundle, self.template, self.mode, self.every = folder, bundle, template, mode, every
        self.problems: list[str] = []
        self.before = served_version(template / "models", bundle.name)
        self.after: int | None = None
        self.files = listing(template)

    def run(self) -> int:
        """All of it; the number of calls."""
        calls = self.watched()
        for index, call in enumerate(calls):
            self.killed(index, call)
            refusals = REFUSALS if self.every else (REFUSALS[index % len(REFUSALS)],)
            for number in refusals:
                self.refused(index, call, number)
            if self.every or index % 9 == 1:
                self.refused(index, call, errno.ENOSPC, lasting=True)
            if self.every or index % 9 == 4:
                self.refused(index, call, errno.EIO, lasting=True)
            if self.every or index % 9 == 7:
                self.killed_then_power_lost(index, call)
        return len(calls)

    def watched(self) -> list[Call]:
        """Let one live: what a reader sees before each call, and what a power cut there would leave."""
        work = self.copy("watched")
        disk, calls = Disk(work), []

        def look(call: Call) -> int:
            self.require_whole(work / "models", f"before call {len(calls)} ({words(call, work)})")
            if self.every or len(calls) % 5 == 0:
                self.lose_power(disk, f"power lost before call {len(calls)} ({words(call, work)})", None)
            disk.follow(call)
            calls.append(call)
            return 0

        status = traced(lambda: self.publisher(work / "models"), work, look)
        code = os.waitstatus_to_exitcode(status)
        if code != (FAILED if self.mode == "refused" else 0):
            self.problems.append(f"left alone, it ended with {code}")
        self.after = served_version(work / "models", self.bundle.name)
        for seed in (0, 4, 5, 6):
            self.lose_power(disk, "power lost after it was done", seed, self.after)
        return calls

    def lose_power(self, disk: Disk, when: str, seed: int | None, served: int | None = None) -> None:
        for each in POWER_SEEDS if seed is None else (seed,):
            left = self.folder / "power"
            shutil.rmtree(left, ignore_errors=True)
            disk.left(left, each)
            where = f"{when}, seed {each}"
            self.require_whole(left / "models", where)
            now = served_version(left / "models", self.bundle.name) if (left / "models").is_dir() else None
            allowed = {self.before, self.after} if seed is None and self.after is not None else None
            if seed is not None and now != served:
                self.problems.append(f"{where}: version {now} serves, and {served} was told")
            if allowed is not None and now not in allowed:
                self.problems.append(f"{where}: version {now} serves")
            if each == POWER_SEEDS[-1] or seed is not None:
                version = self.require_next(left / "models", where)
                if self.mode == "refused" and seed is not None and served == self.before and version in self.between():
                    self.problems.append(f"{where}: {version}, which served and was refused, is given again")

    def killed(self, index: int, call: Call) -> None:
        work = self.copy("killed")
        where = f"killed before call {index} ({words(call, work)})"
        count = itertools.count()
        traced(lambda: self.publisher(work / "models"), work, lambda _: KILL if next(count) == index else 0)
        self.require_whole(work / "models", where)
        if served_version(work / "models", self.bundle.name) not in (self.before, self.after, *self.between()):
            self.problems.append(f"{where}: another version serves")
        self.require_next(work / "models", where)

    def killed_then_power_lost(self, index: int, call: Call) -> None:
        """The next publisher sees to what was left, is done, and then the power goes: what neither synced is lost."""
        work = self.copy("killed")
        where = f"killed before call {index} ({words(call, work)}), and power lost after the next publication"
        disk, count = Disk(work), itertools.count()

        def follow(call: Call) -> int:
            if next(count) == index:
                return KILL
            disk.follow(call)
            return 0

        traced(lambda: self.publisher(work / "models"), work, follow)
        traced(lambda: publish(self.bundle, work / "models", verify=lambda _: None) and None, work, follow)
        told = served_version(work / "models", self.bundle.name)
        for seed in (0, 4):
            self.lose_power(disk, where, seed, told)

    def refused(self, index: int, call: Call, number: int, *, lasting: bool = False) -> None:
        """``lasting``: so are all later calls; of a full disk, those that take space."""
        if call.name in ("unlink", "unlinkat", "rmdir", "ftruncate") and number != errno.EIO:
            return  # a full disk refuses no removal
        work = self.copy("refused")
        where = f"{errno.errorcode[number]} at call {index}{' and on' if lasting else ''} ({words(call, work)})"
        count = itertools.count()

        def decide(call: Call) -> int:
            self.require_whole(work / "models", where)
            at = next(count)
            later = lasting and at > index and (number == errno.EIO or takes_space(call))
            return number if at == index or later else 0

        code = os.waitstatus_to_exitcode(traced(lambda: self.publisher(work / "models"), work, decide))
        now = served_version(work / "models", self.bundle.name)
        if code == FAILED and lasting and number == errno.EIO:
            pass  # on a disk that takes nothing any more, a commit can't be taken back either
        elif code == FAILED:
            if now != self.before:
                self.problems.append(f"{where}: it failed, and version {now} serves")
            if listing(work) != self.files:
                self.problems.append(f"{where}: it failed, and left {changed(self.files, listing(work))}")
        elif code == 0:
            if now != self.after:
                self.problems.append(f"{where}: it says that it is done, and version {now} serves")
        else:
            self.problems.append(f"{where}: it ended with {code}")
        self.require_whole(work / "models", where)
        self.require_next(work / "models", where)

    def between(self) -> tuple[int, ...]:
        """What may serve while it is under way: a version that is refused serves until it is found out."""
        return ((self.before or 0) + 1,) if self.mode == "refused" else ()

    def publisher(self, repository: Path) -> None:
        try:
            if self.mode == "rollback":
                rollback(repository, self.bundle.name, verify=lambda _: None)
            else:
                publish(self.bundle, repository, verify=refuse if self.mode == "refused" else lambda _: None)
        except PublicationError:
            os._exit(FAILED)

    def require_whole(self, repository: Path, where: str) -> None:
        """What config.pbtxt names must be all there."""
        config = repository / self.bundle.name / "config.pbtxt"
        try:
            content = config.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return  # no model to load
        try:
            for number in triton_config.parse(content.decode()).version_policy.specific.versions:
                if (config.parent / str(number) / FOREIGN).exists():
                    continue
                manifests.read_intact(config.parent / str(number))
                if (config.parent / str(number) / "config.pbtxt").read_bytes() != content:
                    self.problems.append(f"{where}: version {number} is served by another's configuration")
        except (ModelError, OSError, UnicodeDecodeError) as error:
            self.problems.append(f"{where}: a reader could load half a version: {error}")

    def require_next(self, repository: Path, where: str) -> int | None:
        """The next publication succeeds, and leaves nothing but what is published. Its version; None if it failed."""
        try:
            done = publish(self.bundle, repository, verify=lambda _: None)
        except PublicationError as error:
            self.problems.append(f"{where}: the next publication failed: {error.message}")
            return None
        name = self.bundle.name
        state = repository.parent / ".models.millwork"
        litter = [str(path.relative_to(state)) for part in ("staging", "trash") for path in (state / part).iterdir()]
        litter += [path.name for path in (state / "ledger").iterdir() if path.name != f"{name}.json"]
        litter += [path.name for path in repository.iterdir() if path.name not in (name, f".{name}.millwork.lock")]
        litter += [
            path.name
            for path in (repository / name).iterdir()
            if path.name != "config.pbtxt" and not path.name.isdigit()
        ]
        if litter or unfinished(repository, name) is not None:
            self.problems.append(f"{where}: the next publication left {litter or 'one in flight'}")
        broken = [
            entry.version
            for entry in versions(repository, name)
            if not (entry.folder / FOREIGN).exists()
            and (entry.manifest is None or manifests.verify_files(entry.folder))
        ]
        if broken or served_version(repository, name) != done.version:
            self.problems.append(f"{where}: after the next publication {broken or done.version} isn't whole")
        return done.version

    def copy(self, name: str) -> Path:
        work = self.folder / name
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.template, work)
        return work


def takes_space(call: Call) -> bool:
    if call.creates:
        return not Path(call.path).exists()
    return call.name.startswith(("write", "pwrite", "sendfile", "copy_file", "fallocate", "mkdir", "link"))


def refuse(version: int) -> None:
    raise PublicationError(f"version {version} answers wrong")


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file's bytes and every folder, but the locks, and the numbers that were given: those are never given
    twice."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if ".models.millwork" in name or name == "models" or path.suffix == ".lock":  # the empty repository may stay
            continue
        found[name] = None if path.is_dir() else path.read_bytes()
    return found


def changed(before: dict[str, bytes | None], after: dict[str, bytes | None]) -> str:
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def words(call: Call, root: Path) -> str:
    paths = [path.removeprefix(f"{root}/") for path in (call.path, call.to) if path]
    return f"{call.name} {' -> '.join(paths)}"


def main(folder: Path, bundle: Path, template: Path, mode: str, much: str) -> None:
    triton_config.parse("")  # imports what it needs once, before the forks
    scenario = Scenario(folder, wire.decode(bundle.read_bytes(), Bundle), template, mode, every=much == "every")
    calls = scenario.run()
    (folder / "found.json").write_text(json.dumps({"calls": calls, "problems": scenario.problems}))


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]), *sys.argv[4:])
