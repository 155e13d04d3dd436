"""Writes the files beside it: estimators pickled by several versions of XGBoost and CatBoost, in every way that people
pickle them. Run it once in an environment of each version:

    python3.11 -m venv old && old/bin/pip install "xgboost==1.7.6" "scikit-learn<1.6" "numpy<2" scipy joblib lz4
    old/bin/python make_honest.py

Kept: xgboost 1.7.6, 2.0.3 (scikit-learn<1.6, numpy<2), xgboost-cpu 2.1.4, 3.0.5, 3.1.3; catboost 1.2.3, 1.2.5
(numpy<2), 1.2.7, 1.2.8. ``answers.json`` holds, for each file, the sha256 of the native model as that version itself
saves it, and what it predicted for ``ROWS``: the bytes of the array, in hexadecimal.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np

HERE = Path(__file__).parent
ROWS = np.random.default_rng(3).normal(size=(20, 3)).astype(np.float32)
WRITERS: dict[str, Any] = {
    **{f"protocol{n}.pkl": lambda model, path, n=n: path.write_bytes(pickle.dumps(model, n)) for n in range(6)},
    "plain.joblib": joblib.dump,
    **{
        f"{kind}.joblib": lambda model, path, kind=kind: joblib.dump(model, path, compress=(kind, 3))
        for kind in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4")
    },
}


def main() -> int:
    answers = HERE / "answers.json"
    record = json.loads(answers.read_text()) if answers.exists() else {}
    models = of_xgboost() if importlib.util.find_spec("xgboost") else of_catboost()
    # every way of writing, and the models in turn: all pairs would only be more of the same bytes
    for turn, (writer, write) in enumerate(WRITERS.items()):
        name, model, native, predicted = models[turn % len(models)]
        file = f"{name}-{writer}"
        write(model, HERE / file)
        record[file] = {
            "native": hashlib.sha256(native).hexdigest(),
            "dtype": predicted.dtype.str,
            "predicted": predicted.tobytes().hex(),
        }
    answers.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


def of_xgboost() -> list[tuple[str, Any, bytes, Any]]:
    import xgboost as xgb

    rows = np.random.default_rng(7).normal(size=(80, 3)).astype(np.float32)
    two, three = (rows[:, 0] > 0).astype(int), np.digitize(rows[:, 0], [-0.4, 0.4])
    usual: dict[str, Any] = {"n_estimators": 2, "max_depth": 2, "n_jobs": 1}
    models = {
        "Booster": xgb.train({"max_depth": 2, "nthread": 1}, xgb.DMatrix(rows, rows[:, 1]), 2),
        "XGBClassifier": xgb.XGBClassifier(**usual, missing=-999.0).fit(rows, three),
        "XGBRegressor": xgb.XGBRegressor(**usual).fit(rows, rows[:, 0]),
        "XGBRanker": xgb.XGBRanker(**usual).fit(rows, two, qid=np.repeat(range(8), 10)),
        "XGBRFClassifier": xgb.XGBRFClassifier(**usual).fit(rows, two),
    }
    made = []
    for name, model in models.items():
        booster = model if isinstance(model, xgb.Booster) else model.get_booster()
        predicted = booster.predict(xgb.DMatrix(ROWS))
        made.append((f"xgboost-{xgb.__version__}-{name}", model, bytes(booster.save_raw("ubj")), predicted))
    return made


def of_catboost() -> list[tuple[str, Any, bytes, Any]]:
    import catboost as cb

    rows = np.random.default_rng(7).normal(size=(80, 3)).astype(np.float32)
    usual: dict[str, Any] = {"iterations": 2, "depth": 2, "verbose": 0, "allow_writing_files": False}
    names = np.array(["a", "b", "c"])[np.digitize(rows[:, 0], [-0.4, 0.4])]
    models = {
        "CatBoost": cb.CatBoost({**usual, "loss_function": "Poisson"}).fit(rows, np.abs(rows[:, 0])),
        "CatBoostClassifier": cb.CatBoostClassifier(**usual).fit(rows, names),
        "CatBoostRegressor": cb.CatBoostRegressor(**usual).fit(rows, rows[:, 0]),
        "CatBoostRanker": cb.CatBoostRanker(**usual).fit(
            rows, np.digitize(rows[:, 0], [0]), group_id=np.repeat(range(8), 10)
        ),
    }
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models.items():
            saved = Path(folder) / "model.cbm"
            model.save_model(str(saved))
            predicted = np.asarray(cb.CatBoost.predict(model, ROWS, prediction_type="RawFormulaVal"))
            made.append((f"catboost-{cb.__version__}-{name}", model, saved.read_bytes(), predicted))
    return made


if __name__ == "__main__":
    sys.exit(main())
