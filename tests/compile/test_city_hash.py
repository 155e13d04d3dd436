"""Our hash of a category's text is CatBoost's own, of every length and of any letters."""

from __future__ import annotations

import json
from pathlib import Path

import catboost as cb
import numpy as np
import pytest
from models.catboost_models import QUIET

from millwork.compile.frontends.catboost.city_hash import category_hash

LETTERS = "abcdefghijklmnopqrstuvwxyz \u00e9\u00fc\u0448\u9752\U0001f600"


def texts() -> list[str]:
    """One of each length in bytes up to 150, then some of any letters."""
    rng = np.random.default_rng(0)
    plain = ["".join(rng.choice(list(LETTERS[:27]), n)) for n in range(151)]
    return list(
        dict.fromkeys([*plain, *("".join(rng.choice(list(LETTERS), n)) for n in range(1, 60)), "-7", "0", "nan"])
    )


@pytest.fixture(scope="module")
def hashes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """CatBoost's, as it writes them beside a model that is saved with a pool of the texts."""
    words = np.array(texts(), object)[:, None]
    pool = cb.Pool(words, np.arange(len(words)) % 2, cat_features=[0])
    model = cb.CatBoost({**QUIET, "iterations": 1, "loss_function": "Logloss"}).fit(pool)
    path = tmp_path_factory.mktemp("hashes") / "model.json"
    model.save_model(str(path), format="json", pool=pool)
    pairs = json.loads(Path(path).read_text())["features_info"]["cat_features_hash"]
    return {str(pair["value"]): int(pair["hash"]) for pair in pairs}


def test_every_length_and_any_letters(hashes: dict[str, int]) -> None:
    assert set(texts()) - {""} <= set(hashes)
    assert {len(text.encode()) for text in hashes} >= set(range(1, 151))
    wrong = {
        text: (category_hash(text), own) for text, own in hashes.items() if category_hash(text) % 2**32 != own % 2**32
    }
    assert wrong == {}
