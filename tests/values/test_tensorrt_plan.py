"""A plan that was made for another GPU, or by another build, is told before it is published."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millwork import gpus, triton_releases
from millwork.artifacts import repository
from millwork.errors import PublicationError
from millwork.gpus import Gpu
from millwork.pipeline import publish
from millwork.progress import Silent
from millwork.triton.serving import Serving
from millwork.values.tensorrt_plan import Place, PlanFacts, misfit

PLAN = PlanFacts(
    flavour="tensorrt",
    build="11.4.0.106",
    gpu="NVIDIA A100-SXM4-40GB",
    compute_capability="8.0",
    driver="580.95.05",
    onnx_sha256="0" * 64,
    profiles=((1, 1, 1), (2, 64, 4096)),
)
SAME = Place(build="11.4.0.106", gpu="NVIDIA A100-SXM4-40GB", compute_capability="8.0")
L4 = Place(build="11.4.0.106", gpu="NVIDIA L4", compute_capability="8.9")
A100_80 = msgspec.structs.replace(SAME, gpu="NVIDIA A100-SXM4-80GB")
T4 = msgspec.structs.replace(SAME, gpu="Tesla T4", compute_capability="7.5")


@pytest.mark.parametrize("place", [SAME, Place(), Place(build="11.4"), Place(compute_capability="8.0")])
def test_where_it_was_made_it_runs(place: Place) -> None:
    """What isn't known of a place isn't held against it; a release's first numbers are enough."""
    assert misfit(PLAN, place) == ""


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (
            L4,
            (
                "built on NVIDIA A100-SXM4-40GB (compute capability 8.0), "
                "but the server has NVIDIA L4 (compute capability 8.9)"
            ),
        ),
        (A100_80, "but the server has NVIDIA A100-SXM4-80GB, and a plan runs only on the model of GPU that made it"),
        (Place(build="11.4.1.2"), "built by TensorRT 11.4.0.106, but the server has 11.4.1.2"),
        (Place(build="10.16"), "built by TensorRT 11.4.0.106, but the server has 10.16"),
        (Place(flavour="tensorrt_rtx"), "a plan of TensorRT can't run on TensorRT-RTX"),
    ],
)
def test_elsewhere_it_is_refused(place: Place, words: str) -> None:
    assert words in misfit(PLAN, place)


def test_compatible_plans_go_where_they_say() -> None:
    ampere = msgspec.structs.replace(PLAN, hardware="AMPERE_PLUS")
    assert misfit(ampere, L4) == ""
    assert "for Ampere and later, but the server has 7.5" in misfit(ampere, T4)
    same = msgspec.structs.replace(PLAN, hardware="SAME_COMPUTE_CAPABILITY")
    assert misfit(same, A100_80) == ""
    assert "NVIDIA L4" in misfit(same, L4)
    versions = msgspec.structs.replace(PLAN, version_compatible=True)
    assert misfit(versions, Place(build="11.9.1.3")) == ""
    assert misfit(versions, Place(build="11.5")) == ""
    assert "for this and later versions of 11, but the server has 11.3.0.99" in misfit(
        versions, Place(build="11.3.0.99")
    )
    assert "but the server has 12.0.1.1" in misfit(versions, Place(build="12.0.1.1"))


def test_such_a_plan_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written: the repository stays as it was."""
    gpu = Gpu(name=L4.gpu, driver="580.95.05", compute_capability="8.9", memory_gib=24.0)
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(gpus=(gpu,)))
    manifest = types.SimpleNamespace(plan=PLAN, triton_backend="tensorrt", triton_release="26.09")
    bundle: Any = types.SimpleNamespace(name="net", manifest=manifest)
    serving = Serving(release=triton_releases.find("26.09"), backends=("tensorrt",))
    with pytest.raises(PublicationError, match=r"the plan doesn't run here: it was built on NVIDIA A100.*NVIDIA L4"):
        publish.publish([bundle], repository.at(str(tmp_path)), serving, Silent())
    assert not list(tmp_path.iterdir())
