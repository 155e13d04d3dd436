"""What an XGBoost wrapper's class means for the answer, and what a saved file can't hold."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xgboost

from millwork.compile.frontends.read import read
from millwork.passes.program import run

ROWS = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
BINARY = (ROWS[:, 0] > 0).astype(int)


def saved(model, path):
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(model))
    else:
        model.save_model(str(path))
    return path


@pytest.mark.parametrize("file", ["model.pkl", "model.json", "model.ubj"])
def test_a_regressor_with_a_binary_objective_answers_as_its_predict(file, tmp_path):
    model = xgboost.XGBRegressor(objective="binary:logistic", n_estimators=4, max_depth=2).fit(ROWS, BINARY)
    loaded = read(saved(model, tmp_path / file), tmp_path)
    assert (loaded.signature.output.task, loaded.signature.output.kind) == ("regression", "value")
    np.testing.assert_allclose(run(loaded.program, ROWS)[:, 0], model.predict(ROWS), rtol=1e-6)


@pytest.mark.parametrize("file", ["model.pkl", "model.json"])
def test_a_classifier_answers_as_its_predict_proba(file, tmp_path):
    model = xgboost.XGBClassifier(n_estimators=4, max_depth=2).fit(ROWS, BINARY)
    loaded = read(saved(model, tmp_path / file), tmp_path)
    np.testing.assert_allclose(run(loaded.program, ROWS), model.predict_proba(ROWS), atol=1e-7)


def test_a_saved_wrapper_says_that_its_sentinel_is_not_in_the_file(tmp_path):
    model = xgboost.XGBClassifier(n_estimators=2, missing=-999.0).fit(ROWS, BINARY)
    assert any("missing=" in note for note in read(saved(model, tmp_path / "m.json"), tmp_path).signature.notes)
    pickled = read(saved(model, tmp_path / "m.pkl"), tmp_path)
    assert pickled.signature.features.missing == -999.0
    assert not any("missing=" in note for note in pickled.signature.notes)
