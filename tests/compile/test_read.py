"""A file that is damaged, cut short or made up: a ModelError that names it, and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import catboost_models, xgboost_models

from millwork import worker
from millwork.compile.compile_steps import Loaded, LoadRequest
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.worker import Failure, Limits

PLACES = 20
Edit = Callable[[dict[str, Any]], object]


def cuts(length: int) -> list[int]:
    """Where to cut a file: near its ends and all over."""
    return sorted({1, 4, 16, length - 16, length - 2, length - 1, *np.linspace(40, length - 40, PLACES - 6, dtype=int)})


@pytest.mark.parametrize("file", ["model.json", "model.ubj", "model.pkl", "model.joblib"])
@pytest.mark.parametrize("name", ["multiclass", "early-stopping"])
def test_an_xgboost_file_cut_short(name: str, file: str, tmp_path: Path) -> None:
    whole = xgboost_models.save(xgboost_models.model(name), tmp_path / file).read_bytes()
    for at in cuts(len(whole)):
        (tmp_path / file).write_bytes(whole[:at])
        with pytest.raises(ModelError, match=file):
            read(tmp_path / file, tmp_path)


@pytest.mark.parametrize("file", ["model.json", "model.pkl"])
def test_a_catboost_file_cut_short(file: str, tmp_path: Path) -> None:
    whole = catboost_models.save(catboost_models.model("logloss"), tmp_path / file).read_bytes()
    for at in cuts(len(whole)):
        (tmp_path / file).write_bytes(whole[:at])
        with pytest.raises(ModelError, match=file):
            read(tmp_path / file, tmp_path)


def load_in_a_worker(content: bytes, folder: Path) -> object:
    folder.mkdir()
    (folder / "model.cbm").write_bytes(content)
    request = LoadRequest(path=str(folder / "model.cbm"))
    step = "millwork.compile.compile_steps:load"
    return worker.run(step, request, Loaded, folder=folder, limits=Limits(seconds=60, memory_bytes=4 << 30))


def test_a_cbm_cut_short_or_damaged(tmp_path: Path) -> None:
    """CatBoost's own parser reads it, and may crash: that is one failed step."""
    whole = catboost_models.save(catboost_models.model("logloss"), tmp_path / "whole.cbm").read_bytes()
    damaged = [whole[:at] for at in cuts(len(whole))]
    for seed in range(2):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        for at in rng.integers(8, len(whole), 20):
            content[at] ^= 1 << int(rng.integers(8))
        damaged.append(bytes(content))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(load_in_a_worker, damaged, [tmp_path / str(i) for i in range(len(damaged))]))
    for content, result in zip(damaged, done, strict=True):
        if len(content) == len(whole) and not isinstance(result, Failure):
            continue  # the damage may lie where nothing is read
        assert isinstance(result, Failure), len(content)
        assert result.error_type == "ModelError" or result.kind in ("segfault", "abort", "out-of-memory", "hang"), (
            result
        )


@pytest.mark.parametrize("file", ["model.json", "model.ubj"])
def test_bytes_flipped_anywhere_are_an_error_or_still_a_model(file: str, tmp_path: Path) -> None:
    whole = xgboost_models.save(xgboost_models.model("multiclass"), tmp_path / file).read_bytes()
    refused = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        content[int(rng.integers(1, len(whole)))] ^= 1 << int(rng.integers(8))
        (tmp_path / file).write_bytes(content)
        try:
            read(tmp_path / file, tmp_path)
        except ModelError:
            refused += 1
    assert refused > 10


# ── XGBoost documents that no XGBoost wrote ───────────────────────────────────────────────────────────────


