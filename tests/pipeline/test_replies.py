"""What a process that has read a model answers is looked at before it decides what is read, copied or installed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from models.forests import source_of

from millwork.compile.backends.base import Artifact
from millwork.compile.compile_steps import Loaded
from millwork.compile.runners import load as runners
from millwork.compile.runners.runner_rows import FRAMEWORKS, RUNNERS
from millwork.errors import ModelError
from millwork.pipeline import stages
from millwork.triton import install

SIGNATURE = source_of().signature
BUILT = Artifact(
    backend="onnx",
    precision="fp32",
    model_file="model.onnx",
    runner="onnx_runner",
    triton_backend="onnxruntime",
    parameters={},
    requirements=("onnxruntime",),
)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "3.0/../../../evil-1.0.tar.gz"},
        {"version": "3 @ file:///evil"},
        {"framework": "evil"},
    ],
)
def test_a_reader_that_answers_nonsense_is_refused(change: dict[str, str]) -> None:
    def loaded(**oracle: str) -> Loaded:
        own = msgspec.structs.replace(SIGNATURE.oracle, **oracle)
        return Loaded(signature=msgspec.structs.replace(SIGNATURE, oracle=own), trees=1, nodes=1, depth=1)

    stages.require_known_framework(loaded())
    stages.require_known_framework(loaded(version="2.13.0+cpu"))
    stages.require_known_framework(loaded(version=""))
    with pytest.raises(ModelError, match="no framework of ours"):
        stages.require_known_framework(loaded(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"requirements": ("evil",)},
        {"requirements": ("./evil-1.0.tar.gz",)},
        {"requirements": ("xgboost==3/..",)},
        {"requirements": ("--index-url=x",)},
        {"runner": "../../x"},
        {"runner": "evil"},
        {"runner": "a.b-c"},
        {"runner": "their.module"},
        {"runner": "native_runner"},
        {"triton_backend": "dali"},
        {"triton_backend": "fil"},
    ],
)
def test_a_builder_that_answers_nonsense_is_refused(change: dict[str, object]) -> None:
    assert not stages.strange(BUILT)
    assert not stages.strange(msgspec.structs.replace(BUILT, triton_backend="python"))
    assert re.match("it is to be (run|served) by", stages.strange(msgspec.structs.replace(BUILT, **change)))


def test_a_manifest_installs_nothing_of_its_own_choice() -> None:
    ours: Any = SimpleNamespace(environment="ours")
    for requirement in ("evil", "xgboost @ file:///evil", "../evil.tar.gz", "-r evil.txt"):
        with pytest.raises(ModelError, match="which no artifact of millwork needs"):
            install.provide(ours, ["onnxruntime", requirement])
        install.provide(SimpleNamespace(environment=None), [requirement])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requirement", "may"),
    [
        ("onnxruntime>=1.20,<2", True),
        ("ONNXRuntime_GPU", True),
        ("their-engine[fast]>=1.2", True),
        ("their_engine", True),
        ("what-it-needs~=1.0", True),
        ("numpy ; os_name", False),
        ("numpy@https://x", False),
        ("numpy>=1 @ file:///x", False),
        ("something-else", False),
        ("numpy/../x", False),
        ("numpy==1/../x", False),
    ],
)
def test_a_third_partys_backend_may_need_what_its_package_requires(
    requirement: str, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = SimpleNamespace(name="Their_Engine", requires=["What.It.Needs>=1; extra == 'server'", "numpy"])
    monkeypatch.setattr(runners, "entry_points", lambda **_: [SimpleNamespace(dist=theirs)])
    assert runners.may_be_installed(requirement) is may


def test_every_runner_and_framework_of_ours_may_be_asked_for() -> None:
    assert all(map(runners.is_runner, RUNNERS))
    assert {path.stem for path in Path(runners.__file__).parent.glob("*_runner.py")} == set(RUNNERS)
    for framework, row in FRAMEWORKS.items():
        assert runners.may_be_installed(runners.requirement(framework, "2.5.0"))
        assert all(map(runners.may_be_installed, row.distributions))
