"""Writes the files beside it: models pickled by old versions of XGBoost. Run it once in an environment of each:

    python3.11 -m venv old && old/bin/pip install "xgboost==1.7.6" "scikit-learn<1.6" "numpy<2" scipy joblib
    old/bin/python make_pickles.py

The files kept were written with xgboost 1.5.2 (scikit-learn<1.4), 1.7.6, and xgboost-cpu 2.1.4. ``answers.json``
holds what each version itself predicted for the three rows in ``ROWS``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import numpy as np
import xgboost as xgb

HERE = Path(__file__).parent
ROWS = [[0.1, -0.2, 0.3], [-999.0, 1.5, -0.4], [-1.0, -999.0, 0.9]]


def main() -> int:
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(120, 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = -999.0
    labels = (rows[:, 0] + 0.3 * rng.normal(size=120) > 0).astype(int)
    version = xgb.__version__
    answers = HERE / "answers.json"
    record = json.loads(answers.read_text()) if answers.exists() else {}

    stopping = {} if version.startswith("1.5") else {"early_stopping_rounds": 1}
    model = xgb.XGBClassifier(n_estimators=6, max_depth=2, learning_rate=1.0, missing=np.float32(-999.0), **stopping)
    if version.startswith("1.5"):
        model.fit(rows, np.where(labels == 1, "yes", "no"))  # later versions take whole numbers only
    else:
        model.fit(rows[:80], labels[:80], eval_set=[(rows[80:], labels[80:])], verbose=False)
    joblib.dump(model, HERE / f"xgboost-{version}-classifier.joblib", compress=3)
    record[f"xgboost-{version}-classifier.joblib"] = model.predict_proba(np.array(ROWS, np.float32)).tolist()

    booster = xgb.train({"max_depth": 1}, xgb.DMatrix(rows, rows[:, 1], feature_names=["a", "b", "c"]), 2)
    joblib.dump(booster, HERE / f"xgboost-{version}-booster.joblib", compress=("gzip", 9), protocol=2)
    asked = xgb.DMatrix(np.array(ROWS, np.float32), feature_names=["a", "b", "c"])
    record[f"xgboost-{version}-booster.joblib"] = booster.predict(asked).tolist()
    if version.startswith("1.7"):
        booster.save_model(HERE / f"xgboost-{version}.deprecated")

    answers.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
