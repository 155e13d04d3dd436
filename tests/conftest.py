"""What several test modules share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from models.jobs import Desk, Files

    from millwork.environments import Environment
    from millwork.triton.install import Installation

ONE_OF_SEVERAL = "PYTEST_XDIST_WORKER" in os.environ
"""Whether this process runs a share of the tests, beside others that run the rest (``pytest -n``)."""

# No test asserts a time, and hypothesis isn't to either: several processes share a machine that others use, too.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


gc.set_threshold(100_000, 50, 100)
"""Looking for cycles among what torch and its like have made took a twelfth of the time."""


def pytest_sessionstart() -> None:
    """Tests send Ctrl-C to processes of theirs. A shell starts what runs in the background with SIGINT ignored, which
    those processes would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that start a Triton take longest and mostly wait: first, so that no process has one of them left when
    the others are done. (With ``--no-loadscope-reorder``, processes take modules in this order.)"""
    if ONE_OF_SEVERAL:
        serving = {item.path for item in items if item.get_closest_marker("triton")}
        items.sort(key=lambda item: item.path not in serving)


@pytest.fixture(scope="session", autouse=True)
def finalized() -> Iterator[None]:
    """What only the collector frees is freed while a test can still fail for what it raises. pytest collects once more
    at its own end, but nobody hears then what one process of several (``pytest -n``) says."""
    yield
    gc.collect()


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A temporary folder that ``make`` has filled, once for all processes that run the tests."""
    base = factory.getbasetemp()
    root = base.parent if ONE_OF_SEVERAL else base
    folder, whole = root / name, root / f"{name}.whole"
    with FileLock(root / f"{name}.lock"):
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def triton_installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The managed Triton, in the user's own cache: installed by the first test that ever asks for it."""
    from millwork.triton import install

    once(tmp_path_factory, "triton-installation", lambda _: install.install())
    return install.install()


@pytest.fixture(scope="session")
def rtx(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain with TensorRT-RTX, likewise."""
    from millwork import toolchains

    once(tmp_path_factory, "tensorrt-rtx", lambda _: toolchains.install("tensorrt-rtx"))
    return toolchains.install("tensorrt-rtx")


@pytest.fixture(scope="session")
def hummingbird(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain with Hummingbird, likewise."""
    from millwork import toolchains

    once(tmp_path_factory, "hummingbird", lambda _: toolchains.install("hummingbird"))
    return toolchains.install("hummingbird")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The .pt2 of each kind of net, exported by the first test that asks for it. Not to be written to."""
    from models import nets

    def of(kind: str) -> Path:
        return once(tmp_path_factory, f"net-{kind}", lambda folder: nets.export(kind, folder)) / nets.FILE

    return of


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Small models, and rows for them. Not to be written to."""
    from models import jobs

    return jobs.Files(once(tmp_path_factory, "files", jobs.make))


@pytest.fixture(scope="session")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Where version 1 of the clicks model was published, and a newer one is ready to be. Not to be written to."""
    from models import jobs

    def finish(folder: Path) -> None:
        desk = jobs.Desk(folder, files)
        for said in (desk.optimize(files.clicks), desk.optimize(files.again, "--dry-run")):
            assert said.code == 0, said.err

    return jobs.Desk(once(tmp_path_factory, "finished", finish), files)


@pytest.fixture
def desk(finished: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A copy of that, in the working folder: its stages are kept, so the same run again takes no time."""
    from models import jobs

    folder = tmp_path / "desk"
    shutil.copytree(finished.folder, folder)
    monkeypatch.chdir(folder)
    return jobs.Desk(folder, finished.files)
