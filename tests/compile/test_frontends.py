"""What a model's file is read as: the same program from every format, its signature, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import catboost as cb
import msgspec
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from models import catboost_cases, catboost_models, xgboost_cases, xgboost_models
from models.torture import CASES
from models.xgboost_models import booster, rows, target

from millwork.compile.frontends import objectives
from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.loaded_model import LoadedModel, Signature
from millwork.compile.frontends.read import read
from millwork.errors import ModelError, UsageError
from millwork.passes.program import Program, run
from millwork.storage.tables import read as read_rows
from millwork.values import Provenance
from millwork.values.contracts import NO_INTEGER

XGBOOST_FORMATS = ["model.json", "model.ubj", "model.pkl", "model.joblib"]
CATBOOST_FORMATS = ["model.cbm", "model.json", "model.pkl", "model.joblib"]


def loaded(made: Any, path: Path, *, margin: bool = False) -> LoadedModel:
    save = xgboost_models.save if isinstance(made, xgb.Booster | xgb.XGBModel) else catboost_models.save
    return read(save(made, path), path.parent, LoadOptions(margin=margin))


def bits(program: Program) -> dict[str, Any]:
    """Every array of the program with its dtype, and every other field."""
    arrays = {name: (array.dtype, array.tobytes()) for name, array in program.forest.arrays().items()}
    plain = {f.name: getattr(program, f.name) for f in fields(program) if f.name not in ("forest", "columns")}
    return {**arrays, **plain, "columns": program.columns.tobytes(), "comparison": program.forest.comparison}


def plain(signature: Signature) -> Signature:
    """Without what says which file it came from."""
    nowhere = Provenance(path="", format="", sha256="", framework="xgboost", framework_version="")
    oracle = msgspec.structs.replace(signature.oracle, native_file="")
    notes = tuple(note for note in signature.notes if "doesn't hold the wrapper's missing=" not in note)
    return msgspec.structs.replace(signature, provenance=nowhere, oracle=oracle, notes=notes)


# ── the same program from every format ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["binary", "multiclass", "poisson", "pruned", "names-backwards", "single-leaf"])
def test_a_booster_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    made = [loaded(xgboost_models.model(name), tmp_path / file) for file in XGBOOST_FORMATS]
    for other in made[1:]:
        assert bits(other.program) == bits(made[0].program)
        assert plain(other.signature) == plain(made[0].signature)
    assert [m.signature.provenance.estimator for m in made] == ["", "", "Booster", "Booster"]


@pytest.mark.parametrize("name", ["early-stopping", "float-labels"])
def test_a_wrapper_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    given = rows()
    wrapper = (
        xgboost_models.model(name)
        if name != "float-labels"
        else xgb.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1).fit(given, (target(given) > 0).astype(float))
    )
    made = [loaded(wrapper, tmp_path / file) for file in XGBOOST_FORMATS]
    for other in made[1:]:
        assert bits(other.program) == bits(made[0].program)
        assert plain(other.signature) == plain(made[0].signature)


@pytest.mark.parametrize("name", ["logloss", "multiclass", "nan-max", "scale-and-bias", "named", "large-borders"])
def test_a_symmetric_catboost_model_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    made = [loaded(catboost_models.model(name), tmp_path / file) for file in CATBOOST_FORMATS]
    for other in made[1:]:
        assert bits(other.program) == bits(made[0].program)
        parameters = {**other.signature.oracle.parameters, "format": "cbm"}
        oracle = msgspec.structs.replace(other.signature.oracle, parameters=parameters)
        assert plain(msgspec.structs.replace(other.signature, oracle=oracle)) == plain(made[0].signature)
    assert made[1].signature.oracle.parameters["format"] == "json"


@pytest.mark.parametrize("name", ["lossguide", "depthwise", "lossguide-multiclass"])
def test_another_catboost_model_differs_in_its_leaves_numbers_alone(name: str, tmp_path: Path) -> None:
    made = [bits(loaded(catboost_models.model(name), tmp_path / file).program) for file in CATBOOST_FORMATS]
    assert made[0] == made[2] == made[3]
    assert {key for key in made[0] if made[0][key] != made[1][key]} <= {"leaf_number"}


def test_the_oracle_gets_the_frameworks_own_bytes(tmp_path: Path) -> None:
    for file in ["model.json", "model.ubj"]:
        made = loaded(xgboost_models.model("binary"), tmp_path / file)
        assert made.native == (tmp_path / file).read_bytes()
        assert made.signature.oracle.native_file == file
    made = loaded(xgboost_models.model("binary"), tmp_path / "model.pkl")
    assert bytes(made.native) == bytes(xgboost_models.model("binary").save_raw("ubj"))
    made = loaded(catboost_models.model("rmse"), tmp_path / "other.pkl")
    assert made.native.startswith(b"CBM1")


# ── the signature ─────────────────────────────────────────────────────────────────────────────────────────


def test_features_have_the_models_names_in_training_order(tmp_path: Path) -> None:
    xgboost = loaded(xgboost_models.model("names-backwards"), tmp_path / "a.json").signature.features
    assert xgboost.names == ("f7", "f6", "f5", "f4", "f3", "f2", "f1", "f0")
    assert xgboost.named
    catboost = loaded(catboost_models.model("named"), tmp_path / "a.cbm").signature.features
    assert catboost.names == ("f5", "f4", "f3", "f2", "f1", "f0")
    assert catboost.named
    for unnamed in (xgboost_models.model("binary"), catboost_models.model("logloss")):
        features = loaded(unnamed, tmp_path / "b.pkl").signature.features
        assert features.names == ("f0", "f1", "f2", "f3", "f4", "f5")
        assert not features.named


def test_features_that_no_tree_tests_are_still_the_clients(tmp_path: Path) -> None:
    made = loaded(catboost_models.model("ignored-features"), tmp_path / "m.cbm")
    assert len(made.signature.features.names) == made.program.n_columns == 6


@pytest.mark.parametrize(
    ("name", "task", "kind", "labels"),
    [
        ("binary", "binary", "probability", ("0", "1")),
        ("multiclass", "multiclass", "probability", ("0", "1", "2", "3")),
        ("softmax", "multiclass", "probability", ("0", "1", "2")),
        ("squarederror", "regression", "value", ("value",)),
        ("reg-logistic", "regression", "value", ("value",)),
        ("rank-ndcg", "ranking", "value", ("value",)),
    ],
)
def test_what_an_xgboost_model_gives(name: str, task: str, kind: str, labels: tuple[str, ...], tmp_path: Path) -> None:
    output = loaded(xgboost_models.model(name), tmp_path / "m.json").signature.output
    assert (output.task, output.kind, output.labels) == (task, kind, labels)
    assert output.threshold == (0.5 if task == "binary" else None)
    margin = loaded(xgboost_models.model(name), tmp_path / "m.json", margin=True)
    assert margin.signature.output.kind == "margin"
    assert margin.program.postprocess == "identity"
    assert margin.signature.output.threshold is None
    assert len(margin.signature.output.labels) == margin.program.n_answers == max(len(labels) - (task == "binary"), 1)


@pytest.mark.parametrize(
    ("name", "task", "labels", "threshold"),
    [
        ("logloss", "binary", ("0", "1"), 0.5),
        ("threshold", "binary", ("0", "1"), 0.25),
        ("boolean-labels", "binary", ("False", "True"), 0.5),
        ("string-labels", "multiclass", ("high", "low", "mid"), None),
        ("one-vs-all", "multiclass", ("0", "1", "2", "3"), None),
        ("poisson", "regression", ("value",), None),
    ],
)
def test_what_a_catboost_model_gives(
    name: str, task: str, labels: tuple[str, ...], threshold: float | None, tmp_path: Path
) -> None:
    output = loaded(catboost_models.model(name), tmp_path / "m.cbm").signature.output
    assert (output.task, output.labels) == (task, labels)
    assert output.threshold == pytest.approx(threshold)
    assert output.kind == ("value" if task == "regression" else "probability")


def test_the_version_that_wrote_the_model_is_recorded(tmp_path: Path) -> None:
    for made, version in [
        (xgboost_models.model("binary"), xgb.__version__),
        (catboost_models.model("rmse"), cb.__version__),
    ]:
        signature = loaded(made, tmp_path / "m.pkl").signature
        assert signature.provenance.framework_version == signature.oracle.version == version
        assert len(signature.provenance.sha256) == 64


def test_the_sentinel_is_part_of_the_feature_contract(tmp_path: Path) -> None:
    made = loaded(xgboost_models.model("missing--999"), tmp_path / "m.pkl")
    assert made.signature.features.missing == made.program.missing == -999.0
    # The file that save_model writes doesn't hold it, and so XGBoost forgets it too.
    assert loaded(xgboost_models.model("missing--999"), tmp_path / "m.json").signature.features.missing is None


# ── early stopping ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", XGBOOST_FORMATS)
def test_a_wrapper_stops_at_its_best_round_and_its_booster_does_not(file: str, tmp_path: Path) -> None:
    wrapper = xgboost_models.model("early-stopping")
    best, every = wrapper.best_iteration + 1, wrapper.get_booster().num_boosted_rounds()
    made = loaded(wrapper, tmp_path / file)
    assert made.program.n_iterations == best < every
    assert made.signature.oracle.parameters["rounds"] == str(best)
    assert f"rounds 0 to {best - 1} count" in made.signature.notes[0]

    plain = loaded(wrapper.get_booster(), tmp_path / f"booster-{file}")
    assert plain.program.n_iterations is None
    assert plain.program.forest.n_trees == every
    assert plain.signature.oracle.parameters["rounds"] == "0"
    assert f"found round {best - 1} to be the best, but Booster.predict uses every round" in plain.signature.notes[0]


def test_rounds_of_several_trees_are_counted_as_rounds(tmp_path: Path) -> None:
    made = loaded(xgboost_models.model("parallel-trees-multiclass"), tmp_path / "m.json")
    assert made.program.trees_per_iteration == 9
    assert made.program.forest.tree_output.tolist() == [k for _ in range(4) for k in (0, 0, 0, 1, 1, 1, 2, 2, 2)]


OLD = json.loads((Path(__file__).parent / "files" / "answers.json").read_text())
ROWS = np.array([[0.1, -0.2, 0.3], [-999.0, 1.5, -0.4], [-1.0, -999.0, 0.9]], np.float32)
"""What tests/compile/files/make_pickles.py asked each old version."""


@pytest.mark.parametrize("file", OLD)
def test_models_pickled_by_old_versions_answer_as_they_did(file: str, tmp_path: Path) -> None:
    made = read(Path(__file__).parent / "files" / file, tmp_path)
    np.testing.assert_allclose(run(made.program, ROWS), np.array(OLD[file]).reshape(3, -1), rtol=1e-6)
    assert made.signature.oracle.version == file.split("-")[1]
    if "1.5.2-classifier" in file:
        assert made.signature.output.labels == ("no", "yes")
    if "classifier" in file:
        assert made.program.missing == -999.0
    else:
        assert made.signature.features.names == ("a", "b", "c")


# ── refusals by name ──────────────────────────────────────────────────────────────────────────────────────


def _custom(predicted: Any, matrix: Any) -> Any:
    return predicted - matrix.get_label(), np.ones_like(predicted)


def _accented_categories() -> xgb.XGBRegressor:
    frame = pd.DataFrame({"kind": pd.Categorical(np.array(["\u00e9t\u00e9", "red", "blue"])[np.arange(60) % 3])})
    return xgb.XGBRegressor(n_estimators=2, enable_categorical=True).fit(frame, np.arange(60) % 3)


def _counting_classifier() -> xgb.XGBClassifier:
    return xgb.XGBClassifier(n_estimators=2, objective="count:poisson").fit(rows(), (target(rows()) > 0).astype(int))


XGBOOST_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "categories that XGBoost cuts": (_accented_categories, "before 3.4 cuts names that aren't ASCII"),
    "a classifier that counts": (_counting_classifier, "a classifier with XGBoost's objective 'count:poisson'"),
}


@pytest.mark.parametrize("file", ["model.json", "model.ubj", "model.pkl"])
@pytest.mark.parametrize("name", XGBOOST_REFUSED)
def test_what_isnt_supported_of_xgboost_is_refused_by_name(name: str, file: str, tmp_path: Path) -> None:
    make, said = XGBOOST_REFUSED[name]
    with pytest.raises(ModelError, match=said):
        loaded(make(), tmp_path / file)


@pytest.mark.parametrize(
    ("known", "word"), [(["", "a", "b"], "an empty text"), ([NO_INTEGER, 1, 2], "the smallest integer")]
)
def test_a_category_that_stands_for_a_missing_one_elsewhere(known: list[Any], word: str, tmp_path: Path) -> None:
    """A null isn't that category: it is refused, and the category is answered as XGBoost does."""
    frame = pd.DataFrame({"kind": pd.Categorical(np.array(known, object)[np.arange(60) % 3], known), "x": np.ones(60)})
    frame["kind"] = frame["kind"].cat.rename_categories(np.array(known))
    frame.loc[:9, "kind"] = None
    number = np.where(frame["kind"].isna(), 5.0, np.where(frame["kind"] == known[0], -5.0, 0.0))
    wrapper = xgb.XGBRegressor(n_estimators=4, enable_categorical=True).fit(frame, number)
    made = loaded(wrapper, tmp_path / "m.pkl")
    assert not made.signature.features.category_nulls
    assert f"{word} is a category of kind, so rows in which a category is missing are refused" in made.signature.notes
    frame.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(
        UsageError, match="column 'kind' has missing values, but the model doesn't take a missing category"
    ):
        read_rows(tmp_path / "rows.parquet", made.signature.features)
    whole = frame.dropna()
    whole.to_parquet(tmp_path / "rows.parquet")
    given = read_rows(tmp_path / "rows.parquet", made.signature.features)
    answers = run(made.program, given.rows, given.categories)[:, 0]
    np.testing.assert_allclose(answers, wrapper.predict(whole), rtol=1e-6)
    assert answers[whole["kind"] == known[0]].max() < -1
    strange = np.full((1, 1), 77 if made.signature.features.category_dtype == "int64" else "?")
    assert run(made.program, given.rows[:1], strange)[0, 0] == pytest.approx(wrapper.predict(frame[:1])[0])


