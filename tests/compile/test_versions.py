"""Models saved by older and newer frameworks than the one installed answer as those did (the files and how they were
made are in files/versions)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from millwork import triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Source
from millwork.compile.frontends.read import read
from millwork.compile.runners.load import runner
from millwork.errors import ModelError
from millwork.passes import base, pass_table
from millwork.passes.program import Program, run, transform
from millwork.validators import oracle

FOLDER = Path(__file__).parent / "files" / "versions"
KEPT: dict[str, dict[str, Any]] = json.loads((FOLDER / "answers.json").read_text())
EXACT = 2e-6


def given(file: str) -> tuple[Any, ...]:
    rows = np.array(KEPT[file]["rows"], np.float32)
    categories = KEPT[file].get("categories")
    return (rows,) if categories is None else (rows, np.array(categories))


def wanted(file: str) -> Any:
    return np.array(KEPT[file]["answers"], np.float32)


def test_every_file_has_answers() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {*KEPT, "answers.json"}
    assert all((FOLDER / file).stat().st_size < 30_000 for file in KEPT)


@pytest.mark.parametrize("file", KEPT)
def test_the_interpreter_and_onnx_answer_as_that_version_did(file: str, tmp_path: Path) -> None:
    made = read(FOLDER / file, tmp_path)
    own = file.split("-")[1]
    assert made.signature.oracle.version == ("" if own == "1.0.6" else own)  # which its files don't say
    np.testing.assert_allclose(run(made.program, *given(file)), wanted(file), rtol=EXACT, atol=EXACT)

    lowered = base.run(pass_table.LOWERING, made.program).program
    for backend in ("onnx", "fil"):
        folder = tmp_path / backend
        folder.mkdir()
        source = Source(native="", signature=made.signature)
        built = backends.find(backend).build(lowered, source, folder, triton_releases.find("25.12"))
        assert isinstance(built, Artifact), built
        engine = runner(built.runner)(folder / built.model_file, built.parameters, 1)
        np.testing.assert_allclose(engine.predict(*given(file)), wanted(file), rtol=EXACT, atol=EXACT)


UNKNOWN = "the file doesn't say which version of CatBoost wrote it, so the installed version judges it"


@pytest.mark.parametrize("file", [file for file in KEPT if file.startswith("catboost")])
def test_a_catboost_file_that_doesnt_say_its_version_is_told(file: str, tmp_path: Path) -> None:
    signature = read(FOLDER / file, tmp_path).signature
    assert signature.notes == ((UNKNOWN,) if "1.0.6" in file else ())


def test_the_installed_catboost_judges_where_the_version_isnt_known(tmp_path: Path) -> None:
    model = catboost.CatBoost()  # read by this version and saved again: the file still says what it said
    model.load_model(str(FOLDER / "catboost-1.0.6-binary.json"), format="json")
    model.save_model(str(tmp_path / "model.cbm"))
    signature = read(tmp_path / "model.cbm", tmp_path).signature
    assert signature.notes == (UNKNOWN,)
    judge = oracle.interpreter(signature.oracle, pytest.fail)
    assert (judge.python, judge.version) == (sys.executable, catboost.__version__)


def test_quantiles_that_cross_are_sorted_from_3_4_on_and_not_before(tmp_path: Path) -> None:
    file = "xgboost-3.4.1-quantiles.json"
    document = json.loads((FOLDER / file).read_text())
    sorting = read(FOLDER / file, tmp_path).program
    margins = run(_plain(sorting), *given(file))
    assert (np.diff(margins, axis=1) < 0).any()
    np.testing.assert_allclose(transform("sort", margins), wanted(file), rtol=EXACT, atol=EXACT)

    document["version"] = [3, 3, 0]
    (tmp_path / "older.json").write_text(json.dumps(document))
    older = read(tmp_path / "older.json", tmp_path).program
    assert older.postprocess == "identity"
    np.testing.assert_array_equal(run(older, *given(file)), margins)


def _plain(program: Program) -> Program:
    from dataclasses import replace

    return replace(program, postprocess="identity")


@pytest.mark.parametrize("file", [file for file in KEPT if "dart" in file])
def test_the_weights_of_darts_trees_count(file: str, tmp_path: Path) -> None:
    """Wherever the version writes them: beside its gbtree, or (from 3.4 on) in it. Other weights, other answers."""
    document = json.loads((FOLDER / file).read_text())
    booster = document["learner"]["gradient_booster"]
    holder = booster if "weight_drop" in booster else (booster.get("gbtree") or booster)["model"]
    weights = holder["weight_drop"]
    assert set(weights) != {1}
    holder["weight_drop"] = [2 * weight for weight in weights]
    (tmp_path / "doubled.json").write_text(json.dumps(document))
    program, doubled = (read(path, tmp_path).program for path in (FOLDER / file, tmp_path / "doubled.json"))
    leaf = program.forest.is_leaf
    np.testing.assert_array_equal(doubled.forest.leaf_value[leaf], 2 * program.forest.leaf_value[leaf])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["gr\u00fcn", "blau", "rot"], "feature 0 has the category 'gr\u00fcn': XGBoost before 3.4 cuts names"),
        (["\u9752", "\u8d64", "\u767d"], "feature 0 has the category '\u9752': XGBoost before 3.4 cuts names"),
        (["a", "b", "c\u00e9"], "feature 0 has a category whose name isn't ASCII: XGBoost before 3.4 cuts names"),
    ],
)
def test_names_that_xgboost_before_3_4_has_cut_are_refused_for_that(
    names: list[str], said: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame({"colour": pd.Categorical([names[i % 3] for i in range(60)], categories=names)})
    model = xgb.XGBRegressor(n_estimators=1, enable_categorical=True).fit(frame, np.arange(60) % 3)
    model.save_model(tmp_path / "model.json")
    with pytest.raises(ModelError, match=re.escape(said)) as refused:
        read(tmp_path / "model.json", tmp_path)
    assert "Train again with XGBoost 3.4" in refused.value.hint


def test_names_that_arent_ascii_are_whole_in_files_from_3_4_on(tmp_path: Path) -> None:
    file = "xgboost-3.4.1-strings.json"
    words = read(FOLDER / file, tmp_path).signature.features.categories["colour"]
    assert words == ("red", "gr\u00fcn", "\u9752", "\u00e9t\u00e9")
    document = json.loads((FOLDER / file).read_text())  # a model of before that 3.4 has saved again
    entries = document["learner"]["gradient_booster"]["model"]["cats"]["enc"]
    entries[1]["offsets"][1:3] = [5, 6]
    (tmp_path / "again.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match="feature 1 has a category whose name ends within a letter"):
        read(tmp_path / "again.json", tmp_path)
