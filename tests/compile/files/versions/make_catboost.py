"""Writes the files beside it: models saved by two versions of CatBoost, and what each version itself answers.

    python3.10 -m venv old && old/bin/pip install "catboost==1.0.6" "numpy<1.24" "pandas<2"
    old/bin/python make_catboost.py

The files kept were written with catboost 1.0.6 (Python 3.10) and 1.2.10. ``answers.json`` is as make_xgboost.py says.
The exports with categories were written with their pools, so that the values are in them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import catboost as cb
import numpy as np
import pandas as pd

HERE = Path(__file__).parent
VERSION = cb.__version__
QUIET = {"iterations": 6, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1, "random_seed": 1}


def rows(seed: int, n: int):
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, 4)).astype(np.float32)
    out[rng.random(out.shape) < 0.1] = np.nan
    return out


def keep(record, name, model, given, answers, categories=None, pool=None):
    file = f"catboost-{VERSION}-{name}.json"
    model.save_model(str(HERE / file), format="json", pool=pool)
    text = json.dumps(json.loads((HERE / file).read_text()), separators=(",", ":"))
    (HERE / file).write_text(text + "\n")
    answers = np.asarray(answers, np.float32)
    entry = {"rows": given.tolist(), "answers": (answers[:, None] if answers.ndim == 1 else answers).tolist()}
    record[file] = entry if categories is None else {**entry, "categories": categories}


def frame(numbers, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": numbers[:, 0],
            "place": rng.choice(["Oslo", "Troms\u00f8", "Bergen", "7"], len(numbers)),
            "kind": rng.choice(["u", "v"], len(numbers)),
            "b": numbers[:, 1],
        }
    )


def main() -> int:
    path = HERE / "answers.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    given, asked = rows(0, 150), rows(1, 12)
    number = np.nan_to_num(given, nan=0.5)[:, 0] + np.sin(np.nan_to_num(given)[:, 1] * 2)
    two, three = (number > 0).astype(int), np.digitize(number, [-0.5, 0.5])

    binary = cb.CatBoost({**QUIET, "loss_function": "Logloss"}).fit(given, two)
    keep(record, "binary", binary, asked, binary.predict(asked, prediction_type="Probability"))
    several = cb.CatBoost({**QUIET, "loss_function": "MultiClass", "grow_policy": "Lossguide"}).fit(given, three)
    keep(record, "multiclass", several, asked, several.predict(asked, prediction_type="Probability"))

    training, wanted = frame(given, 3), frame(asked, 4)
    label = (number + 2 * (training["place"] == "Oslo") - (training["kind"] == "u") > 0).astype(int)
    pool = cb.Pool(training, label, cat_features=["place", "kind"])
    strings = cb.CatBoost({**QUIET, "loss_function": "Logloss", "one_hot_max_size": 2, "max_ctr_complexity": 2}).fit(
        pool
    )
    answers = strings.predict(wanted, prediction_type="Probability")
    words = wanted[["place", "kind"]].values.tolist()
    keep(record, "strings", strings, asked[:, :2], answers, words, pool)

    path.write_text(json.dumps(record, indent=None, sort_keys=True).replace('"catboost-', '\n"catboost-') + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