def test_an_objective_of_the_users_own_gives_margins_and_says_so(tmp_path: Path) -> None:
    given = rows()
    wrapper = xgb.XGBRegressor(n_estimators=2, objective=_own_objective).fit(given, target(given))
    signature = loaded(wrapper, tmp_path / "m.pkl").signature
    assert signature.output.kind == "margin"
    assert any("_own_objective" in note and "margins" in note for note in signature.notes)


@pytest.mark.parametrize(
    ("name", "task", "kind", "labels"),
    [
        ("custom objective, classifier", "binary", "probability", ("0", "1")),
        ("custom objective, multiclass", "multiclass", "probability", ("0", "1", "2")),
        ("custom objective, multilabel", "multilabel", "probability", ("0", "1", "2")),
        ("custom objective, several targets", "regression", "margin", ("0", "1")),
        ("reg:logistic, classifier", "binary", "probability", ("0", "1")),
        ("reg:logistic, multilabel", "multilabel", "probability", ("0", "1", "2")),
        ("reg:squarederror, classifier", "binary", "value", ("0", "1")),
    ],
)
def test_what_a_wrapper_gives_is_what_predict_proba_gives(
    name: str, task: str, kind: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    """XGBoost predicts with the objective in the file, whatever the wrapper was trained with."""
    case = xgboost_cases.WRAPPERS[name](tmp_path)
    made = read(case.model, tmp_path)
    output = made.signature.output
    assert (output.task, output.kind, output.labels) == (task, kind, labels)
    assert output.threshold == (0.5 if (task, kind) == ("binary", "probability") else None)
    with np.load(case.data) as data:
        np.testing.assert_allclose(run(made.program, data["X"]), case.expected, rtol=1e-5, atol=1e-6)
    said = [note for note in made.signature.notes if note.startswith("the model was trained with a custom objective")]
    assert bool(said) == name.startswith("custom")
    assert all(("its answers are margins" in note) == (kind == "margin") for note in said)


def test_a_wrapper_that_was_given_another_objective_after_training(tmp_path: Path) -> None:
    """predict_proba then gives classes for probabilities of multi:softmax."""
    given = rows()
    wrapper = xgb.XGBClassifier(n_estimators=2, objective="multi:softmax").fit(given, np.arange(len(given)) % 3)
    wrapper.set_params(objective=_own_objective)
    with pytest.raises(
        ModelError, match=r"trained with multi:softmax, but its objective was later set to .*_own_objective"
    ):
        loaded(wrapper, tmp_path / "m.pkl")


@pytest.mark.parametrize("targets", [1, 2])
def test_a_catboost_loss_of_the_users_own_gives_margins_and_says_so(targets: int, tmp_path: Path) -> None:
    model = catboost_cases.own_loss(targets)[0]
    for file in CATBOOST_FORMATS:  # a pickle holds the user's class, which isn't imported
        signature = loaded(model, tmp_path / file).signature
        assert signature.output.kind == "margin"
        assert signature.output.labels == (("margin",) if targets == 1 else ("0", "1"))
        assert signature.notes == ("the model was trained with a custom loss, so its answers are margins",)


def test_an_objective_that_isnt_known_is_refused_by_name(tmp_path: Path) -> None:
    def unknown(document: dict[str, Any]) -> None:
        document["learner"]["objective"]["name"] = "reg:expectileerror"

    path = xgboost_models.edited(booster({}, 2), tmp_path / "m.json", unknown)
    with pytest.raises(ModelError, match="objective 'reg:expectileerror' is not supported"):
        read(path, tmp_path)


def _own_objective(truth: Any, predicted: Any) -> Any:
    return predicted - truth, np.ones_like(predicted)


@pytest.mark.parametrize("missing", [float("inf"), float("-inf"), 1e300])
def test_a_sentinel_that_is_no_number_of_float32_is_refused(missing: float, tmp_path: Path) -> None:
    given = rows()
    wrapper = xgb.XGBRegressor(n_estimators=1, missing=missing)
    given[np.isnan(given)] = 0
    wrapper.fit(given, np.nan_to_num(target(given)))
    with pytest.raises(ModelError, match="missing="):
        loaded(wrapper, tmp_path / "m.pkl")


def test_every_objective_of_the_tables_is_tried_against_the_framework() -> None:
    """By tests/fidelity, on the cases of tests/models."""
    for framework, table in (("xgboost", objectives.XGBOOST), ("catboost", objectives.CATBOOST)):
        tried = {name.removeprefix(f"{framework}: ").split(",")[0].partition(":alpha")[0] for name in CASES}
        lacking = {name for name in table if not any(case == name or case.startswith(f"{name}:") for case in tried)}
        assert lacking == (UNTRAINED if framework == "catboost" else set())


UNTRAINED = {"QueryCrossEntropy"}
"""CatBoost trains it on a GPU only ("is not supported for CPU learning"). Its answers are plain margins, as QueryRMSE's
are."""
