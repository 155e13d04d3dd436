"""Find a runner by its module's name, or by a file copied beside an artifact."""

from __future__ import annotations

import importlib
import importlib.util
import re
from importlib.metadata import PackageNotFoundError, entry_points
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Protocol

from ...errors import TargetError

EXTRAS = {"onnx_runner": "cpu", "treelite_runner": "treelite", "xgboost_runner": "xgboost",
          "catboost_runner": "catboost", "tensorrt_runner": "gpu", "nvforest_runner": "gpu",
          "cuda_runner": "gpu",
          "torch_runner": "torch"}  # fmt: skip
"""The extra that each runner needs, for the message."""


DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "xgboost": ("xgboost", "xgboost-cpu"),
    "catboost": ("catboost",),
    "torch": ("torch",),
}
"""What may be installed under each framework's name: xgboost-cpu is XGBoost without its GPU parts (from 2.1 on)."""


ENGINES = {"onnx_runner": "onnxruntime", "treelite_runner": "treelite", "xgboost_runner": "xgboost",
           "catboost_runner": "catboost", "native_runner": "millwork-kernel",
           "tensorrt_runner": "TensorRT", "nvforest_runner": "nvForest", "cuda_runner": "millwork-cuda",
           "torch_runner": "torch"}  # fmt: skip
"""What each runner runs on."""


DECIDING = frozenset({"catboost_runner", "cuda_runner", "native_runner", "treelite_runner", "xgboost_runner"})
"""Runners that import labels.py."""


GROUP = "millwork.backends"
"""The entry points by which third parties' packages add backends."""
PACKAGES = frozenset({
    *(name for names in DISTRIBUTIONS.values() for name in names), "onnxruntime", "onnxruntime-gpu", "treelite",
    "pandas", "numpy", "cuda-bindings", "cuda-python", "tensorrt", "nvforest-cu13",
})  # fmt: skip
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
    return name in ENGINES or (name.count(".") > 0 and all(part.isidentifier() for part in name.split(".")))


def _of_third_parties() -> set[str]:
    packages = [point.dist for point in entry_points(group=GROUP) if point.dist is not None]
    needed = [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for dist in packages for need in dist.requires or ()]
    return {_plain(name) for name in (*needed, *(dist.name for dist in packages))}


class Runner(Protocol):
    """``predict``: float32 [N, F] -> float32 [N, K]; the framework runners have ``leaves`` and ``margins`` too.
    ``categories``: text or int64 [N, C], only where the model takes them."""

    version: str

    def predict(self, rows: Any, categories: Any = None) -> Any: ...
    def leaves(self, rows: Any, categories: Any = None) -> Any: ...
    def margins(self, rows: Any, categories: Any = None) -> Any: ...


class RunnerType(Protocol):
    def __call__(self, model_file: Path, parameters: dict[str, str], threads: int) -> Runner: ...


def runner(name: str) -> RunnerType:
    """The class ``Runner`` of compile/runners/``name``.py, or of a third party's module of a dotted name. TargetError
    where its engine isn't installed."""
    try:
        module = importlib.import_module(name if "." in name else f"{__package__}.{name}")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name, "")
        raise TargetError(
            f"{error.name} isn't installed", f"pip install 'millwork[{extra}]'" if extra else "Install it."
        ) from error
    return module.Runner  # type: ignore[no-any-return]


def installed(framework: str) -> str | None:
    """The version of ``framework`` here, None where it isn't installed. Imports nothing."""
    for distribution in DISTRIBUTIONS[framework]:
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
    return (Path(__file__).with_name("labels.py"),) if name in DECIDING else ()


def source(name: str) -> Path:
    """The runner's file, to be copied beside an artifact."""
    if "." not in name:
        return Path(__file__).with_name(f"{name}.py")
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise TargetError(f"the runner {name} isn't installed")
    return Path(found.origin)
