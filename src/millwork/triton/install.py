"""The managed Triton: the real server out of pip packages, in an environment of its own.

The wheel ``nvidia-pytriton`` bundles the tritonserver binary with its Python backend, stubs for several Pythons and
the libraries that they need; ``tritonclient``'s wheel bundles perf_analyzer. :func:`install` lays them out as a
server expects them. numpy stays below 2: this release's stub was built with pybind11 2.10, which hands over corrupt
arrays under numpy 2, without an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from .. import environments, triton_releases
from ..compile import kernel
from ..compile.runners.load import may_be_installed
from ..environments import Environment
from ..errors import ModelError, TargetError, UsageError
from ..storage.files import refusal, sha256_file
from ..values import Value
from ..worker.variables import for_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TRITON_VERSION = "2.51.0"
"""Release 24.10: what nvidia-pytriton 0.7.0 bundles."""

NAME = "triton"
REQUIREMENTS = (
    "nvidia-pytriton==0.7.0",
    "tritonclient[grpc,http]==2.51.0",
    "onnxruntime==1.32.0",  # the Python backend's; the same as our own tests run
    "treelite==4.3.0",  # what this release's FIL backend bundles
    "numpy<2",
)
STUBS = ((3, 8), (3, 13))
"""The first and the last Python that the wheel has a stub for."""

LAYOUT = "server-3"
"""The laid-out server's folder in the environment; another number is another layout."""

PERF_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""What perf_analyzer links to -> the name that nvidia-pytriton's wheel carries it under."""


NO_BYTECODE = "import sys; sys.dont_write_bytecode = True\n"
"""A .pth file's line, for the server's Python: no ``__pycache__`` beside a model.py, in a folder that others watch.

The stub ignores PYTHONDONTWRITEBYTECODE, as every PYTHON variable (it starts from an isolated configuration).
"""


class Installation(Value):
    """A Triton that can be started. Paths are absolute.

    ``environment`` is the Python of its Python backend, None where that is the system's. ``version`` is None where
    only the running server can tell.
    """

    server: str
    backends: str
    caches: str
    libraries: tuple[str, ...]
    environment: Environment | None = None
    perf_analyzer: str | None = None
    perf_libraries: tuple[str, ...] = ()
    version: str | None = None


class Status(Value):
    """What is installed. ``bytes``: its size on disk; ``problems``: why it would not run, one sentence each.

    ``triton`` and ``release`` are the server's version and its release (24.10), installed or not; ``packages`` is name
    to version.
    """

    installed: bool
    path: str
    triton: str
    release: str
    python: str
    bytes: int
    packages: dict[str, str]
    problems: tuple[str, ...]


def install(announce: Callable[[str], None] = lambda _line: None) -> Installation:
    """The managed Triton, installed if it isn't there. About 0.6 GB, half a minute or more the first time.

    Raises TargetError where this machine can't run it, before anything is downloaded, or where pip fails.
    """
    library = _libpython()
    environment = environments.ensure(NAME, REQUIREMENTS, announce)
    try:
        _lay_out(environment, library)
        _add_backends(environment)
    except OSError as error:
        raise TargetError(refusal(error, _server_folder(environment))) from error
    return _installation(environment)


def backends() -> tuple[str, ...]:
    """What the managed Triton serves with, installed or not."""
    return ("python",) if kernel.triton_library() is None else ("python", kernel.TRITON_BACKEND)


def find() -> Installation | None:
    """The managed Triton if it is installed; installs nothing."""
    environment = environments.find(NAME, REQUIREMENTS)
    if environment is None or not _server_folder(environment).exists() or not _backends(environment).exists():
        return None
    return _installation(environment)


def at(path: Path) -> Installation:
    """The user's own Triton: its folder (``/opt/tritonserver``) or its binary. UsageError where there is none."""
    binary = path / "bin" / "tritonserver" if path.is_dir() else path
    if not (binary.is_file() and os.access(binary, os.X_OK)):
        raise UsageError(
            f"--triton {path}: there is no tritonserver program",
            "Give the folder that holds bin/tritonserver (such as /opt/tritonserver), or the program itself.",
        )
    root = binary.resolve().parent.parent
    return Installation(
        server=str(binary.resolve()),
        backends=str(root / "backends"),
        caches=str(root / "caches"),
        libraries=(str(root / "lib"),),
    )


def status() -> Status:
    """What is there of the managed Triton, and what keeps it from running."""
    problems: list[str] = []
    try:
        _libpython()
    except TargetError as error:
        problems.append(error.message)
    found = find()
    if found is None or found.environment is None:
        return Status(
            installed=False,
            path="",
            triton=TRITON_VERSION,
            release=_release(),
            python="",
            bytes=0,
            packages={},
            problems=(*problems, "not installed: run millwork triton install"),
        )
    folder = Path(found.environment.path)
    marker = environments.read_marker(folder)
    lines = marker.freeze if marker else ()
    return Status(
        installed=True,
        path=str(folder),
        triton=TRITON_VERSION,
        release=_release(),
        python=marker.python if marker else "",
        bytes=sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir()),
        packages=dict(line.split("==", 1) for line in lines if "==" in line),
        problems=tuple(problems),
    )


def provide(
    installation: Installation,
    requirements: Sequence[str],
    announce: Callable[[str], None] = lambda _line: None,
) -> None:
    """Install what a model of the Python backend needs, where that Python is ours to fill. TargetError as pip's;
    ModelError for what no artifact of ours needs."""
    if installation.environment is None:
        return
    strange = [requirement for requirement in requirements if not may_be_installed(requirement)]
    if strange:
        raise ModelError(f"the version requires the package {strange[0][:100]!r}, which no artifact of millwork needs")
    environments.add(installation.environment, requirements, announce)


