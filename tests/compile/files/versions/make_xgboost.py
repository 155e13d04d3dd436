"""Writes the files beside it: models saved by several versions of XGBoost, and what each version itself answers.

Run it once in an environment of each version:

    python3.11 -m venv old && old/bin/pip install "xgboost==1.7.6" "numpy<2" scipy pandas
    old/bin/python make_xgboost.py

The files kept were written with xgboost 1.7.6 (numpy<2), 2.1.4, 3.0.5, 3.1.3 (``rare`` and ``none`` alone), 3.2.0 and
3.4.1 (Python 3.12).
``answers.json`` holds, a file: ``rows`` (JSON numbers, NaN among them), ``categories`` where there are any, in the
order of the model's features, and ``answers``, [N, K].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import xgboost as xgb

HERE = Path(__file__).parent
VERSION = xgb.__version__
NUMBERS = tuple(int(part) for part in VERSION.split("."))
NAMES = {(3, 2): ["red", "green", "blue"], (3, 4): ["red", "gr\u00fcn", "\u9752", "\u00e9t\u00e9"]}


def rows(seed: int, n: int):
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, 4)).astype(np.float32)
    out[rng.random(out.shape) < 0.1] = np.nan
    return out


def keep(record, name, model, given, answers, categories=None):
    file = f"xgboost-{VERSION}-{name}.json"
    model.save_model(str(HERE / file))
    answers = np.asarray(answers, np.float32)
    entry = {"rows": given.tolist(), "answers": (answers[:, None] if answers.ndim == 1 else answers).tolist()}
    record[file] = entry if categories is None else {**entry, "categories": categories}


def main() -> int:
    path = HERE / "answers.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    given, asked = rows(0, 150), rows(1, 12)
    number = np.nan_to_num(given, nan=0.5)[:, 0] + np.sin(np.nan_to_num(given)[:, 1] * 2)
    labels = {
        "number": number,
        "two": (number > 0).astype(float),
        "three": np.digitize(number, [-0.5, 0.5]).astype(float),
        "none": np.zeros(len(number)),
        "pair": np.column_stack([number, number**2]),
    }

    def trained(label, rounds=5, **settings):
        return xgb.train({"max_depth": 3, "nthread": 1, **settings}, xgb.DMatrix(given, labels[label]), rounds)

    def ask(model):
        return model.predict(xgb.DMatrix(asked))

    binary = trained("two", objective="binary:logistic")
    p = ask(binary)
    keep(record, "binary", binary, asked, np.column_stack([1 - p, p]))
    three = trained("three", 3, objective="multi:softprob", num_class=3)
    keep(record, "multiclass", three, asked, ask(three))
    dart = trained("number", 6, booster="dart", rate_drop=0.5, seed=2)
    keep(record, "dart", dart, asked, ask(dart))
    if NUMBERS[:2] in {(3, 1), (3, 2)}:  # on both sides of the version that cuts probabilities
        steps = {"eta": 1.0, "max_delta_step": 7.0, "min_child_weight": 0, "lambda": 0}
        rare = trained("two", 2, objective="binary:logistic", base_score=1e-7, **steps)
        p = ask(rare)
        keep(record, "rare", rare, asked, np.column_stack([1 - p, p]))
        none = trained("none", 2, objective="count:poisson")
        keep(record, "none", none, asked, ask(none))
    if NUMBERS >= (2, 1):
        vector = trained("pair", 3, multi_strategy="multi_output_tree", tree_method="hist")
        keep(record, "vector", vector, asked, ask(vector))
    if NUMBERS >= (3, 4):
        crossing = trained("number", 6, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9], eta=1.5)
        answers, margins = ask(crossing), crossing.predict(xgb.DMatrix(asked), output_margin=True)
        assert (np.diff(margins, axis=1) < 0).any(), "quantiles that don't cross show nothing"
        keep(record, "quantiles", crossing, asked, answers)
    if NUMBERS[:2] in NAMES:
        _categories(record, given, asked, number, NAMES[NUMBERS[:2]])
    path.write_text(json.dumps(record, indent=None, sort_keys=True).replace('"xgboost-', '\n"xgboost-') + "\n")
    return 0


def _categories(record, given, asked, number, names):
    import pandas as pd

    def frame(numbers, seed):
        words = np.array([*names, None], object)[np.random.default_rng(seed).integers(0, len(names) + 1, len(numbers))]
        return pd.DataFrame({"a": numbers[:, 0], "colour": pd.Categorical(words, categories=names), "b": numbers[:, 1]})

    training, wanted = frame(given, 3), frame(asked, 4)
    label = number + 2 * (training["colour"] == names[1]) - (training["colour"] == names[2])
    settings = {"max_depth": 3, "nthread": 1, "max_cat_to_onehot": 2}
    model = xgb.train(settings, xgb.DMatrix(training, label, enable_categorical=True), 5)
    answers = model.predict(xgb.DMatrix(wanted, enable_categorical=True))
    words = [[""] if pd.isna(word) else [str(word)] for word in wanted["colour"]]
    keep(record, "strings", model, asked[:, :2], answers, words)


if __name__ == "__main__":
    sys.exit(main())
