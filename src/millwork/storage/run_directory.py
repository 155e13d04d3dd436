"""The folder of one run: each stage's result, kept under the sha256 of all that decides it.

    RUN_DIR/lock                        held while a run is open; the number of its process is in it
    RUN_DIR/run.json                    the record; beside it the report, client.py, and what was chosen
    RUN_DIR/done                        the digests of these, written when the run ended
    RUN_DIR/stages/NAME-SHA16/          one stage, as it ended:
        key.json                        what decides it, and the full sha256
        …                               the files it made
        result.json                     its value
        done                            the digest of each of the above; written last
    RUN_DIR/stages/NAME-SHA16.tmp-PID/  a stage at work
    RUN_DIR/failed/NAME-SHA16/          what a step printed that failed, where an error sends its reader there

A stage's folder gets its name by a rename once all of it is on the disk, so a run that was killed resumes from
whole stages. What is taken from the cache is first compared with its digests.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec

from .. import __version__
from ..errors import InternalError, MillworkError, ModelError, UsageError
from ..values import SCHEMA, FileDigest, Record, Value
from . import machine, opening, permissions, wire
from .files import FULL, atomic_write, digest, digests, fsync_folder, fsync_tree, refusal, remove, remove_tree
from .opening import read_ends, read_limited
from .strays import is_stray

R = TypeVar("R")

KEY_FILE = "key.json"
RESULT_FILE = "result.json"
DONE_FILE = "done"
RECORD_FILE = "run.json"
LOCK_FILE = "lock"
STAGES = "stages"
FAILED = "failed"

MOST_LOGS, LONGEST_LOG = 10, 4 << 20
"""Logs of a failed stage that are kept, and bytes of one, and of any that is captured: a step may print without an
end. A line more says what was dropped."""

_NUMBER = re.compile(rb"\d*\n?")
"""What is in a lock: its process's number, or nothing yet."""
_HALF_WRITTEN = re.compile(r"\..+\.tmp-\d+-[0-9a-f]+")
"""What a killed :func:`atomic_write` leaves."""

ATTEMPTS = 5
"""Another run may remove the folder between two of our calls, once."""


class Stage(NamedTuple, Generic[R]):
    """A stage's value, whether it was kept from an earlier run, and the folder with its files."""

    value: R
    cached: bool
    folder: Path


class Done(Value, frozen=True):
    """The content of ``done``: the full key, and the digest of every other file of the stage."""

    key: str
    files: tuple[FileDigest, ...]


