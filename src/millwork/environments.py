"""Virtual environments that we keep for ourselves: a server's own Python, an older framework.

An environment is addressed by its content: the sha256 of its requirements and of the Python that runs it. It lies in
``<cache>/envs/<name>-<first 12 hex digits>``. It is built beside that folder and renamed into its place, so that what
is there, and may be run from, goes only when there is another; ``complete.json`` in it is written last. Where that
marker alone is damaged, what pip noted of its files tells that they are whole. A lock beside the folder (flock) keeps
builders apart, on one machine. What a builder starts shares its lock, so a pip that outlives a killed builder isn't
written over.

pip does the work, with the user's own configuration and ``PIP_*`` variables.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from . import environment_files
from .errors import TargetError, UsageError
from .storage import opening, permissions, wire
from .storage.files import atomic_write, refusal
from .storage.opening import read_limited
from .values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MARKER = "complete.json"
ADDING = "adding"
"""A file that is there while pip adds to an environment."""

KEPT_LINES = 200
"""How much of pip's output is kept to find the reason of a failure in."""


class Environment(Value):
    """A virtual environment that is whole. ``path``: its folder."""

    path: str

    @property
    def python(self) -> Path:
        return Path(self.path) / "bin" / "python"


class Marker(Value):
    """``complete.json``: what the environment was made from, and what is in it.

    ``sha256`` is the whole address; ``freeze`` is ``pip freeze``, ``added`` what :func:`add` put in since.
    """

    sha256: str
    python: str
    requirements: tuple[str, ...]
    freeze: tuple[str, ...]
    added: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where we keep what can be made again: ``MILLWORK_CACHE``, or the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("MILLWORK_CACHE")
    if not chosen:
        return platformdirs.user_cache_path("millwork")
    return Path(os.path.expanduser(chosen)).resolve()  # noqa: PTH111 (pathlib's raises for a user who isn't there)


