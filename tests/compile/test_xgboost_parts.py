"""Boosters and categories of XGBoost in documents that it didn't write: a ModelError each, that says what is wrong."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xgboost as xgb
from models.xgboost_cases import CASES

from millwork.compile.frontends.read import read
from millwork.errors import ModelError

Edit = Callable[[dict[str, Any]], object]


@functools.cache
def document(name: str, folder: Path) -> str:
    """What XGBoost itself writes for one of the cases, as JSON."""
    (folder / name).mkdir()
    path = CASES[name](folder / name).model
    if path.suffix == ".pkl":
        return bytes(pickle.loads(path.read_bytes()).get_booster().save_raw("json")).decode()
    return bytes(xgb.Booster(model_file=path).save_raw("json")).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


def booster(found: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = found["learner"]["gradient_booster"]
    return part


def trees(found: dict[str, Any]) -> list[dict[str, Any]]:
    own = booster(found)
    listed: list[dict[str, Any]] = (own.get("gbtree") or own)["model"]["trees"]
    return listed


def categorical(found: dict[str, Any]) -> dict[str, Any]:
    """The first tree with a set of categories."""
    return next(tree for tree in trees(found) if tree["categories_nodes"])


def words(found: dict[str, Any]) -> dict[str, Any]:
    entries = booster(found)["model"]["cats"]["enc"]
    entry: dict[str, Any] = next(entry for entry in entries if entry.get("offsets"))
    return entry


def set_in(column: str, value: object) -> Edit:
    return lambda found: categorical(found)[column].__setitem__(0, value)


STRINGS, CODES = "categories, strings", "category codes, sets"
EDITS: dict[str, tuple[str, Edit, str]] = {
    "dart: a weight too few": ("dart", lambda d: booster(d)["weight_drop"].pop(),
                                "each of the 12 trees must have a finite weight; the model has 11 weights"),
    "dart: a weight that is NaN": ("dart", lambda d: booster(d)["weight_drop"].__setitem__(0, float("nan")),
                                   "each of the 12 trees must have a finite weight; the model has 12 weights"),
    "dart: no weights": ("dart", lambda d: booster(d)["weight_drop"].clear(), "must have the weights of its trees"),
    "gblinear: a weight too few": ("gblinear", lambda d: booster(d)["model"]["weights"].pop(),
                                   r"6 weights; expected 7 \(one for each feature, and the bias\) for each of 1"),
    "gblinear: a weight that is NaN": (
        "gblinear", lambda d: booster(d)["model"]["weights"].__setitem__(0, float("nan")),
        "weight of the linear model isn't finite"),
    "gblinear: no weights": ("gblinear", lambda d: booster(d)["model"].pop("weights"), "not a complete XGBoost model"),
    "targets: fewer than none": (
        "dart", lambda d: d["learner"]["learner_model_param"].update(num_target="-1"), "has -1 outputs, expected 1 to"),
    "a booster from the future": ("dart", lambda d: booster(d).update(name="gbforest"),
                                  "XGBoost's booster 'gbforest' is not supported"),
    "vector leaves: a value too few": ("vector leaves", lambda d: trees(d)[0]["leaf_weights"].pop(),
                                       "'leaf_weights'|not a complete XGBoost model|leaf"),
    "vector leaves: another width": (
        "vector leaves", lambda d: [t["tree_param"].update(size_leaf_vector="3") for t in trees(d)],
        "leaves hold 3 values, but the model has 2 outputs|leaf"),
    "sets: a node that isn't there": (CODES, set_in("categories_nodes", 10_000), "belongs to no node"),
    "sets: a size too large": (CODES, set_in("categories_sizes", 10_000), "outside the tree's categories"),
    "sets: a negative size": (CODES, set_in("categories_sizes", -1), "belongs to no node"),
    "sets: a negative category": (CODES, set_in("categories", -1), "outside 0 to 16,777,215"),
    "sets: a category too large": (CODES, set_in("categories", 1 << 25), "outside 0 to 16,777,215"),
    "sets: a size too few": (CODES, lambda d: categorical(d)["categories_sizes"].pop(), "'categories_sizes' should be"),
    "sets: a node without one": (
        CODES, lambda d: [categorical(d)[c].pop() for c in ("categories_nodes", "categories_sizes",
                                                            "categories_segments")],
        "aren't the same as those that have sets of categories|but has no set of them"),
    "names: too few features": (STRINGS, lambda d: booster(d)["model"]["cats"]["enc"].pop(),
                                "has 4 features, but categories for 3"),
    "names: offsets that don't add up": (STRINGS, lambda d: words(d)["offsets"].__setitem__(-1, 9), "don't add up"),
    "names: offsets that go back": (STRINGS, lambda d: words(d)["offsets"].__setitem__(1, -1), "don't add up"),
    "names: numbers that aren't whole": (
        STRINGS, lambda d: (words(d).update(type=1, values=[0.5, 1.5]), words(d).pop("offsets")),
        "feature 1 has categories that are float64, which is not supported"),
    "names: twice the same": (STRINGS, lambda d: words(d).update(offsets=[0, 1, 2], values=[97, 97]),
                              "aren't distinct"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_part_that_no_xgboost_wrote(edit: str, folder: Path, tmp_path: Path) -> None:
    name, change, said = EDITS[edit]
    found = json.loads(document(name, folder))
    change(found)
    (tmp_path / "model.json").write_text(json.dumps(found))
    with pytest.raises(ModelError, match=said):
        read(tmp_path / "model.json", tmp_path)
