"""Hints for a pickle that isn't read, carried out: the code runs, what it saves is read, and answers as was said."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import catboost as cb
import joblib
import numpy as np
import pytest
import xgboost as xgb
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from millwork.compile.frontends.pickles import read_pickled
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.passes.program import run

RNG = np.random.default_rng(3)
ROWS = np.where(RNG.random((120, 4)) < 0.2, 0, RNG.normal(size=(120, 4))).astype(np.float32)
NUMBER = ROWS[:, 0] - 2 * (ROWS[:, 1] == 0) + 5
TWO, THREE = (NUMBER > 4.5).astype(int), np.digitize(NUMBER, [4, 5])
PAIR = np.column_stack([TWO, THREE > 0]).astype(int)


def classifier() -> Any:
    """Its zeros are missing, which save_model would lose."""
    return xgb.XGBClassifier(n_estimators=3, max_depth=3, missing=0, n_jobs=1)


def regressor() -> Any:
    return xgb.XGBRegressor(n_estimators=3, max_depth=3, missing=0, n_jobs=1)


def chosen(estimator: Any, **grid: Any) -> Any:
    return GridSearchCV(estimator, grid, cv=2)


def cat() -> Any:
    return cb.CatBoostClassifier(iterations=3, depth=2, verbose=0, allow_writing_files=False, thread_count=1)


class Holder:
    """A user's own."""

    def __init__(self, model: Any) -> None:
        self.model = model


ALONE: dict[str, Any] = {
    "grid": lambda: chosen(classifier(), max_depth=[2, 3]).fit(ROWS, TWO),
    "random search": lambda: RandomizedSearchCV(classifier(), {"max_depth": [2, 3]}, n_iter=1, cv=2).fit(ROWS, THREE),
    "grid of CatBoost": lambda: chosen(cat(), depth=[2]).fit(ROWS, TWO),
    "grid of an idle pipeline": lambda: chosen(Pipeline([("no", "passthrough"), ("m", classifier())])).fit(ROWS, TWO),
    "grid of a pipeline": lambda: chosen(make_pipeline(StandardScaler(), classifier())).fit(ROWS, TWO),
    "pipeline of a grid": lambda: make_pipeline(StandardScaler(), chosen(classifier())).fit(ROWS, TWO),
    "nested pipelines": lambda: make_pipeline(
        StandardScaler(), make_pipeline(StandardScaler(), make_pipeline(classifier()))
    ).fit(ROWS, TWO),
    "transformed target": lambda: TransformedTargetRegressor(regressor(), func=np.log1p, inverse_func=np.expm1).fit(
        ROWS, NUMBER
    ),
    "grid of a transformed target of a pipeline": lambda: chosen(
        TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor()), transformer=StandardScaler())
    ).fit(ROWS, NUMBER),
    "selected columns": lambda: RFE(regressor(), n_features_to_select=2).fit(ROWS, NUMBER),
    "threshold": lambda: FixedThresholdClassifier(classifier(), threshold=0.3).fit(ROWS, TWO),
    "frozen": lambda: FrozenEstimator(classifier().fit(ROWS, TWO)),
    "a user's own": lambda: Holder(classifier().fit(ROWS, TWO)),
    "a dict": lambda: {"scale": StandardScaler().fit(ROWS), "grid": chosen(classifier()).fit(ROWS, TWO)},
}

COMBINED: dict[str, Any] = {
    "voting": lambda: VotingClassifier([("a", classifier()), ("b", LogisticRegression())]).fit(ROWS, TWO),
    "voting of numbers": lambda: VotingRegressor([("a", regressor()), ("b", regressor())]).fit(ROWS, NUMBER),
    "stacking": lambda: StackingClassifier([("a", classifier()), ("b", cat())], cv=2).fit(ROWS, TWO),
    "one against the rest": lambda: OneVsRestClassifier(classifier()).fit(ROWS, THREE),
    "several targets": lambda: MultiOutputRegressor(regressor()).fit(ROWS, np.column_stack([NUMBER, -NUMBER])),
    "several labels": lambda: MultiOutputClassifier(classifier()).fit(ROWS, PAIR),
    "chain": lambda: RegressorChain(regressor()).fit(ROWS, np.column_stack([NUMBER, -NUMBER])),
    "chain of classes": lambda: ClassifierChain(classifier()).fit(ROWS, PAIR),
    "bagging": lambda: BaggingRegressor(regressor(), n_estimators=2, random_state=0).fit(ROWS, NUMBER),
    "calibrated": lambda: CalibratedClassifierCV(classifier(), cv=2).fit(ROWS, TWO),
    "grid of a calibrated one": lambda: chosen(CalibratedClassifierCV(classifier(), cv=2)).fit(ROWS, TWO),
}


def refusal(content: object) -> ModelError:
    with pytest.raises(ModelError) as refused:
        read_pickled(pickle.dumps(content), "m.pkl")
    return refused.value


def carried_out(content: Any, hint: str, folder: Path) -> tuple[Any, Any]:
    """What the hint's code saves, and what it says."""
    (saving,) = re.findall(r"joblib\.dump\(.+?, \"inner\.joblib\"\)", hint)
    names = {"joblib": joblib, "model": content, "content": content}
    eval(saving.replace('"inner.joblib"', f'"{folder}/inner.joblib"'), names)  # noqa: S307 (our own hint)
    return read(folder / "inner.joblib", folder), eval(saving[len("joblib.dump(") : saving.rindex(",")], names)  # noqa: S307


