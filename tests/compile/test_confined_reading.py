"""What isn't supported is refused by name in the sandbox too, where a run reads models: a framework's loader may want
what it can't have there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from models import catboost_models, xgboost_models
from models.xgboost_models import rows, target

from millwork import worker
from millwork.worker import Done, Limits

READING = Path(__file__).with_name("reading_confined.py")
SAVE: dict[str, Callable[[Any, Path], Path]] = {"catboost": catboost_models.save, "xgboost": xgboost_models.save}


def _with(*kinds: str) -> cb.CatBoost:
    """A classifier with columns called ``words`` and ``vectors``."""
    given = np.nan_to_num(rows())
    texts = np.array(["good day", "bad day", "good night"])[np.arange(len(given)) % 3]
    table = {"a": given[:, 0], "words": texts, "vectors": [row.tolist() for row in given[:, 1:4]]}
    frame = pd.DataFrame({name: values for name, values in table.items() if name in ("a", *kinds)})
    pool = cb.Pool(
        frame,
        (target(given) > 0).astype(int),
        text_features=[name for name in kinds if name == "words"],
        embedding_features=[name for name in kinds if name == "vectors"],
    )
    return cb.CatBoost({**catboost_models.QUIET, "iterations": 4, "loss_function": "Logloss"}).fit(pool)


def _summed() -> cb.CatBoost:
    return cb.sum_models([catboost_models.model("logloss"), catboost_models.model("logloss")])


def _accented_categories() -> xgb.XGBRegressor:
    frame = pd.DataFrame({"kind": pd.Categorical(np.array(["\u00e9t\u00e9", "red", "blue"])[np.arange(60) % 3])})
    return xgb.XGBRegressor(n_estimators=2, enable_categorical=True).fit(frame, np.arange(60) % 3)


TEXT, EMBEDDING = "CatBoost's text features are not supported", "CatBoost's embedding features are not supported"
FILES: dict[str, tuple[Callable[[], Any], str]] = {
    "text.cbm": (lambda: _with("words"), f"refused: {TEXT} (columns words)"),
    "text.pkl": (lambda: _with("words"), f"refused: {TEXT} (columns words)"),
    "embedding.cbm": (lambda: _with("vectors"), f"refused: {EMBEDDING} (columns vectors)"),
    "embedding.joblib": (lambda: _with("vectors"), f"refused: {EMBEDDING} (columns vectors)"),
    "both.cbm": (lambda: _with("vectors", "words"), f"refused: {TEXT} (columns words)"),
    "sum.cbm": (_summed, "catboost Logloss"),
    "sum.json": (_summed, "catboost Logloss"),
    "whole.pkl": (lambda: catboost_models.model("multiclass"), "catboost MultiClass"),
    "lossguide.cbm": (lambda: catboost_models.fit(grow_policy="Lossguide"), "catboost RMSE"),
    "cut.ubj": (_accented_categories, "refused: feature 0 has the category"),
    "whole.json": (lambda: xgboost_models.model("binary"), "xgboost binary:logistic"),
    "whole.joblib": (lambda: xgboost_models.model("binary"), "xgboost binary:logistic"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder, own = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("own")
    for name, (make, _) in FILES.items():
        made = make()
        SAVE[type(made).__module__.split(".")[0]](made, folder / name)
    done = worker.run_script(
        READING,
        [str(folder), str(own)],
        python=sys.executable,
        folder=own,
        limits=Limits(seconds=120),
        sandbox=worker.Sandbox(reads=(folder,)),
    )
    assert isinstance(done, Done), (done, (own / "said.json").read_text())
    found: dict[str, str] = json.loads((own / "said.json").read_text())
    return found


@pytest.mark.parametrize("name", FILES)
def test_in_the_sandbox_a_model_is_read_or_refused_by_name(name: str, said: dict[str, str]) -> None:
    assert said[name].startswith(FILES[name][1])
