"""Find a runner by its module's name, or by a file copied beside an artifact."""

from __future__ import annotations

import importlib
import importlib.util
import re
from importlib.metadata import Distribution, PackageNotFoundError, entry_points
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Protocol

from ...errors import TargetError
from . import runner_rows
from .runner_rows import ROWS, RUNNERS, install_words

GROUP = "millwork.backends"
"""The entry points by which third parties' packages add backends."""
PACKAGES = frozenset({"numpy", *(package for row in ROWS for package in row.packages)})
"""What an artifact of ours may need in the python backend's environment. An artifact's own list is no reason to install
anything: it is written by a process that has read a model, or lies in a repository."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[A-Za-z0-9._, -]+\])?( *[<>=!~]=?[<>=!~0-9A-Za-z.+*, ]*)?")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]*")


def may_be_installed(requirement: str) -> bool:
    """Whether it is a name, with releases or not, of :data:`PACKAGES`, or of an installed backend's package and what
    that requires. What pip takes for a path, an address or an option is none."""
    found = _REQUIREMENT.fullmatch(requirement)
    return found is not None and (_plain(found[1]) in PACKAGES or _plain(found[1]) in _of_third_parties())


def _plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_version(text: str) -> bool:
    """Whether it looks like a release: pip takes other things for paths and addresses."""
    return _VERSION.fullmatch(text) is not None


def is_runner(name: str) -> bool:
    """Whether it is a runner of ours, or the dotted name of a module."""
    return name in RUNNERS or (name.count(".") > 0 and all(part.isidentifier() for part in name.split(".")))


def _of_third_parties() -> set[str]:
    packages = [point.dist for point in entry_points(group=GROUP) if point.dist is not None]
    return {_plain(name) for dist in packages for name in distributions_of(dist)}


def distributions_of(package: Distribution) -> tuple[str, ...]:
    """The name of a third party's package, and of each that it requires: its engine is among them."""
    needed = (re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in package.requires or ())
    return (package.name, *needed)


class Runner(Protocol):
    """``predict``: float32 [N, F] -> float32 [N, K]; the framework runners have ``leaves`` and ``margins`` too.
    ``categories``: text or int64 [N, C], only where the model takes them."""

    version: str

    def predict(self, rows: Any, categories: Any = None) -> Any: ...
    def leaves(self, rows: Any, categories: Any = None) -> Any: ...
    def margins(self, rows: Any, categories: Any = None) -> Any: ...


class RunnerType(Protocol):
    def __call__(self, model_file: Path, parameters: dict[str, str], threads: int) -> Runner: ...


def runner(name: str, extra: str = "") -> RunnerType:
    """The class ``Runner`` of compile/runners/``name``.py, or of a third party's module of a dotted name. TargetError
    where its engine isn't installed; ``extra``: which of our extras brings it, where that isn't the runner's own.
    ModelError where there is no such runner."""
    third_party = "." in name
    own = "" if third_party else runner_rows.find(name).extra
    try:
        module = importlib.import_module(name if third_party else f"{__package__}.{name}")
    except ModuleNotFoundError as error:
        raise TargetError(f"{error.name} isn't installed", install_words(extra or own)) from error
    return module.Runner  # type: ignore[no-any-return]


def engine_words(name: str) -> str:
    """What a runner runs on, as reports call it; a third party's module, by its own name."""
    return name if "." in name else runner_rows.find(name).engine


def installed(framework: str) -> str | None:
    """The version of ``framework`` here, None where it isn't installed. Imports nothing."""
    for distribution in runner_rows.of_framework(framework).distributions:
        try:
            return version_of(distribution)
        except PackageNotFoundError:
            continue
    return None


def requirement(framework: str, version: str) -> str:
    """What pip installs to have ``framework`` at ``version`` on a CPU: xgboost-cpu is XGBoost without its GPU parts,
    and there is one from 2.1 on."""
    if framework == "xgboost" and numbers(version) >= (2, 1):
        return f"xgboost-cpu=={version}"
    return f"{framework}=={version}" if version else framework


def numbers(version: str) -> tuple[int, ...]:
    """(1, 7, 6) of ``1.7.6``, to compare by."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def beside(name: str) -> tuple[Path, ...]:
    """The files that are copied with the runner's, by their own names: it imports them."""
    return () if "." in name else tuple(Path(__file__).with_name(file) for file in runner_rows.find(name).beside)


def source(name: str) -> Path:
    """The runner's file, to be copied beside an artifact."""
    if "." not in name:
        return Path(__file__).with_name(f"{name}.py")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise TargetError(f"the runner {name} isn't installed")
    return Path(found.origin)