def server_variables(installation: Installation, variables: Mapping[str, str], *, store: bool) -> dict[str, str]:
    """The environment variables to run the server with.

    Its Python backend is the first ``python`` on PATH; what would point that Python elsewhere is taken out, and so are
    secrets: the model runs in it. ``store``: the repository is an object store's, whose credentials stay.
    """
    kept = for_server(variables, store=store)
    kept = {name: value for name, value in kept.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    kept.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime reports its use from 1.29 on
    kept["LD_LIBRARY_PATH"] = _joined(installation.libraries, kept.get("LD_LIBRARY_PATH", ""))
    if installation.environment is not None:
        kept["PATH"] = _joined([str(installation.environment.python.parent)], kept.get("PATH", os.defpath))
    return kept


def _installation(environment: Environment) -> Installation:
    packages, folder = _site_packages(environment), _server_folder(environment)
    return Installation(
        server=str(packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"),
        backends=str(_backends(environment)),
        caches=str(folder / "caches"),
        libraries=(str(packages / "nvidia_pytriton.libs"), str(folder / "python")),
        environment=environment,
        perf_analyzer=str(environment.python.parent / "perf_analyzer"),
        perf_libraries=(str(folder / "perf"),),
        version=TRITON_VERSION,
    )


def _lay_out(environment: Environment, libpython: Path) -> None:
    """Put the wheel's parts where a server looks: built aside, then renamed, so it is whole or not there.

    server-3/python-backend    Triton's own, its utilities and the stub of this Python
    server-3/caches            the local response cache
    server-3/python, perf      links to the shared libraries of the stub and of perf_analyzer, and to nothing else
    """
    folder, packages = _server_folder(environment), _site_packages(environment)
    if folder.exists():
        return
    tree, aside = packages / "pytriton" / "tritonserver", _aside(folder)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tree / "backends" / "python", aside / "python-backend", ignore=ignore)
    stub = tree / "python_backend_stubs" / _python() / "triton_python_backend_stub"
    shutil.copy2(stub, aside / "python-backend")
    shutil.copytree(tree / "caches", aside / "caches")
    for sub in ("python", "perf"):
        (aside / sub).mkdir()
    (aside / "python" / libpython.name).symlink_to(libpython)
    for name, pattern in PERF_LIBRARIES.items():
        (aside / "perf" / name).symlink_to(next((packages / "nvidia_pytriton.libs").glob(pattern)))
    (packages / "millwork-server.pth").write_text(NO_BYTECODE)
    _place(aside, folder)


def _add_backends(environment: Environment) -> None:
    """The backend folder: Triton's python backend, and ours where it was built.

    server-3/backends-DIGEST/{python -> ../python-backend, millwork/libtriton_millwork.so}: never changed once it is
    there, since servers that run have the library mapped; another build of ours makes another folder.
    """
    folder, library = _backends(environment), kernel.triton_library()
    if folder.exists():
        return
    aside = _aside(folder)
    aside.mkdir()
    (aside / "python").symlink_to(Path("..") / "python-backend")
    if library is not None:
        (aside / kernel.TRITON_BACKEND).mkdir()
        shutil.copyfile(library, aside / kernel.TRITON_BACKEND / library.name)
    _place(aside, folder)


def _aside(folder: Path) -> Path:
    """Where this process builds ``folder``: beside it, and not there yet."""
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def _place(aside: Path, folder: Path) -> None:
    """Rename what was built into place, unless another process was faster."""
    try:
        aside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _backends(environment: Environment) -> Path:
    library = kernel.triton_library()
    return _server_folder(environment) / f"backends-{sha256_file(library)[:12] if library else 'none'}"


def _libpython() -> Path:
    """The shared library of the running Python, which the Python backend's stub is linked to."""
    first, last = STUBS
    if not first <= sys.version_info[:2] <= last:
        raise TargetError(
            f"the managed Triton supports Python {_dotted(first)} to {_dotted(last)}; this is Python {_python()}",
            "Run millwork with one of those, or use your own Triton: --triton grpc://HOST:PORT or --triton PATH.",
        )
    name = f"libpython{_python()}.so.1.0"
    library = sysconfig.get_config_var("LIBDIR") or "/usr/lib"
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    folders = [Path(library), Path(library) / multiarch, Path(sys.base_prefix) / "lib", *_loader_folders(name)]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise TargetError(
        f"the managed Triton's Python backend needs {name}, which this machine doesn't have",
        f"Install it (Debian, Ubuntu: apt install libpython{_python()}), or run millwork with a Python that was"
        " built with --enable-shared.",
    )


def _loader_folders(name: str) -> list[Path]:
    """Where the system's loader knows a library of this name."""
    loader = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if loader is None:
        return []
    listed = subprocess.run([loader, "-p"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    lines = (line for line in listed.splitlines() if line.strip().startswith(f"{name} "))
    return [Path(line.split("=>")[-1].strip()).parent for line in lines]


def _site_packages(environment: Environment) -> Path:
    return Path(environment.path) / "lib" / f"python{_python()}" / "site-packages"


def _server_folder(environment: Environment) -> Path:
    return Path(environment.path) / LAYOUT


def _joined(first: list[str] | tuple[str, ...], rest: str) -> str:
    return os.pathsep.join([*first, *([rest] if rest else [])])


def _release() -> str:
    known = triton_releases.from_server_version(TRITON_VERSION)
    return known.name if known else ""


def _python() -> str:
    return _dotted(sys.version_info[:2])


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
