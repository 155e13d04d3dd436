"""The gate finds what is wrong with a linear model's artifact: what it makes of a missing value, of a large one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import xgboost as xgb
from models import xgboost_models
from models.gate import Gate, gate
from models.xgboost_models import rows, target
from onnx import helper, numpy_helper

from millwork.compile.backends.base import Artifact

Plant = Callable[[onnx.ModelProto], None]


def made(name: str) -> xgb.XGBModel:
    given = rows(missing=-999.0 if "missing" in name else None)
    number = target(given)
    settings = {"booster": "gblinear", "n_estimators": 8, "n_jobs": 1}
    if name == "several classes":
        return xgb.XGBClassifier(**settings).fit(given, np.digitize(number, [-0.5, 0.5]))
    if name == "two classes, missing=-999":
        return xgb.XGBClassifier(missing=-999.0, **settings).fit(given, number > 0)
    if name == "counts":
        return xgb.XGBRegressor(objective="count:poisson", **settings).fit(given, np.round(np.exp(number / 2)))
    return xgb.XGBRegressor(**settings).fit(given, number)


MODELS = ("a number", "counts", "two classes, missing=-999", "several classes")


@functools.cache
def judge(name: str, scratch: Path) -> tuple[Gate, Artifact]:
    """Without rows of the user's."""
    folder = scratch / name
    folder.mkdir()
    found = gate(xgboost_models.save(made(name), folder / "model.pkl"), folder / "gate", limit=3000)
    built = found.build("onnx", folder / "onnx").artifact
    assert built is not None
    return found, built


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("linear")


def a_number_for_what_is_missing(value: float) -> Plant:
    def plant(model: onnx.ModelProto) -> None:
        (zero,) = [tensor for tensor in model.graph.initializer if tensor.name == "zero"]
        zero.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(zero), value), zero.name))

    return plant


def nothing_is_missing(model: onnx.ModelProto) -> None:
    (node,) = [node for node in model.graph.node if node.op_type == "Where" and "present" in node.output]
    node.input[1] = node.input[2]


def large_numbers_are_cut(model: onnx.ModelProto) -> None:
    """At what float16 holds."""
    (node,) = [node for node in model.graph.node if node.op_type == "MatMul"]
    for name, value in (("low", -65504), ("high", 65504)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    clip = helper.make_node("Clip", [node.input[0], "low", "high"], ["cut"])
    node.input[0] = "cut"
    model.graph.node.insert([*model.graph.node].index(node), clip)


FAULTS: dict[str, Plant] = {
    "a missing value is 1": a_number_for_what_is_missing(1.0),
    "a missing value is small": a_number_for_what_is_missing(0.02),
    "a missing value stays NaN": nothing_is_missing,
    "large numbers are cut": large_numbers_are_cut,
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_of_it_passes(name: str, scratch: Path) -> None:
    found, built = judge(name, scratch)
    verdict = found.check(built, scratch / name / "onnx")
    assert verdict.passed, verdict.reason
    assert "no trees" in verdict.parity.coverage


SEEN = [(name, fault) for name in MODELS for fault in FAULTS if name == MODELS[0] or "large" not in fault]
"""An exponential of what float16 holds is as infinite, and a class as certain, as of more."""


@pytest.mark.parametrize(("name", "fault"), SEEN)
def test_a_planted_fault_fails_the_gate(name: str, fault: str, scratch: Path, tmp_path: Path) -> None:
    found, built = judge(name, scratch)
    model = onnx.load_model(str(scratch / name / "onnx" / built.model_file))
    FAULTS[fault](model)
    (tmp_path / "own").mkdir()
    onnx.save_model(model, str(tmp_path / "own" / built.model_file))
    verdict = found.check(built, tmp_path / "own")
    assert not verdict.passed
    assert verdict.reason
