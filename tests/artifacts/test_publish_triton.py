"""Publishing under a real Triton: it loads what was published, and goes on serving what was there before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from millwork.artifacts.bundle import Bundle, seal
from millwork.artifacts.repository import publish, rollback
from millwork.errors import PublicationError
from millwork.triton import server
from millwork.triton.client import Session
from millwork.triton.config import ConfigRequest, render
from millwork.triton.settings import Settings
from millwork.triton_releases import find
from millwork.values import Manifest, OutputContract

if TYPE_CHECKING:
    from millwork.triton.install import Installation

pytestmark = pytest.mark.triton

MODEL = Path(__file__).parent / "triton_models" / "scale.py"
OUTPUT = OutputContract(kind="probability", task="binary", labels=("no", "yes"))
ROWS = np.array([[1.0, 2.0], [-3.0, 0.5]], dtype=np.float32)


@pytest.fixture
def session(triton_installation: Installation, repository: Path, tmp_path: Path) -> Iterator[Session]:
    """A Triton on the repository, which is still empty."""
    repository.mkdir(parents=True)
    with (
        server.start(triton_installation, repository, log=tmp_path / "triton.log") as running,
        Session(running.grpc_url) as session,
    ):
        yield session


def request(backend: str, name: str, release: str) -> ConfigRequest:
    return ConfigRequest(
        name=name,
        triton_backend=backend,
        release=find(release),
        model_file="factor.txt",
        model_sha256="ab",
        features=2,
        output=OUTPUT,
        settings=Settings(instances=2),
    )


def scaling(folder: Path, manifest: Manifest, factor: str) -> Bundle:
    """A python-backend bundle that multiplies by ``factor``; one that isn't a number fails to load."""
    folder.mkdir()
    shutil.copy(MODEL, folder / "model.py")
    (folder / "factor.txt").write_text(factor)
    (folder / "golden.npz").write_bytes(b"")
    python = msgspec.structs.replace(manifest, triton_backend="python", model_file="factor.txt")
    return seal(folder, python, render(request("python", "m", "24.10")))


def test_published_verified_taken_back(session: Session, repository: Path, tmp_path: Path, manifest: Manifest) -> None:
    def verify(version: int) -> None:
        session.load("m")
        assert session.versions("m") == (version,)

    def restored(version: int | None) -> None:
        session.load("m") if version is not None else session.unload("m")

    def asked() -> float:
        (factor,) = np.unique(session.infer("m", ROWS) / ROWS)
        return float(factor)

    broken = scaling(tmp_path / "broken", manifest, "not a number")
    with pytest.raises(PublicationError, match=r"could not convert string to float.*no version of the model serves"):
        publish(broken, repository, verify=verify, restored=restored)
    assert session.versions("m") == ()

    for number, factor in ((2, "2"), (3, "3")):
        bundle = scaling(tmp_path / factor, manifest, factor)
        assert publish(bundle, repository, verify=verify, restored=restored).version == number
        assert asked() == number

    with pytest.raises(PublicationError, match=r"could not convert string to float.*version 3 still serves"):
        publish(broken, repository, verify=verify, restored=restored)
    assert (session.versions("m"), asked()) == ((3,), 3.0)

    assert rollback(repository, "m", verify=verify, restored=restored).version == 2
    assert asked() == 2.0
    assert rollback(repository, "m", 3, verify=verify, restored=restored).version == 3
    assert asked() == 3.0


@pytest.mark.parametrize("release", ["24.10", "26.03"])
@pytest.mark.parametrize("backend", ["onnxruntime", "fil"])
def test_triton_reads_the_configurations_of_other_backends(
    session: Session, repository: Path, backend: str, release: str
) -> None:
    """The managed server lacks these backends: it says so only once it has read and checked the configuration."""
    (repository / "m" / "1").mkdir(parents=True)
    (repository / "m" / "1" / "factor.txt").write_text("a model file")
    text = render(request(backend, "m", release))
    (repository / "m" / "config.pbtxt").write_text(text)
    with pytest.raises(PublicationError, match=rf"unable to find .*backend '{backend}'"):
        session.load("m")
    (repository / "m" / "config.pbtxt").write_text(f"{text}nonsense: 1\n")
    with pytest.raises(PublicationError, match="failed to poll from model repository"):
        session.load("m")
