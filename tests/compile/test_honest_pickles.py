"""Honest files of several versions of the frameworks, every protocol and every compression of joblib's: each is read,
its native model is the one that version itself saves, and the framework's answers are the same to the bit.

The files, and how they were made, are in files/honest.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import catboost as cb
import numpy as np
import pytest
import xgboost as xgb

from millwork.compile.frontends import ubjson
from millwork.compile.frontends.pickles import read_pickle
from millwork.compile.frontends.sniff import sniff

FOLDER = Path(__file__).parent / "files" / "honest"
KEPT: dict[str, dict[str, str]] = json.loads((FOLDER / "answers.json").read_text())
ROWS = np.random.default_rng(3).normal(size=(20, 3)).astype(np.float32)


def test_every_file_is_kept() -> None:
    assert {path.name for path in FOLDER.iterdir()} - {"answers.json", "make_honest.py"} == set(KEPT)
    assert len(KEPT) >= 100
    assert len({file.split("-")[0] + file.split("-")[1] for file in KEPT}) >= 9  # versions
    assert len({file.split("-")[3] for file in KEPT}) == 13  # ways of writing


@pytest.mark.parametrize("file", KEPT)
def test_it_is_read_to_the_bit(file: str) -> None:
    assert sniff(FOLDER / file) == "pickle"
    read = read_pickle(FOLDER / file)
    framework, _, estimator, _ = file.split("-")
    assert (read.framework, read.estimator) == (framework, estimator)
    native = ubjson.member(read.payload, "Model") if read.framework == "xgboost" else read.payload
    assert hashlib.sha256(native).hexdigest() == KEPT[file]["native"]
    wanted = np.frombuffer(bytes.fromhex(KEPT[file]["predicted"]), KEPT[file]["dtype"])
    found = np.asarray(_predicted(read.framework, native))
    assert found.dtype == wanted.dtype
    assert found.tobytes() == wanted.tobytes()


def _predicted(framework: str, native: bytes) -> Any:
    """By the version that is installed here."""
    if framework == "xgboost":
        return xgb.Booster({"nthread": 1}, model_file=bytearray(native)).predict(xgb.DMatrix(ROWS, nthread=1))
    return cb.CatBoost().load_model(blob=native).predict(ROWS, prediction_type="RawFormulaVal", thread_count=1)