class RunDirectory:
    """An open run directory; a ``with`` statement closes it. ``note`` is told what is found damaged.

    Opening it takes its lock, and removes what dead runs left half-made. Raises :class:`UsageError` where
    ``path`` can't be written, or another run has it open.
    """

    def __init__(self, path: Path, note: Callable[[str], None] = lambda _: None) -> None:
        self.path = path.absolute()
        self._note = note
        self._used: set[Path] = set()
        self._made = [folder for folder in (self._stages, *self._stages.parents) if not folder.exists()]
        try:
            self._lock = _opened(self.path)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._sweep()
        except OSError as error:
            self.close()
            raise self._unwritable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back. The folder stays, unless this run made it and nothing came of it."""
        if self.path in self._made and not (self.path / RECORD_FILE).exists():
            with contextlib.suppress(OSError):  # the first that isn't empty ends it
                self._stages.rmdir()
                (self.path / LOCK_FILE).unlink()
                for folder in self._made[1:]:
                    folder.rmdir()
        os.close(self._lock)

    def stage(self, name: str, key: Mapping[str, object], produce: Callable[[Path], R], reply: type[R]) -> Stage[R]:
        """``produce``'s value, or the one that it gave for the same ``key`` before.

        ``key`` holds all that decides the value, in values that JSON knows (or Structs, paths, sets of them);
        ``name``, the schema, millwork's version and the digest of its code are added. ``produce`` is given an empty
        folder for its files. The folder is renamed afterwards, so a path in the value is relative to it. A stage that
        raises leaves nothing behind.

        Raises :class:`UsageError` where the folder can't be written, or the disk is full; and what ``produce``
        raises.
        """
        material = _canonical(name, key)
        sha256 = hashlib.sha256(material).hexdigest()
        folder = self._stages / f"{name}-{sha256[:16]}"
        kept = self._kept(folder, sha256, reply)
        self._used.add(folder)
        if kept is not None:
            return Stage(kept, cached=True, folder=folder)
        try:
            return Stage(_made(folder, material, sha256, produce, reply), cached=False, folder=folder)
        except OSError as error:
            if error.errno in FULL or self._owns(error.filename):
                raise self._unwritable(error) from error
            raise machine.blame(error, [self.path]) from error

    def require_unchanged(self) -> None:
        """:class:`ModelError` names a file of a stage of this run that isn't as the stage left it: before anything made
        of them is let out."""
        used = sorted(folder for folder in self._used if folder.exists())
        told = [f"{folder.name}: {change}" for folder in used for change in changes(folder)]
        if told:
            raise ModelError(
                f"{self.path}: files of this run were changed while it ran: {'; '.join(told[:4])}",
                "Nothing is published. Find out which process writes there, and run it again.",
            )

    def write_record(self, record: Record) -> None:
        """Replace ``run.json`` by ``record``, whole or not at all."""
        try:
            atomic_write(self.path / RECORD_FILE, msgspec.json.format(wire.encode(record), indent=2) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    @property
    def _stages(self) -> Path:
        return self.path / STAGES

    def _kept(self, folder: Path, sha256: str, reply: type[R]) -> R | None:
        """The value kept in ``folder``; None, and no folder, where there is none or it isn't as it was written."""
        if not os.path.lexists(folder):
            return None
        try:
            done = wire.decode(read_limited(folder / DONE_FILE), Done)
            wrong = _changed(folder, done, sha256)
            if not wrong:
                return wire.decode(read_limited(folder / RESULT_FILE), reply)
        except OSError as error:
            wrong = refusal(error, folder)
        except msgspec.DecodeError as error:
            wrong = str(error)
        self._note(f"the run directory's {folder.name} is damaged ({wrong}), so that step runs again")
        try:
            remove(folder)
        except OSError as error:
            raise self._unremovable(folder, error) from error
        return None

    def _sweep(self) -> None:
        """Remove what runs left that were killed: this run has the lock, so no other is alive."""
        for left in self._stages.glob("*.tmp-*"):
            remove(left)
        for left in self.path.glob(".*.tmp-*"):
            if _HALF_WRITTEN.fullmatch(left.name) and stat.S_ISREG(left.lstat().st_mode):
                left.unlink()

    def _names(self, error: MillworkError) -> bool:
        return str(self.path) in error.message

    def _owns(self, filename: object) -> bool:
        return isinstance(filename, str) and Path(filename).is_relative_to(self.path)

    def _unremovable(self, folder: Path, error: OSError) -> MillworkError:
        owner = permissions.foreign_owner(folder)
        whose = f"; it belongs to {owner}" if owner else ""
        return UsageError(
            f"can't write the run directory {self.path}: {folder} isn't as a run left it, and can't be removed: "
            f"{refusal(error)}{whose}",
            "Remove it as a user who may, or choose another folder with --run-dir.",
        )

    def _unwritable(self, error: OSError) -> MillworkError:
        elsewhere = machine.fault(error, [self.path]) if error.errno in FULL else None
        if elsewhere is not None and not self._names(elsewhere):
            return elsewhere
        step = "Free some space, or choose" if error.errno in FULL else "Choose"
        return UsageError(
            f"can't write the run directory {self.path}: {refusal(error)}",
            f"{step} another folder with --run-dir.",
        )


def _opened(path: Path) -> int:
    """The lock of a run directory, which is made where there is none."""
    stages, lock = path / STAGES, path / LOCK_FILE
    for _ in range(ATTEMPTS):
        stages.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # a run that nothing came of removed its folder just now
            descriptor = _locked(lock)
            if os.fstat(descriptor).st_nlink:
                stages.mkdir(exist_ok=True)
                return descriptor
            os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(lock))


def _locked(path: Path) -> int:
    """The open lock file, locked. The kernel gives the lock back when the process dies, however it does."""
    descriptor = opening.held(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _NUMBER.fullmatch(os.pread(descriptor, 64, 0)):
            raise OSError(errno.EINVAL, "this file isn't a lock of millwork's, and would be overwritten", str(path))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise UsageError(
            f"{path.parent}: another run is using this run directory (process {holder})",
            "Wait until it ends, or choose another folder with --run-dir.",
        ) from error
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _canonical(name: str, key: Mapping[str, object]) -> bytes:
    """The key material as JSON with sorted keys; NaN and the infinities are the tokens of Python's json."""
    material: dict[str, Any] = {"stage": name, "schema": SCHEMA, "millwork": [__version__, source_digest()]}
    material["key"] = wire.builtins(dict(key))
    return json.dumps(material, sort_keys=True, separators=(",", ":")).encode()


PACKAGE = Path(__file__).resolve().parents[1]
"""src/millwork: every module below it, its linked folders among them, is what may have made a stage."""


def sources(package: Path = PACKAGE) -> list[Path]:
    """Every module of the package, those in linked folders too, in an order that doesn't change."""
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(package, followlinks=True)
        for name in names
        if name.endswith(".py")
    ]
    return sorted(found)


