"""A CatBoost model holds hashes of its categories: where their texts come from, and what is said where they don't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
from models.catboost_cases import CASES, frame, frame_label
from models.catboost_models import QUIET

from millwork.compile.frontends.catboost import combinations as catboost_combinations
from millwork.compile.frontends.catboost.combinations import Combination, explain
from millwork.compile.frontends.catboost.vocabulary import unmix
from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.passes.categories import mix
from millwork.passes.program import run
from millwork.storage.tables import read as read_rows

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
    features = read(ctrs[0], tmp_path, LoadOptions(data=ctrs[1])).signature.features
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


def test_floats_that_were_made_of_integers_dont_make_text_of_them(tmp_path: Path) -> None:
    """CatBoost doesn't know a 10.0: it stays unknown, and the model's categories stay integers."""
    given = frame(integers=True)
    model, _ = trained(given)
    model.save_model(str(tmp_path / "model.json"), format="json")
    slip = given.assign(place=given["place"].astype(float).astype(str))
    slip.to_parquet(tmp_path / "slip.parquet")
    features = read(tmp_path / "model.json", tmp_path, LoadOptions(data=tmp_path / "slip.parquet")).signature.features
    assert features.category_dtype == "int64"
    assert set(features.categories["place"]) == {"3", "14", "15", "92", "-65"}


OTHERWISE: dict[str, tuple[list[Any], list[str]]] = {
    "texts": (["00010", "02134", "10", "90210", "00501"], ["00010", "02134", "10", "90210", "00501"]),
    "integers": ([10, 2134, 7, 90210, 501], ["00010", "02134", "00007", "90210", "00501"]),
    "truth values": (["True", "False", "True", "False", "True"], ["true", "false", "true", "false", "true"]),
}
"""What the model's places are, and how a .csv of the same rows writes them."""


@pytest.mark.parametrize("places", OTHERWISE)
def test_the_texts_of_a_csv_or_what_they_are_read_as(places: str, tmp_path: Path) -> None:
    """Whichever the model knows; and that is what its rows are."""
    own, written = OTHERWISE[places]
    given = frame()
    at = given["place"].map({place: i for i, place in enumerate(sorted(PLACES))}).to_numpy()
    given["place"] = [own[i] for i in at]
    model, pool = trained(given)
    model.save_model(str(tmp_path / "model.json"), format="json")
    given.assign(place=[written[i] for i in at]).to_csv(tmp_path / "rows.csv", index=False)
    made = read(tmp_path / "model.json", tmp_path, LoadOptions(data=tmp_path / "rows.csv"))
    features = made.signature.features
    assert set(features.categories["place"]) == set(map(str, own))
    rows = read_rows(tmp_path / "rows.csv", features)
    wanted = model.predict(pool, prediction_type="Probability")
    np.testing.assert_allclose(run(made.program, rows.rows, rows.categories), wanted, rtol=1e-5, atol=1e-6)


def test_a_csvs_value_that_the_model_doesnt_know_is_of_the_kind_that_it_knows(tmp_path: Path) -> None:
    given = frame(integers=True)
    model, _ = trained(given)
    model.save_model(str(tmp_path / "model.json"), format="json")
    written = given["place"].map("{:06d}".format)
    written[0] = "000777"
    given.assign(place=written).to_csv(tmp_path / "rows.csv", index=False)
    made = read(tmp_path / "model.json", tmp_path, LoadOptions(data=tmp_path / "rows.csv"))
    features = made.signature.features
    assert features.category_dtype == "int64"
    assert set(features.categories["place"]) == {"3", "14", "15", "92", "-65"}
    assert made.program.categories is not None  # type: ignore[union-attr]
    assert 777 in made.program.categories.vocabularies[0]  # type: ignore[union-attr]
    (note,) = read_rows(tmp_path / "rows.csv", features).notes
    assert note.endswith("hold a category of 'place' that the model does not know, such as '777'")