def tree(document: dict[str, Any], at: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = document["learner"]["gradient_booster"]["model"]["trees"][at]
    return found


def put(column: str, at: int, value: object) -> Edit:
    """One entry of the first tree's ``column``."""
    return lambda document: tree(document)[column].__setitem__(at, value)


def cycle(document: dict[str, Any]) -> None:
    """Node 1's left child is the root."""
    tree(document)["left_children"][1] = 0


def loop_beside_the_root(document: dict[str, Any]) -> None:
    """Two nodes that are each other's child: no root leads there, so it is no danger, but it isn't a tree."""
    tree(document)["left_children"][1] = 2
    tree(document)["left_children"][2] = 1


def shifted_columns(document: dict[str, Any]) -> None:
    """One number moves from a tree to the next: the totals still agree."""
    tree(document, 1)["split_conditions"].insert(0, tree(document)["split_conditions"].pop())


def model_param(name: str, value: object) -> Edit:
    return lambda document: document["learner"]["learner_model_param"].__setitem__(name, value)


def without(*path: str) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return edit


def attribute(name: str, value: str) -> Edit:
    return lambda document: document["learner"]["attributes"].update({name: value, "scikit_learn": "{}"})


XGBOOST_EDITS: dict[str, tuple[Edit, str]] = {
    "a cycle": (cycle, "child of two nodes"),
    "a loop beside the root": (loop_beside_the_root, "child of two nodes"),
    "a node that is its own child": (put("right_children", 0, 0), "child of two nodes"),
    "a child out of range": (put("left_children", 0, 10_000), "child outside its tree"),
    "a child that isn't whole": (put("left_children", 0, 1.5), "'left_children' should be"),
    "one child": (put("right_children", 0, -1), "one child only"),
    "a NaN threshold": (put("split_conditions", 0, float("nan")), "threshold is NaN"),
    "an infinite leaf": (put("split_conditions", -1, 1e39), "leaf value isn't finite"),
    "feature 2^31": (put("split_indices", 0, 2**31), "a feature outside the model's 6"),
    "feature 2^32": (put("split_indices", 0, 2**32), "a feature outside the model's 6"),
    "feature 2^64": (put("split_indices", 0, 2**64), "'split_indices' should be"),
    "a negative feature": (put("split_indices", 0, -1), "a feature outside the model's 6"),
    "one feature too far": (put("split_indices", 0, 6), "a feature outside the model's 6"),
    "a word for a number": (put("split_conditions", 0, "0.5"), "'split_conditions' should be"),
    "null for a number": (put("split_conditions", 0, None), "'split_conditions' should be"),
    "a list for a number": (put("split_indices", 0, [1]), "not a complete XGBoost model|'split_indices' should be"),
    "a column cut short": (lambda d: tree(d)["split_conditions"].pop(), "'split_conditions' should be"),
    "shifted columns": (shifted_columns, "'split_conditions' should be"),
    "an empty tree": (lambda d: [tree(d)[key].clear() for key in
                                 ("left_children", "right_children", "split_conditions", "split_indices",
                                  "default_left")], "a tree has no nodes"),
    "no trees": (lambda d: d["learner"]["gradient_booster"]["model"].update(trees=[]),
                 r"the file says that it has \d+ trees, but it has 0"),
    "trees that are a word": (lambda d: d["learner"]["gradient_booster"]["model"].update(trees="many"),
                              r"the file says that it has \d+ trees, but it has 4"),
    "a tree's class out of range": (lambda d: d["learner"]["gradient_booster"]["model"]["tree_info"].__setitem__(0, 4),
                                    "an output outside the model's 4"),
    "classes cut short": (lambda d: d["learner"]["gradient_booster"]["model"]["tree_info"].pop(),
                          "'tree_info' should be 60 numbers"),
    "rounds that don't add up": (
        lambda d: d["learner"]["gradient_booster"]["model"]["iteration_indptr"].__setitem__(-1, 61),
        "different numbers of trees"),
    "no learner": (without("learner"), "no 'learner' field|not a model of XGBoost's"),
    "no objective": (without("learner", "objective"), "not a complete XGBoost model"),
    "no parameters": (without("learner", "learner_model_param"), "not a complete XGBoost model"),
    "no version": (without("version"), "no 'version' field"),
    "a version that pip would be asked for": (lambda d: d.update(version=["1.0; x", 1, 1]), "three numbers"),
    "no default directions": (lambda d: tree(d).pop("default_left"), "not a complete XGBoost model"),
    "an absurd number of features": (model_param("num_feature", "2147483648"), "expected 1 to"),
    "an absurd number of classes": (model_param("num_class", "2000000000"), "2000000000 outputs"),
    "no features": (model_param("num_feature", "0"), "expected 1 to"),
    "a base score that is a word": (model_param("base_score", "half"), "not a complete XGBoost model"),
    "too many base scores": (model_param("base_score", "[0.5,0.5]"), "base_score has 2 entries"),
    "a base score too large": (model_param("base_score", "1e39"), "not a finite float32"),
    "an objective from the future": (lambda d: d["learner"]["objective"].update(name="multi:future"),
                                     "objective 'multi:future' is not supported"),
    "a best round before the first": (attribute("best_iteration", "-1"), "best_iteration is -1"),
    "a best round that is a word": (attribute("best_iteration", "last"), "not a complete XGBoost model"),
    "two features of one name": (lambda d: d["learner"].update(feature_names=["a"] * 6), "same name"),
    "too few names": (lambda d: d["learner"].update(feature_names=["a"]), "has 6 features, but names 1"),
}  # fmt: skip


@pytest.mark.parametrize("edit", XGBOOST_EDITS)
def test_a_document_that_no_xgboost_wrote(edit: str, tmp_path: Path) -> None:
    change, said = XGBOOST_EDITS[edit]
    path = xgboost_models.edited(xgboost_models.model("multiclass"), tmp_path / "model.json", change)
    with pytest.raises(ModelError, match=said) as refused:
        read(path, tmp_path)
    assert refused.value.message.startswith(f"{path}: ")


def test_infinite_thresholds_are_read(tmp_path: Path) -> None:
    path = xgboost_models.edited(
        xgboost_models.model("multiclass"), tmp_path / "model.json", put("split_conditions", 0, float("inf"))
    )
    assert np.isposinf(read(path, tmp_path).program.forest.threshold[0])


# ── CatBoost documents that no CatBoost wrote ─────────────────────────────────────────────────────────────


def first_split(**fields: object) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        trees = document.get("oblivious_trees")
        (trees[0]["splits"][0] if trees else document["trees"][0]["split"]).update(fields)

    return edit


def float_feature(**fields: object) -> Edit:
    return lambda document: document["features_info"]["float_features"][0].update(fields)


SYMMETRIC_EDITS: dict[str, tuple[Edit, str]] = {
    "too few leaves": (lambda d: d["oblivious_trees"][0]["leaf_values"].pop(), "a tree of depth 4 has 15 leaf values"),
    "a tree too deep": (lambda d: d["oblivious_trees"][0].update(splits=d["oblivious_trees"][0]["splits"] * 10),
                        "a tree of depth 40"),
    "a NaN leaf": (lambda d: d["oblivious_trees"][0]["leaf_values"].__setitem__(0, float("nan")), "isn't finite"),
    "no trees": (lambda d: d.update(oblivious_trees=[]), "no trees"),
    "no bias": (lambda d: d.update(scale_and_bias=[1, []]), "base scores"),
    "a NaN bias": (lambda d: d.update(scale_and_bias=[1, [float("nan")]]), "base scores"),
    "no scale": (lambda d: d.pop("scale_and_bias"), "not a complete CatBoost model"),
    "no loss": (lambda d: d["model_info"]["params"].pop("loss_function"), "not a complete CatBoost model"),
    "no features": (lambda d: d["features_info"].update(float_features=[]), "no features"),
    "two features of one number": (float_feature(flat_feature_index=3), "features have the same number"),
    "a way with NaN from the future": (float_feature(nan_value_treatment="AsMedian"), "nan_value_treatment 'AsMedian'"),
}  # fmt: skip
EDITS: dict[str, tuple[Edit, str]] = {
    "a border that no float32 is": (first_split(border=0.1), "a border isn't a float32 number"),
    "a NaN border": (first_split(border=float("nan")), "a border isn't a float32 number"),
    "a border that is a word": (first_split(border="low"), "not a complete CatBoost model"),
    "feature 2^31": (first_split(float_feature_index=2**31), "a feature outside the model's 6"),
    "feature 2^32": (first_split(float_feature_index=2**32), "a feature outside the model's 6"),
    "feature 2^70": (first_split(float_feature_index=2**70), "not a complete CatBoost model|outside the model's 6"),
    "a negative feature": (first_split(float_feature_index=-1), "a feature outside the model's 6"),
    "a one-hot split": (first_split(split_type="OneHotFeature"), "not a complete CatBoost model"),
    "a one-hot split of a feature that has no values": (
        first_split(split_type="OneHotFeature", cat_feature_index=0, value=3),
        "not a complete CatBoost model",
    ),
    "a CTR's split in a model without any": (first_split(split_type="OnlineCtr"), "not a complete CatBoost model"),
    "a split of a kind from the future": (first_split(split_type="Future"), "a split of type 'Future'"),
}


@pytest.mark.parametrize("name", ["logloss", "lossguide"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_document_that_no_catboost_wrote(edit: str, name: str, tmp_path: Path) -> None:
    change, said = EDITS[edit]
    path = catboost_models.edited(catboost_models.model(name), tmp_path / "model.json", change)
    with pytest.raises(ModelError, match=said) as refused:
        read(path, tmp_path)
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("edit", SYMMETRIC_EDITS)
def test_a_symmetric_document_that_no_catboost_wrote(edit: str, tmp_path: Path) -> None:
    change, said = SYMMETRIC_EDITS[edit]
    path = catboost_models.edited(catboost_models.model("logloss"), tmp_path / "model.json", change)
    with pytest.raises(ModelError, match=said) as refused:
        read(path, tmp_path)
    assert refused.value.message.startswith(f"{path}: ")


@pytest.mark.parametrize("missing_child", ["left", "right", "value"])
def test_a_nested_tree_that_lacks_a_part(missing_child: str, tmp_path: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        node = document["trees"][0]
        while missing_child == "value" and "split" in node:
            node = node["left"]
        del node[missing_child]

    path = catboost_models.edited(catboost_models.model("lossguide"), tmp_path / "model.json", edit)
    with pytest.raises(ModelError, match="not a complete CatBoost model"):
        read(path, tmp_path)


# ── JSON of any kind ──────────────────────────────────────────────────────────────────────────────────────


def test_json_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text('{"learner":' * 200_000)
    with pytest.raises(ModelError, match=r"model\.json"):
        read(path, tmp_path)


def test_a_nested_tree_of_great_depth_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """In a thread with a stack of its own, as a worker's main thread has."""
    catboost_models.model("lossguide").save_model(str(tmp_path / "model.json"), format="json")
    document = json.loads((tmp_path / "model.json").read_text())
    document["trees"] = ["HERE"]
    text = json.dumps(document)
    split = '"split":{"border":0.5,"float_feature_index":0,"split_index":0,"split_type":"FloatFeature"}'
    deep = f'{{{split},"right":{{"value":0}},"left":' * 5_000 + '{"value":1}' + "}" * 5_000
    path = tmp_path / "model.json"
    path.write_text(text.replace('"HERE"', deep))
    errors: list[BaseException] = []

    def target() -> None:
        try:
            read(path, tmp_path)
        except ModelError as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "nested too deeply" in str(errors[0]) or "maximum recursion" in str(errors[0])


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "null",
        "3",
        '"text"',
        '{"learner": 3}',
        '{"learner": {}}',
        '{"features_info": {}, "model_info": {}}',
        '{"oblivious_trees": []}',
    ],
)
def test_json_of_something_else(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(ModelError):
        read(tmp_path / "model.json", tmp_path)


def test_a_boosters_pickled_state_is_not_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({"Config": {}, "Model": {}}))
    with pytest.raises(ModelError, match=r"Booster's pickled state.*\n.*save_model"):
        read(tmp_path / "model.json", tmp_path)