def asked(model: Any, rows: Any) -> Any:
    answers = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
    return np.asarray(answers).reshape(len(rows), -1)


@pytest.mark.parametrize("case", ALONE)
def test_what_the_hint_saves_answers_as_the_wrapper_does(case: str, tmp_path: Path) -> None:
    content = ALONE[case]()
    hint = refusal(content).hint
    assert hint.startswith("Save the model inside by itself: ")
    assert "save_model" not in hint
    loaded, _ = carried_out(content, hint, tmp_path)
    rows = ROWS
    names = {"model": content, "content": content}
    for code in re.findall(r"[\w.\[\]:'-]+\.transform\(rows\)", hint):
        rows = np.asarray(eval(code, {**names, "rows": rows}), np.float32)  # noqa: S307 (our own hint)
    answers = run(loaded.program, rows)
    for code in re.findall(r"model\S*inverse_transform\(answers\.reshape\(-1, 1\)\)", hint):
        answers = eval(code, {**names, "answers": answers})  # noqa: S307
    whole = {"a dict": lambda: content["grid"], "a user's own": lambda: content.model}.get(case, lambda: content)()
    np.testing.assert_allclose(answers, asked(whole, ROWS), rtol=1e-4, atol=1e-6)
    assert ("It decides at 0.5, and not at model.threshold" in hint) == (case == "threshold")
    assert ("What model does beside is not read" in hint) == (case == "a user's own")


@pytest.mark.parametrize("case", COMBINED)
def test_several_models_are_said_and_one_is_saved_by_itself(case: str, tmp_path: Path) -> None:
    content = COMBINED[case]()
    hint = refusal(content).hint
    count = 3 if case == "one against the rest" else 2
    assert f"It holds {count} models" in hint
    assert ("(1 of XGBoost or CatBoost)" in hint) == (case == "voting")
    assert hint.endswith("Its answers are its own, and not model's.")
    assert ("not calibrated" in hint) == ("calibrated" in case)
    loaded, own = carried_out(content, hint, tmp_path)
    rows = ROWS[:, : loaded.program.n_columns]
    np.testing.assert_allclose(run(loaded.program, rows), asked(own, rows), rtol=1e-4, atol=1e-6)


def test_the_one_model_of_a_wrapper_of_several(tmp_path: Path) -> None:
    for content in (
        OneVsRestClassifier(classifier()).fit(ROWS, TWO),
        CalibratedClassifierCV(FrozenEstimator(classifier().fit(ROWS, TWO))).fit(ROWS, TWO),
    ):
        hint = refusal(content).hint
        loaded, own = carried_out(content, hint, tmp_path)
        np.testing.assert_allclose(run(loaded.program, ROWS), asked(own, ROWS), rtol=1e-4, atol=1e-6)
        assert "not calibrated" in hint or "1 model," in hint


def test_a_collection_of_models_is_said_to_be_one(tmp_path: Path) -> None:
    content = [classifier().fit(ROWS, TWO), classifier().fit(ROWS, THREE)]
    hint = refusal(content).hint
    assert hint == 'It holds 2 models. One by itself: joblib.dump(content[0], "inner.joblib").'
    loaded, own = carried_out(content, hint, tmp_path)
    np.testing.assert_allclose(run(loaded.program, ROWS), asked(own, ROWS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (RandomForestClassifier(n_estimators=2), "scikit-learn's own estimators are not read in this version."),
        (HistGradientBoostingClassifier(max_iter=2), "scikit-learn's own estimators are not read in this version."),
        (LogisticRegression(), "scikit-learn's own estimators are not read in this version."),
        (MLPClassifier(hidden_layer_sizes=2, max_iter=300), "scikit-learn's own estimators are not read"),
        (chosen(RandomForestClassifier(n_estimators=2)), "model.best_estimator_ is sklearn.ensemble._forest.RandomF"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "model[-1] is sklearn.linear_model._logistic.Logist"),
        (make_pipeline(LogisticRegression()), "model[-1] is sklearn.linear_model._logistic.LogisticRegression"),
        (VotingClassifier([("a", LogisticRegression()), ("b", LogisticRegression())]), "scikit-learn's own"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_isnt_read_has_no_hint_that_it_cant_follow(make: Any, said: str) -> None:
    hint = refusal(make.fit(ROWS, TWO)).hint
    assert said in hint or said == "scikit-learn's own"
    assert "save_model" not in hint
    assert "joblib" not in hint
    assert "What is read: models of XGBoost and CatBoost" in hint


@pytest.mark.parametrize(
    "content",
    [
        GridSearchCV(classifier(), {}),
        GridSearchCV(classifier(), {}, refit=False, cv=2).fit(ROWS, TWO),
        VotingClassifier([("a", classifier())]),
        {},
    ],
)
def test_a_wrapper_without_a_fitted_model(content: Any) -> None:
    assert refusal(content).hint.startswith("No fitted model is in it: call fit first, a search with refit=True.")


def test_a_container_that_holds_itself_many_times_is_looked_at_in_a_moment() -> None:
    content: Any = []
    for _ in range(30):
        content = [content, content, {"a": content}]
    assert refusal(content).hint