def test_what_stays_unknown_is_told_feature_by_feature(ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"behind them are not known: place \(4 of 5\), kind") as refused:
        read(ctrs[0], tmp_path)
    assert "--data FILE" in refused.value.hint
    few = frame().assign(place="Oslo")
    few.to_parquet(tmp_path / "few.parquet")
    with pytest.raises(ModelError, match=r"not known: place \(3 of 5\)\n") as refused:
        read(ctrs[0], tmp_path, LoadOptions(data=tmp_path / "few.parquet"))
    assert "--data FILE" in refused.value.hint


def test_as_many_other_values_dont_do(ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    """It is hashes that are compared, not counts."""
    given = frame()
    others = {"Oslo": "Oslo ", "Bergen": "bergen", "Troms\u00f8": "Tromso", "a b": "a  b", "7": "7.0"}
    for wrong, count in (({"Oslo": "oslo"}, 1), (others, 4)):  # a 7 is found without the file
        given.assign(place=given["place"].replace(wrong)).to_parquet(tmp_path / "wrong.parquet")
        with pytest.raises(ModelError, match=rf"not known: place \({count} of 5\)\n"):
            read(ctrs[0], tmp_path, LoadOptions(data=tmp_path / "wrong.parquet"))


# ── features that the model holds in combinations only ────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=["text", "integers"])
def combined(request: pytest.FixtureRequest) -> tuple[cb.CatBoost, pd.DataFrame, cb.Pool]:
    """``right`` says nothing without ``left``, and so has no table of its own."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 8, 2000), rng.integers(0, 7, 2000)
    given = pd.DataFrame({"x": rng.normal(size=2000), "left": left, "right": right * 3})
    if request.param == "text":
        given = given.assign(left=[f"a{i}" for i in left], right=[f"b{i}" for i in right])
    pool = cb.Pool(given, (left + right) % 2, cat_features=["left", "right"])
    settings = {"one_hot_max_size": 2, "max_ctr_complexity": 2, "depth": 2, "iterations": 4}
    return cb.CatBoost({**QUIET, "loss_function": "Logloss", **settings}).fit(pool), given, pool


def answers_are_catboosts(made: Any, model: cb.CatBoost, given: pd.DataFrame, pool: cb.Pool) -> None:
    words = given[["left", "right"]].to_numpy(np.int64 if made.program.categories.integer else str)
    got = run(made.program, given[["x"]].to_numpy(np.float32), words)
    wanted = model.predict(pool, prediction_type="Probability")
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    assert len(np.unique(wanted[:, 1].round(3))) > 2


def test_combined_values_come_from_the_rows(combined: Any, tmp_path: Path) -> None:
    model, given, pool = combined
    model.save_model(str(tmp_path / "model.json"), format="json")
    given.to_parquet(tmp_path / "rows.parquet")
    made = read(tmp_path / "model.json", tmp_path, LoadOptions(data=tmp_path / "rows.parquet"))
    answers_are_catboosts(made, model, given, pool)
    assert made.signature.notes == ()


def test_combined_values_come_from_the_export_with_its_pool(combined: Any, tmp_path: Path) -> None:
    model, given, pool = combined
    model.save_model(str(tmp_path / "model.json"), format="json", pool=pool)
    made = read(tmp_path / "model.json", tmp_path)
    assert set(made.signature.features.categories["right"]) == set(given["right"].astype(str))
    answers_are_catboosts(made, model, given, pool)


def test_combined_integers_are_tried_and_texts_are_asked_for(combined: Any, tmp_path: Path) -> None:
    model, given, pool = combined
    model.save_model(str(tmp_path / "model.json"), format="json")
    if given["left"].dtype.kind == "i":
        answers_are_catboosts(read(tmp_path / "model.json", tmp_path), model, given, pool)
    else:
        with pytest.raises(ModelError, match=r"not known: left \(8 of 8\)"):
            read(tmp_path / "model.json", tmp_path)


@pytest.mark.parametrize("wrong", [1, 7])
def test_as_many_other_values_that_are_combined_dont_do(wrong: int, combined: Any, tmp_path: Path) -> None:
    model, given, _ = combined
    model.save_model(str(tmp_path / "model.json"), format="json")
    words = sorted(given["right"].astype(str).unique())
    given = given.assign(right=given["right"].astype(str).replace({word: f"{word}!" for word in words[:wrong]}))
    given.to_parquet(tmp_path / "wrong.parquet")
    options = LoadOptions(data=tmp_path / "wrong.parquet")
    if words[0].isdecimal():  # found without the file
        assert {*words} <= {*read(tmp_path / "model.json", tmp_path, options).signature.features.categories["right"]}
        return
    with pytest.raises(ModelError, match=rf"not known: left with right \({8 * wrong} of 56\)\n") as refused:
        read(tmp_path / "model.json", tmp_path, options)
    assert "--data FILE" in refused.value.hint


def hashed(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Any]:
    return [rng.choice(np.arange(-(2**31), 2**31, 997), size, replace=False) for size in sizes]


@pytest.mark.parametrize(("features", "bits"), [((0, 1), 0), ((1, 0), 2), ((2, 0, 1), 1), ((1,), 3)])
def test_keys_are_taken_apart(features: tuple[int, ...], bits: int) -> None:
    """Made as CatBoost makes them; which values are in some key comes out, and each key that has another one."""
    rng = np.random.default_rng(len(features) + bits)
    hashes = hashed(rng, (40, 9, 4))
    chosen = [rng.integers(0, len(hashes[c]) - 1, 300) for c in features]  # never the last
    keys = np.zeros(300, np.uint64)
    for c, places in zip(features, chosen, strict=True):
        keys = mix(keys, hashes[c][places])
    for _ in range(bits):
        keys = mix(keys, rng.integers(0, 2, 300))
    found = explain(Combination(features, bits, keys), hashes)
    assert found is not None
    assert (found.tried, found.lacking) == (300, 0)
    for places, used in zip(chosen, found.used, strict=True):
        assert np.flatnonzero(used).tolist() == np.unique(places).tolist()

    least = int(np.argmin([len(hashes[c]) for c in features]))
    without = [np.delete(own, 0) if c == features[least] else own for c, own in enumerate(hashes)]
    found = explain(Combination(features, bits, keys), without)
    assert found is not None
    assert found.lacking == int((chosen[least] == 0).sum()) > 0
    nothing = explain(Combination(features, bits, keys), [own[:0] for own in hashes])
    assert nothing is not None
    assert nothing.lacking == 300


def test_of_too_many_sums_a_sample_is_tried_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = hashed(np.random.default_rng(0), (40, 9))
    keys = mix(mix(np.zeros(360, np.uint64), np.repeat(hashes[0], 9)), np.tile(hashes[1], 40))
    table = Combination((0, 1), 0, keys)
    monkeypatch.setattr(catboost_combinations, "BUDGET", 9 * 200)
    found = explain(table, hashes)
    assert found is not None
    assert (found.tried, found.lacking) == (200, 0)
    monkeypatch.setattr(catboost_combinations, "BUDGET", 9 * 99)
    assert explain(table, hashes) is None


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (8 * 7 * 2, "millwork can't show that every value of left with right is known"),
        (7 * 50, "left with right: the values in 50 of their 56 combinations are known"),
    ],
)
def test_what_wasnt_tried_is_told(budget: int, said: str, combined: Any, tmp_path: Path, monkeypatch: Any) -> None:
    model, given, _ = combined
    model.save_model(str(tmp_path / "model.json"), format="json")
    given.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(catboost_combinations, "BUDGET", budget)
    monkeypatch.setattr(catboost_combinations, "FEWEST", 40)
    (note,) = read(tmp_path / "model.json", tmp_path, LoadOptions(data=tmp_path / "rows.parquet")).signature.notes
    assert said in note


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
        "a split's border isn't one of its CTR's borders"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_a_table_that_no_catboost_wrote(edit: str, ctrs: tuple[Path, Path], tmp_path: Path) -> None:
    change, said = EDITS[edit]
    document = json.loads(ctrs[0].read_text())
    change(document)
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=said):
        read(tmp_path / "model.json", tmp_path, LoadOptions(data=ctrs[1]))
