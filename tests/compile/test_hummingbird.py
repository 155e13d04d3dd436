"""``hummingbird``: made in its own environment of our forest, judged leaf by leaf; what it can't have is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from models.forests import program_of, random_forest
from models.gate import gate
from models.jobs import millwork
from models.xgboost_models import model, save
from onnx import numpy_helper

from millwork.compile.backends.hummingbird.backend import LEAF_TABLE
from millwork.compile.backends.hummingbird.feed import feed
from millwork.environments import Environment


@pytest.mark.parametrize("name", ["multiclass", "missing--999"])
def test_it_is_right_leaf_by_leaf_and_a_changed_leaf_is_seen(
    name: str, hummingbird: Environment, tmp_path: Path
) -> None:
    found = gate(save(model(name), tmp_path / "model.json"), tmp_path / "gate")
    converted = found.converted(tmp_path / "converted", hummingbird)
    assert isinstance(converted, Path), converted
    folder = tmp_path / "built"
    built = found.build("hummingbird", folder, converted=str(converted)).artifact
    assert built is not None
    verdict = found.check(built, folder)
    assert verdict.passed, verdict.reason
    assert (verdict.parity.leaf_mismatches, verdict.parity.wrong_values) == (0, 0)
    assert not built.foreign, "plain operators"
    graph = onnx.load_model(str(folder / built.model_file))
    (table,) = [one for one in graph.graph.initializer if one.name == LEAF_TABLE]
    off = numpy_helper.to_array(table).copy()
    off[-1] = np.nextafter(off[-1], np.float32(np.inf))
    table.CopyFrom(numpy_helper.from_array(off, LEAF_TABLE))
    onnx.save_model(graph, folder / built.model_file)
    damaged = found.check(built, folder)
    assert not damaged.passed
    assert damaged.parity.wrong_values


def test_what_an_infinity_would_hide_is_refused() -> None:
    program = program_of(random_forest(3, trees=4))
    test = ~(program.forest.is_leaf | program.forest.is_categorical)
    infinite = np.float32(np.inf if program.forest.comparison == "<=" else -np.inf)
    threshold = np.where(test, infinite, program.forest.threshold).astype(np.float32)
    assert not isinstance(feed(program), str)
    assert "a threshold is infinite" in feed(replace(program, forest=replace(program.forest, threshold=threshold)))


def test_without_its_environment_it_says_how_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWORK_CACHE", str(tmp_path / "cache"))
    save(model("binary"), tmp_path / "model.json")
    said = millwork(
        "optimize",
        tmp_path / "model.json",
        "--backends",
        "onnx,hummingbird",
        "--triton",
        "none",
        "--dry-run",
        "--traffic",
        "batch=1",
        "--run-dir",
        tmp_path / "run",
        "--json",
    )
    assert said.code == 0, said.err
    line = said.document()["candidates"][1]
    assert (line["id"], line["status"]) == ("hummingbird-fp32", "unsupported")
    assert "millwork toolchain install hummingbird" in line["reason"]
