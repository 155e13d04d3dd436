"""CatBoost models from which features were dropped: the same answers by name, with or without the dropped columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest

from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.loaded_model import LoadedModel
from millwork.compile.frontends.read import read
from millwork.compile.runners.load import runner
from millwork.errors import ModelError
from millwork.passes.program import run
from millwork.storage import tables

N = 300
SYMMETRIC: dict[str, Any] = {"iterations": 6, "depth": 3, "verbose": 0, "allow_writing_files": False, "random_seed": 1}
FORMATS = ["model.cbm", "model.json"]


def numbers() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32), columns=list("abcde"))


def with_words() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    frame = numbers().assign(z=rng.choice(["p", "q"], N), k=rng.choice(["u", "v", "w"], N), w=rng.choice(["1", "2"], N))
    return frame[["z", "a", "k", "b", "c", "w", "d", "e"]]


def trained(given: Any, dropped: list[Any], file: Path, **settings: Any) -> Any:
    """The model after its unused features were dropped, saved; and what it answers."""
    frame = pd.DataFrame(given)
    label = (frame.iloc[:, 4].astype(float) > 0).astype(int)
    if frame.shape[1] == 8:  # the words of k and w
        label += (frame.iloc[:, 2] == "u") * (1 + (frame.iloc[:, 5] == "1"))
    settings = {**SYMMETRIC, "loss_function": "RMSE", "ignored_features": dropped, **settings}
    model = cb.CatBoost(settings).fit(given, label)
    model.drop_unused_features()
    model.save_model(str(file), format=file.suffix[1:])
    return model


def assert_right(loaded: LoadedModel, given: tables.Table, wanted: Any, folder: Path) -> None:
    """The program's answers, and those of the oracle's runner."""
    args = (given.rows,) if given.categories is None else (given.rows, given.categories)
    np.testing.assert_allclose(run(loaded.program, *args)[:, 0], wanted, rtol=1e-6, atol=1e-7)
    native = folder / loaded.signature.oracle.native_file
    native.write_bytes(loaded.native)
    oracle = runner("catboost_runner")(native, loaded.signature.oracle.parameters, 1)
    np.testing.assert_allclose(oracle.predict(*args)[:, 0], wanted, rtol=1e-6)
    assert oracle.leaves(*args).shape == (len(given.rows), loaded.program.forest.n_trees)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("dropped", [["a"], ["a", "c"], ["d"], ["a", "b", "d"]])
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_named_columns_are_found_by_name(policy: str, dropped: list[str], file: str, tmp_path: Path) -> None:
    frame = numbers()
    model = trained(frame, dropped, tmp_path / file, grow_policy=policy)
    wanted = model.predict(frame)
    loaded = read(tmp_path / file, tmp_path)
    names = loaded.signature.features.names
    assert loaded.signature.features.named
    assert not set(names) & set(dropped)
    for columns in (list(frame), list(names), list(frame)[::-1]):
        frame[columns].to_parquet(tmp_path / "rows.parquet")
        assert_right(loaded, tables.read(tmp_path / "rows.parquet", loaded.signature.features), wanted, tmp_path)


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("one_hot", [2, 10])
def test_named_categories_are_found_by_name(one_hot: int, file: str, tmp_path: Path) -> None:
    frame = with_words()
    model = trained(frame, ["a", "z"], tmp_path / file, cat_features=["z", "k", "w"], one_hot_max_size=one_hot)
    names = model.feature_names_
    places = [i for i, name in enumerate(names) if name in ("k", "w")]
    wanted = model.predict(cb.Pool(frame[names], cat_features=places))
    for columns in (list(frame), list(names)):
        frame[columns].to_parquet(tmp_path / "rows.parquet")
        loaded = read(tmp_path / file, tmp_path, LoadOptions(data=tmp_path / "rows.parquet"))
        assert loaded.signature.features.all_names == tuple(names)
        assert_right(loaded, tables.read(tmp_path / "rows.parquet", loaded.signature.features), wanted, tmp_path)


@pytest.mark.parametrize("file", FORMATS)
def test_columns_without_names_stand_where_they_stood_in_training(file: str, tmp_path: Path) -> None:
    given = numbers().to_numpy()
    model = trained(given, [0, 2], tmp_path / file)
    loaded = read(tmp_path / file, tmp_path)
    assert loaded.signature.features.names == ("f0", "f1", "f2", "f3", "f4")
    assert not loaded.signature.features.named
    np.save(tmp_path / "rows.npy", given)
    assert_right(loaded, tables.read(tmp_path / "rows.npy", loaded.signature.features), model.predict(given), tmp_path)


def test_categories_without_names_stand_where_they_stood_in_training(tmp_path: Path) -> None:
    given = with_words().to_numpy(object)
    given[:, 0] = np.arange(N) % 7
    model = trained(given, [0, 1], tmp_path / "m.cbm", cat_features=[2, 5])
    wanted = model.predict(cb.Pool(given, cat_features=[2, 5]))
    floats = [i for i in range(given.shape[1]) if i not in (2, 5)]
    np.savez(tmp_path / "rows.npz", X=given[:, floats].astype(np.float32), C=given[:, [2, 5]].astype(str))
    loaded = read(tmp_path / "m.cbm", tmp_path, LoadOptions(data=tmp_path / "rows.npz"))
    assert_right(loaded, tables.read(tmp_path / "rows.npz", loaded.signature.features), wanted, tmp_path)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"flat_feature_index": 1 << 30}, "a feature has the number"),
        ({"flat_feature_index": 2}, "two of the model's features have the same number"),
        ({"flat_feature_index": -1}, "a feature has the number -1"),
        ({"flat_feature_index": 9, "feature_index": 7}, "a tree tests feature 0, which the model doesn't have"),
    ],
)
def test_numbers_that_no_catboost_wrote(edit: dict[str, int], said: str, tmp_path: Path) -> None:
    from models import catboost_models

    def change(document: Any) -> None:
        document["features_info"]["float_features"][0].update(edit)

    path = catboost_models.edited(catboost_models.model("logloss"), tmp_path / "model.json", change)
    with pytest.raises(ModelError, match=said):
        read(path, tmp_path)