def address(requirements: Sequence[str]) -> str:
    """The sha256 (64 hex digits) of the requirements, in any order, and of the Python that would run them."""
    facts = {"requirements": sorted(set(requirements)), "python": _python_version()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find(name: str, requirements: Sequence[str]) -> Environment | None:
    """The environment if it is there and whole; builds nothing. TargetError where that can't be told."""
    folder = _folder(name, requirements)
    with _refused(folder):
        if not _built(folder, requirements) or _broken_off(folder):
            return None
    return Environment(path=str(folder))


def ensure(name: str, requirements: Sequence[str], announce: Callable[[str], None] = lambda _line: None) -> Environment:
    """The environment, built if it isn't there. ``announce`` is told each step in a line.

    Raises TargetError where it can't be built, with pip's own reason, or the operating system's.
    """
    found = find(name, requirements)
    if found is not None:
        return found
    folder = _folder(name, requirements)
    environment = Environment(path=str(folder))
    with _refused(folder), _locked(folder, announce) as lock:
        environment_files.put_back(folder)
        adding = (folder / ADDING).exists()
        if _built(folder, requirements) and not adding:  # another process built it meanwhile
            return environment
        if not adding and not _lacking(environment, requirements):
            _mark_again(environment, requirements, announce)
            return environment
        try:
            return _build(folder, requirements, announce, lock)
        except TargetError as error:
            if not folder.exists():
                raise
            if lacking := _lacking(environment, requirements):
                error.message += f". What is in {folder} stays, but isn't whole: {lacking}"
                raise
            announce(error.message)
            _mark_again(environment, requirements, announce)
            (folder / ADDING).unlink(missing_ok=True)
            return environment


def add(
    environment: Environment,
    requirements: Sequence[str],
    announce: Callable[[str], None] = lambda _line: None,
) -> None:
    """Install more into an environment, unless it is already satisfied (then nothing is asked of the network).

    What the environment was made from still holds: pip resolves both together. Raises TargetError with pip's reason, or
    the operating system's.
    """
    folder = Path(environment.path)
    with _refused(folder):
        if not requirements or satisfied(environment, requirements):
            return
        with _locked(folder, announce) as lock:
            _add(environment, requirements, announce, lock)


def _add(environment: Environment, requirements: Sequence[str], announce: Callable[[str], None], lock: int) -> None:
    folder = Path(environment.path)
    marker = read_marker(folder)
    if marker is None:
        raise TargetError(f"{folder}: this environment is incomplete", "Delete the folder and run again.")
    _refuse_conflict(folder, marker.added, requirements)
    (folder / ADDING).touch()  # a kill during pip leaves it, and the environment is built again
    code, lines = _run_pip(environment, ["install", *marker.requirements, *requirements], announce, lock)
    added = () if code else tuple(dict.fromkeys((*marker.added, *requirements)))
    _write_marker(folder, msgspec.structs.replace(marker, freeze=freeze(environment), added=added))
    (folder / ADDING).unlink()
    if code:  # pip undid its own work, so the environment is what it was
        raise _pip_error(folder, requirements, lines)


def _refuse_conflict(folder: Path, added: Sequence[str], requirements: Sequence[str]) -> None:
    """TargetError where another model's package would be replaced by this one's. xgboost and xgboost-cpu are one:
    they own the same files, which pip doesn't notice."""
    has = {_package(requirement): requirement for requirement in added}
    for wanted in requirements:
        other = has.get(_package(wanted), wanted)
        if other != wanted:
            raise TargetError(
                f"{folder}: this environment has {other}, which another model needs; this model needs {wanted}",
                "Serve each model by its own server. Set MILLWORK_CACHE to another folder for the second.",
            )


def _package(requirement: str) -> str:
    name = re.split(r"[=<>!~\[ ]", requirement, maxsplit=1)[0].lower().replace("_", "-")
    return "xgboost" if name == "xgboost-cpu" else name


def satisfied(environment: Environment, requirements: Sequence[str]) -> bool:
    """Whether each requirement itself is met by what is installed; asks no index."""
    if _installed(environment).issuperset(requirements):
        return True
    command = ["install", "--dry-run", "--no-deps", "--no-index", *requirements]
    code, lines = _run_pip(environment, command, lambda _line: None)
    return code == 0 and not any(line.startswith("Would install") for line in lines)


def _installed(environment: Environment) -> set[str]:
    """``name`` and ``name==version`` of each package: what needs no pip, which takes a second, to be understood."""
    found = environment_files.packages(Path(environment.path))
    return {form for package in found for form in (package.name, f"{package.name}=={package.version}")}


def freeze(environment: Environment) -> tuple[str, ...]:
    """``pip freeze``: ``name==version`` of each package."""
    code, lines = _run_pip(environment, ["freeze"], lambda _line: None)
    return () if code else tuple(line for line in lines if "==" in line or " @ " in line)


def read_marker(folder: Path) -> Marker | None:
    """The marker of a whole environment, or None."""
    try:
        return wire.decode(read_limited(folder / MARKER), Marker)
    except (OSError, msgspec.DecodeError):
        return None


def _built(folder: Path, requirements: Sequence[str]) -> bool:
    marker = read_marker(folder)
    return (
        marker is not None and marker.sha256 == address(requirements) and Environment(path=str(folder)).python.exists()
    )


def _lacking(environment: Environment, requirements: Sequence[str]) -> str:
    """Why an environment whose marker says nothing can't be used, in words; empty where its files are those that pip
    installed, and meet the requirements."""
    if not environment.python.exists():
        return "it has no Python"
    if found := environment_files.damage(Path(environment.path)):
        return found
    if not satisfied(environment, requirements):
        return "it doesn't have what is required"
    _, lines = _run_pip(environment, ["check"], lambda _line: None)
    return next((line for line in lines if "which is not installed" in line), "")


def _mark_again(environment: Environment, requirements: Sequence[str], announce: Callable[[str], None]) -> None:
    """The marker of an environment that is whole. What was added since is what pip was asked for beside the
    requirements."""
    folder = Path(environment.path)
    own = {_package(requirement) for requirement in (*requirements, "pip", "setuptools", "wheel")}
    asked = environment_files.asked_for(folder)
    announce(f"{folder} is whole but for its marker, which is written again")
    added = tuple(requirement for requirement in asked if _package(requirement) not in own)
    _write_marker(folder, _marker(environment, requirements, added))


def _marker(environment: Environment, requirements: Sequence[str], added: tuple[str, ...] = ()) -> Marker:
    return Marker(
        sha256=address(requirements),
        python=_python_version(),
        requirements=tuple(requirements),
        freeze=freeze(environment),
        added=added,
    )


def _broken_off(folder: Path) -> bool:
    """Whether somebody began to add to it and is no longer at it."""
    if not (folder / ADDING).exists():
        return False
    with _lock_file(folder) as lock:
        return _at_once(lock) and (folder / ADDING).exists()  # it may have been finished since


def _build(folder: Path, requirements: Sequence[str], announce: Callable[[str], None], lock: int) -> Environment:
    built = environment_files.beside(folder)
    environment_files.drop(folder)  # what a killed build left
    environment_files.remove_unused(folder)
    announce(f"creating {folder}")
    environment = Environment(path=str(built))
    try:
        made = subprocess.run(
            [sys.executable, "-I", "-m", "venv", *(["--without-pip"] if _has_pip() else []), str(built)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            pass_fds=(lock,),
        )
        if made.returncode:
            raise TargetError(
                f"{folder}: python -m venv failed: {environment_files.last_line(made.stdout.splitlines())}",
                f"{sys.executable} needs its venv and ensurepip modules (on Debian: the package python3-venv).",
            )
        code, lines = _run_pip(environment, ["install", *requirements], announce, lock)
        if code:
            raise _pip_error(folder, requirements, lines)
        _write_marker(built, _marker(environment, requirements))
        environment_files.swap(folder)
    except BaseException:  # Ctrl-C too: half an environment is of no use to anyone
        environment_files.drop(folder)
        raise
    return Environment(path=str(folder))


def _run_pip(
    environment: Environment, arguments: Sequence[str], announce: Callable[[str], None], *shared: int
) -> tuple[int, list[str]]:
    """pip's exit status and the last lines it wrote. ``shared``: open files that pip keeps open as long as it lives."""
    command = [*_pip(environment), "--no-input", *arguments]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=environment_files.pip_variables(os.environ, sys.prefix),
        text=True,
        errors="replace",
        pass_fds=shared,
        start_new_session=True,
    ) as pip:
        try:
            for line in pip.stdout or ():
                lines.append(line.rstrip())
                del lines[:-KEPT_LINES]
                if line.startswith(("Collecting ", "Downloading ", "Installing ")):
                    announce(line.rstrip()[:100])
        except BaseException:
            os.killpg(pip.pid, signal.SIGKILL)  # pip --python has another pip do the work
            raise
    return pip.returncode, lines


def _pip(environment: Environment) -> list[str]:
    """The command that is pip for this environment: its own where it has one, else the running Python's."""
    own = Path(environment.path) / "bin" / "pip"
    if own.exists():
        return [str(environment.python), "-I", "-m", "pip"]
    return [sys.executable, "-I", "-m", "pip", "--python", str(environment.python)]


def _has_pip() -> bool:
    """Whether the running Python has pip; an environment made by another tool than venv often has none."""
    return importlib.util.find_spec("pip") is not None


def _pip_error(folder: Path, requirements: Sequence[str], lines: Sequence[str]) -> TargetError:
    return TargetError(
        f"pip could not install {', '.join(requirements)} into {folder}: {environment_files.last_line(lines)}",
        "Check the network, or pip's own configuration (pip config list), and run the same command again.",
    )


def _write_marker(folder: Path, marker: Marker) -> None:
    atomic_write(folder / MARKER, msgspec.json.format(msgspec.json.encode(marker), indent=2))


@contextlib.contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """What the operating system refuses in there is a TargetError. An OSError would be taken for the run directory's:
    its disk may be another."""
    try:
        yield
    except OSError as error:
        raise TargetError(refusal(error, folder), "Free space, or set MILLWORK_CACHE to another folder.") from error


@contextlib.contextmanager
def _locked(folder: Path, announce: Callable[[str], None]) -> Iterator[int]:
    """Nobody else builds in the folder meanwhile. Gives the lock's descriptor: the lock is free when every process that
    has it open is gone."""
    with _lock_file(folder) as lock:
        if not _at_once(lock):
            announce(f"waiting for another process that is using {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


@contextlib.contextmanager
def _lock_file(folder: Path) -> Iterator[int]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = opening.held(Path(f"{folder}.lock"), 0o644)
    try:
        yield lock
    finally:
        os.close(lock)


def _at_once(lock: int) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _folder(name: str, requirements: Sequence[str]) -> Path:
    """Where it lies. UsageError where others may write there: what is in it runs as this user."""
    envs = cache_folder() / "envs"
    folder = envs / f"{name}-{address(requirements)[:12]}"
    for part in (envs.parent, envs, folder):
        if why := permissions.of_others(part):
            raise UsageError(
                f"{part}: {why}, and what lies there runs as you",
                "Name a folder of your own in MILLWORK_CACHE, or take the right to write from others.",
            )
    return folder


def _python_version() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
