"""``missing=`` of an XGBoost wrapper beside categories that have values of their own: its answers on the frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from models.xgboost_models import save

from millwork import triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, Source
from millwork.compile.frontends.read import read
from millwork.compile.runners.load import runner
from millwork.passes import base, pass_table
from millwork.passes.program import run
from millwork.storage import tables

STRINGS, INTEGERS, MIXED = ["red", "green", "blue", "-999"], [-999, 10, 2, 1], ["c", "a"]
N = 300


def frame(known: list[Any], sentinel: float, seed: int) -> pd.DataFrame:
    """Numbers, some of them the sentinel or missing; two category columns, some of them missing."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-2, 5, N).astype(float)
    numbers[rng.random(N) < 0.1] = sentinel
    numbers[rng.random(N) < 0.05] = np.nan
    made = pd.DataFrame({"kind": rng.integers(0, len(known), N), "n": numbers, "other": rng.integers(0, 2, N)})
    made["kind"] = pd.Categorical.from_codes(made["kind"], categories=pd.Index(known))
    made["other"] = pd.Categorical.from_codes(made["other"], categories=pd.Index(known[:0:-2]))
    made.loc[rng.random(N) < 0.1, "kind"] = None
    return made


@pytest.mark.parametrize("known", [STRINGS, INTEGERS], ids=["strings", "integers"])
@pytest.mark.parametrize(
    "missing", [-999.0, np.float64(-999), 0, 0.0, 1, 3, 4, 0.1, 1 + 1e-12, 2**24 + 1, float("nan")]
)
def test_a_sentinel_beside_categories_is_answered_as_xgboost_does(
    known: list[Any], missing: Any, tmp_path: Path
) -> None:
    training, asked = frame(known, float(missing), 0), frame(known, float(missing), 1)
    label = training["kind"].cat.codes * 2.0 + training["n"].fillna(9) + (training["other"] == known[-1]) * 5
    model = xgb.XGBRegressor(
        n_estimators=6, max_depth=6, max_cat_to_onehot=1, enable_categorical=True, missing=missing, n_jobs=1
    ).fit(training, label)
    loaded = read(save(model, tmp_path / "model.pkl"), tmp_path)
    asked.to_parquet(tmp_path / "rows.parquet")
    given = tables.read(tmp_path / "rows.parquet", loaded.signature.features)
    wanted = model.predict(asked)[:, None]
    np.testing.assert_allclose(run(loaded.program, given.rows, given.categories), wanted, rtol=1e-5, atol=1e-5)

    (tmp_path / "model.ubj").write_bytes(loaded.native)
    oracle = runner("xgboost_runner")(tmp_path / "model.ubj", loaded.signature.oracle.parameters, 1)
    np.testing.assert_allclose(oracle.predict(given.rows, given.categories), wanted, rtol=1e-5, atol=1e-5)
    codes = {0, 1, 2, 3} & {float(np.float32(missing))}
    assert any("also the place of a category" in note for note in loaded.signature.notes) == bool(codes)


@pytest.mark.parametrize("backend", ["onnx", "fil", "native", "tensor"])
@pytest.mark.parametrize("missing", [-999.0, 1.0])
def test_every_backend_answers_a_sentinel_beside_categories(backend: str, missing: float, tmp_path: Path) -> None:
    training = frame(STRINGS, missing, 0)
    label = training["kind"].cat.codes * 2.0 + training["n"].fillna(9)
    model = xgb.XGBRegressor(
        n_estimators=4, max_depth=5, max_cat_to_onehot=1, enable_categorical=True, missing=missing, n_jobs=1
    ).fit(training, label)
    loaded = read(save(model, tmp_path / "model.pkl"), tmp_path)
    training.to_parquet(tmp_path / "rows.parquet")
    given = tables.read(tmp_path / "rows.parquet", loaded.signature.features)
    lowered = base.run(pass_table.LOWERING, loaded.program).program
    source = Source(native="", signature=loaded.signature)
    made = backends.find(backend).build(lowered, source, tmp_path, triton_releases.find("25.12"))
    assert isinstance(made, Artifact), made
    engine = runner(made.runner)(tmp_path / made.model_file, made.parameters, 1)
    got = engine.predict(given.rows, given.categories)
    np.testing.assert_allclose(got, model.predict(training)[:, None], rtol=1e-5, atol=1e-5)
