"""What this machine has of all that a run may use. Imports none of it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import psutil

from .. import __version__, environments, gpus
from ..artifacts.repository import Repository, at
from ..compile.runners.runner_rows import ROWS
from ..errors import MillworkError, UsageError
from ..targets import machine
from ..triton import install
from ..values import Value
from ..worker import sandbox


class Finding(Value):
    """``there``, and its ``version``; else ``hint``: what to do about it. ``purpose``: what it is for."""

    what: str
    there: bool
    version: str = ""
    hint: str = ""
    purpose: str = ""


PACKAGES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    *((row.distributions, row.extra, row.purpose) for row in ROWS if row.purpose),
    (("obstore",), "object-store", "repositories in s3://, gs://, az://"),
    (("model-signing",), "signing", "--sign, and verify --key"),
    (("nvidia-modelopt",), "precision", "makes nets' fp16 candidates"),
    (("tensorrt-rtx-cu13",), "preflight", "builds graphs for a GPU that isn't here; a toolchain, too"),
)
"""Distributions (any of them will do), the extra that brings one, and what it is for."""


def examine(repository: str = "") -> list[Finding]:
    """All findings, the machine first. ``repository``: one whose publications are looked at, too."""
    return [
        *_machine(),
        *(_publications(at(repository)) if repository else ()),
    ]


def _publications(where: Repository) -> list[Finding]:
    """A finding for each model whose publication isn't finished; else one for the repository."""
    names = where.models()
    told = [finding for name in names if (finding := _publication(where, name)) is not None]
    whole = f"{len(names)} model{'' if len(names) == 1 else 's'}, every publication finished"
    return told or [Finding(what=where.url, there=True, version=whole, purpose="publications")]


def _publication(where: Repository, name: str) -> Finding | None:
    try:
        begun = where.unfinished(name)
    except UsageError:  # no name of ours: nothing was published there
        return None
    except MillworkError as error:
        said = str(error)
    else:
        if begun is None:
            return None
        said = f"{begun.words}. {begun.hint}"
    return Finding(what=f"{where.url}/{name}", there=False, hint=said, purpose="publications")


def _machine() -> list[Finding]:
    return [
        Finding(what="millwork", there=True, version=f"{__version__}, Python {platform.python_version()}"),
        Finding(what="machine", there=True, version=f"{machine()}, {psutil.virtual_memory().total / 2**30:.0f} GiB"),
        _sandbox(),
        *(_package(names, extra, purpose) for names, extra, purpose in PACKAGES),
        _triton(),
        _gpu(),
        Finding(
            what="cache",
            there=True,
            version=str(environments.cache_folder()),
            purpose="environments, the managed Triton",
        ),
    ]


def _sandbox() -> Finding:
    """The layers that steps run in, each by itself."""
    purpose = "models are read and run in it"
    lacking = sandbox.missing()
    if lacking:
        return Finding(what="sandbox", there=False, hint=f"{lacking}; or --trust each file", purpose=purpose)
    return Finding(
        what="sandbox", there=True, version=f"Landlock {sandbox.landlock_version()}, seccomp", purpose=purpose
    )


def _package(names: tuple[str, ...], extra: str, purpose: str) -> Finding:
    for name in names:
        try:
            return Finding(what=names[0], there=True, version=f"{version(name)} ({name})", purpose=purpose)
        except PackageNotFoundError:
            continue
    return Finding(what=names[0], there=False, hint=f"pip install 'millwork[{extra}]'", purpose=purpose)


def _triton() -> Finding:
    status = install.status()
    purpose = f"serves and verifies; backends: {', '.join(install.backends())}"
    if status.problems:
        return Finding(what="managed Triton", there=False, hint="; ".join(status.problems), purpose=purpose)
    size = f"{status.bytes / 2**30:.1f} GiB"
    return Finding(
        what="managed Triton", there=True, version=f"{status.triton} ({status.release}), {size}", purpose=purpose
    )


def _gpu() -> Finding:
    """By NVML or nvidia-smi."""
    purpose = "GPU targets"
    seen = gpus.look()
    if not seen.gpus:
        return Finding(what="NVIDIA GPU", there=False, hint=seen.why, purpose=purpose)
    words = [
        f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_gib:g} GiB, driver {gpu.driver}"
        for gpu in seen.gpus
    ]
    return Finding(what="NVIDIA GPU", there=True, version="; ".join(words), purpose=purpose)