@functools.cache
def source_digest() -> str:
    """The sha256 of millwork's own modules. A stage that another state of the code made isn't taken for this one's."""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + read_limited(path))
    return digest.hexdigest()


def _made(folder: Path, material: bytes, sha256: str, produce: Callable[[Path], R], reply: type[R]) -> R:
    """Run ``produce`` in a folder of its own, and rename that to ``folder`` once all of it is on the disk."""
    at_work = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    at_work.mkdir()
    try:
        result = wire.encode(produce(at_work))
        value = _read_back(result, reply, at_work)
        _require_own_names(at_work)
        opening.write(at_work / RESULT_FILE, result)
        opening.write(at_work / KEY_FILE, b'{"sha256":"%s","material":%s}\n' % (sha256.encode(), material))
        fsync_tree(at_work)
        atomic_write(at_work / DONE_FILE, wire.encode(Done(key=sha256, files=digests(at_work))))
        at_work.rename(folder)
    except MillworkError as error:
        if str(at_work) in error.hint:
            error.hint = error.hint.replace(str(at_work), str(_keep_logs(at_work, folder.name, error.hint)))
        raise
    finally:
        with contextlib.suppress(OSError):  # gone already, unless something was raised
            remove_tree(at_work)
    fsync_folder(folder.parent)
    return value


def _keep_logs(at_work: Path, name: str, hint: str) -> Path:
    """The folder where the logs of a failed stage are now that ``hint`` sends its reader to."""
    kept = at_work.parent.parent / FAILED / name
    with contextlib.suppress(OSError):  # the stage's own failure is the one to be told
        remove(kept)
    named = (log for log in at_work.glob("*.log") if str(log) in hint)
    with contextlib.suppress(OSError):
        kept.mkdir(parents=True, exist_ok=True)
        for log in itertools.islice(named, MOST_LOGS):
            opening.write(kept / log.name, read_ends(log, LONGEST_LOG + 100))
    return kept


def _require_own_names(at_work: Path) -> None:
    """ModelError where a step put something in the place of a file that is written here."""
    taken = [name for name in (RESULT_FILE, KEY_FILE, DONE_FILE) if os.path.lexists(at_work / name)]
    if taken:
        raise ModelError(
            f"stage {at_work.name.partition('.tmp-')[0]}: its step wrote {taken[0]}, "
            "a name that is reserved for the run directory"
        )


def _read_back(result: bytes, reply: type[R], at_work: Path) -> R:
    """The value as a later run will read it, so that a value which JSON can't carry fails now and not then."""
    if str(at_work).encode() in result:
        raise InternalError(f"stage {at_work.name}: its value contains a path of its temporary folder")
    try:
        return wire.decode(result, reply)
    except msgspec.DecodeError as error:
        raise InternalError(f"stage {at_work.name}: its value can't be read back: {error}") from error


def _changed(folder: Path, done: Done, sha256: str) -> str:
    """What isn't as ``done`` says, or nothing."""
    if done.key != sha256:
        return "it belongs to another key"
    return next(iter(_differences(folder, done)), "")


def changes(folder: Path) -> list[str]:
    """Which files of a stage's folder aren't as they were when it was made, one sentence each."""
    try:
        done = wire.decode(read_limited(folder / DONE_FILE), Done)
        listed = {file.path for file in done.files} | {DONE_FILE}
        added = [
            f"{path.relative_to(folder)} was added"
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).as_posix() not in listed and not is_stray(path)
        ]
        return [*_differences(folder, done), *added]
    except OSError as error:
        return [f"{DONE_FILE} can't be read: {refusal(error, folder / DONE_FILE)}"]
    except msgspec.DecodeError as error:
        return [f"{DONE_FILE} can't be read: {error}"]


def _differences(folder: Path, done: Done) -> list[str]:
    """What is cheap is asked first: a file of another size isn't read."""
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    told = []
    for file in done.files:
        path = there.get(file.path)
        if path is None:
            told.append(f"{file.path} is missing")
        elif path.stat().st_size != file.bytes or digest(path, folder) != file:
            told.append(f"{file.path} has changed")
    return told
