"""A CatBoost model holds hashes of its categories: where their texts come from, and what is said where they don't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pytest
from models.catboost_cases import CASES, frame, frame_label
from models.catboost_models import QUIET

from millwork.compile.frontends.catboost_vocabulary import unmix
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.passes.categories import mix
from millwork.passes.program import run

PLACES = {"Oslo", "Bergen", "Troms\u00f8", "a b", "7"}
Edit = Callable[[dict[str, Any]], object]


def trained(given: Any, **settings: Any) -> tuple[cb.CatBoost, cb.Pool]:
    pool = cb.Pool(given, frame_label(given), cat_features=["place", "who", "kind"])
    return cb.CatBoost({**QUIET, "loss_function": "Logloss", "one_hot_max_size": 2, **settings}).fit(pool), pool


@pytest.fixture(scope="module")
def ctrs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A JSON export without its pool, and the rows of its training."""
    case = CASES["CTRs, json"](tmp_path_factory.mktemp("ctrs"))
    return case.model, case.data


def test_texts_come_from_the_users_rows(ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    features = read(ctrs[0], tmp_path, data=ctrs[1]).signature.features
    assert features.category_names == ("place", "who", "kind")
    assert set(features.categories["place"]) == PLACES
    assert len(features.categories["who"]) == 60
    assert features.category_dtype == "string"


def test_texts_come_from_an_export_with_its_pool(tmp_path: Path) -> None:
    given = frame()
    model, pool = trained(given)
    model.save_model(str(tmp_path / "model.json"), format="json", pool=pool)
    made = read(tmp_path / "model.json", tmp_path)
    numbers = given[["height", "width"]].to_numpy(np.float32)
    words = given[["place", "who", "kind"]].to_numpy(str)
    wanted = model.predict(pool, prediction_type="Probability")
    np.testing.assert_allclose(run(made.program, numbers, words), wanted, rtol=1e-5, atol=1e-6)


def test_small_integers_are_tried(tmp_path: Path) -> None:
    given = frame(integers=True)
    model, pool = trained(given)
    model.save_model(str(tmp_path / "model.json"), format="json")
    made = read(tmp_path / "model.json", tmp_path)
    assert made.signature.features.category_dtype == "int64"
    assert made.program.categories is not None
    assert made.program.categories.integer
    codes = given[["place", "who", "kind"]].to_numpy(np.int64)
    numbers = given[["height", "width"]].to_numpy(np.float32)
    wanted = model.predict(pool, prediction_type="Probability")
    np.testing.assert_allclose(run(made.program, numbers, codes), wanted, rtol=1e-5, atol=1e-6)


def test_what_stays_unknown_is_told_feature_by_feature(ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"behind them are not known: place \(4 of 5\), kind") as refused:
        read(ctrs[0], tmp_path)
    assert "--data FILE" in refused.value.hint
    few = frame().assign(place="Oslo")
    few.to_parquet(tmp_path / "few.parquet")
    with pytest.raises(ModelError, match=r"not known: place \(3 of 5\)\n") as refused:
        read(ctrs[0], tmp_path, data=tmp_path / "few.parquet")
    assert "--data FILE" in refused.value.hint


def test_a_key_of_one_feature_gives_its_hash_back() -> None:
    hashes = np.array([0, 1, -1, 2**31 - 1, -(2**31), 123456789], np.int64)
    assert unmix(mix(np.zeros(len(hashes), np.uint64), hashes)).tolist() == hashes.tolist()


# ── tables that no CatBoost wrote ─────────────────────────────────────────────────────────────────────────


def table(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["ctr_data"][document["features_info"]["ctrs"][0]["identifier"]]
    return found


def ctr(**fields: object) -> Edit:
    return lambda document: document["features_info"]["ctrs"][0].update(fields)


EDITS: dict[str, tuple[Edit, str]] = {
    "a kind from the future": (ctr(ctr_type="FloatTargetMeanValue"), "CTRs of type FloatTargetMeanValue are not"),
    "a table cut short": (lambda d: table(d)["hash_map"].pop(), "a CTR's table of"),
    "rows of one number": (lambda d: table(d).update(hash_stride=1), "a CTR's table of|not known: place"),
    "no table": (lambda d: d.update(ctr_data={}), "not a complete CatBoost model"),
    "a key that is a word": (lambda d: table(d)["hash_map"].__setitem__(0, "key"), "not a complete CatBoost model"),
    "a category that isn't there": (
        lambda d: [c["elements"][0].update(cat_feature_index=9) for c in d["features_info"]["ctrs"]],
        "a CTR combines a feature outside the model"),
    "an element from the future": (
        lambda d: d["features_info"]["ctrs"][0]["elements"].__setitem__(0, {"combination_element": "text"}),
        "elements of a kind that is not supported|not a complete CatBoost model"),
    "a CTR without borders": (lambda d: [c.pop("borders") for c in d["features_info"]["ctrs"]],
                              "not a complete CatBoost model"),
    "other borders than the splits'": (
        lambda d: [c.update(borders=[b + 1 for b in c["borders"]]) for c in d["features_info"]["ctrs"]],
        "a split's border isn't its CTR's"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_table_that_no_catboost_wrote(edit: str, ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    change, said = EDITS[edit]
    document = json.loads(ctrs[0].read_text())
    change(document)
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=said):
        read(tmp_path / "model.json", tmp_path, data=ctrs[1])
