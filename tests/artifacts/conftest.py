"""Small bundles: real files, a real manifest and config, and a model file that is only bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from obstore.store import MemoryStore

from millwork.artifacts.bundle import Bundle, seal
from millwork.artifacts.repository import LocalRepository, Repository
from millwork.artifacts.repository.object_store import ObjectRepository
from millwork.artifacts.repository.object_store import store as stores
from millwork.artifacts.repository.object_store.address import parse
from millwork.artifacts.repository.object_store.store import Patience
from millwork.triton.config import ConfigRequest, render
from millwork.triton_releases import find
from millwork.values import (
    FeatureContract,
    Manifest,
    ModelSummary,
    OutputContract,
    Parity,
    Provenance,
    TargetSummary,
)

MakeBundle = Callable[..., Bundle]

OUTPUT = OutputContract(kind="probability", task="binary", labels=("no", "yes"), threshold=0.5)


def manifest_of(name: str) -> Manifest:
    return Manifest(
        schema=1,
        name=name,
        created="2026-01-02T03:04:05+00:00",
        millwork="0.1.0",
        backend="onnx",
        precision="fp32",
        triton_backend="onnxruntime",
        triton_release="24.10",
        model_file="model.onnx",
        features=FeatureContract(names=("a", "b"), named=True),
        output=OUTPUT,
        model=ModelSummary(
            framework="xgboost", objective="binary:logistic", sha256="ab", features=("a",), outputs=("no", "yes")
        ),
        source=Provenance(
            path="model.json",
            format="xgboost-json",
            sha256="ab",
            framework="xgboost",
            framework_version="3.2.0",
        ),
        parity=Parity(rows=10, leaf_mismatches=0, max_abs=0.0, max_rel=0.0, max_ulp=0, decision_flips=0),
        latency=(),
        target=TargetSummary(name="host", measured_on="here", is_target=True),
        requirements=(),
        files=(),
    )


@pytest.fixture
def manifest() -> Manifest:
    return manifest_of("m")


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """``make_bundle(content, name)``: a sealed bundle whose model file holds ``content``."""

    def make(content: bytes = b"a model", name: str = "m", **changes: object) -> Bundle:
        folder = tmp_path / f"bundle-{len(list(tmp_path.glob('bundle-*')))}"
        (folder / "parts").mkdir(parents=True)
        (folder / "model.onnx").write_bytes(content)
        (folder / "golden.npz").write_bytes(b"golden rows")
        (folder / "parts" / "extra.bin").write_bytes(content[::-1])
        request = ConfigRequest(
            name=name,
            triton_backend="onnxruntime",
            release=find("24.10"),
            model_file="model.onnx",
            model_sha256="ab",
            features=2,
            output=OUTPUT,
        )
        return seal(folder, msgspec.structs.replace(manifest_of(name), **changes), render(request))

    return make


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Where a repository will be; not made yet."""
    return tmp_path / "served" / "models"


@pytest.fixture(params=["folder", "store"])
def anywhere(request: pytest.FixtureRequest, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository in a folder, and one in a store (obstore's, in memory)."""
    if request.param == "folder":
        return LocalRepository(root=repository)
    memory = MemoryStore()
    monkeypatch.setattr(stores, "connect", lambda *_: memory)
    return ObjectRepository(parse("gs://bucket/models"), Patience(tries=2, first_wait_s=0.01), timedelta(hours=1))


@pytest.fixture
def edit(anywhere: Repository, tmp_path: Path) -> Callable[[str, str | None], None]:
    """``edit(path, text)``: what somebody else does to a file of ``anywhere``; None removes it."""

    def change(path: str, text: str | None) -> None:
        if isinstance(anywhere, ObjectRepository):
            key = f"{anywhere.address.prefix}/{path}"
            if text is None:
                anywhere.store.delete([key])
                return
            (tmp_path / "edited").write_text(text)
            anywhere.store.put(key, tmp_path / "edited")
            return
        file = Path(anywhere.url) / path
        if text is None:
            file.unlink()
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return change
