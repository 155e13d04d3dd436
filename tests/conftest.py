"""What several test modules share."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from models.jobs import Desk, Files

    from millwork.validators.triton.install import Installation


def pytest_sessionstart() -> None:
    """Tests send Ctrl-C to processes of theirs. A shell starts what runs in the background with SIGINT ignored, which
    those processes would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """The managed Triton, in the user's own cache: installed by the first test that ever asks for it."""
    from millwork.validators.triton import install

    return install.install()


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Small models, and rows for them. Not to be written to."""
    from models import jobs

    return jobs.make(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def finished(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Where version 1 of the clicks model was published, and a newer one is ready to be. Not to be written to."""
    from models import jobs

    desk = jobs.Desk(tmp_path_factory.mktemp("finished"), files)
    for said in (desk.optimize(files.clicks), desk.optimize(files.again, "--dry-run")):
        assert said.code == 0, said.err
    return desk


@pytest.fixture
def desk(finished: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A copy of that, in the working folder: its stages are kept, so the same run again takes no time."""
    from models import jobs

    folder = tmp_path / "desk"
    shutil.copytree(finished.folder, folder)
    monkeypatch.chdir(folder)
    return jobs.Desk(folder, finished.files)
