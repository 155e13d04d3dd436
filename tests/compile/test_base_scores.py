"""The margin that trees are added to, as XGBoost makes it of the stored base score, where labels have no spread too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from models import xgboost_models
from models.xgboost_models import rows, target

from millwork.compile.frontends import objectives
from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.read import read
from millwork.errors import ModelError
from millwork.passes.program import run


def test_the_base_margin_is_rounded_as_xgboost_rounds_it() -> None:
    """Asked of XGBoost: a model of one leaf that is 0."""
    flat = xgb.DMatrix(np.zeros((4, 1)))
    for name, scores in {
        "binary:logistic": [0.001, 0.1, 0.3, 0.5, 0.7, 0.999],
        "reg:logistic": [0.2, 0.9],
        "count:poisson": [0.01, 0.5, 3.0, 1e6],
        "reg:gamma": [0.3, 7.0],
        "reg:tweedie": [0.3, 7.0],
        "reg:squarederror": [-3.3, 0.1, 1e9],
    }.items():
        link = objectives.XGBOOST[name].link
        for score in scores:
            model = xgb.train(
                {"objective": name, "base_score": score}, xgb.DMatrix(np.zeros((4, 1)), np.full(4, 0.5)), 0
            )
            assert objectives.base_margin(link, score) == model.predict(flat, output_margin=True)[0]


@pytest.mark.parametrize("score", [1.5, -0.1, float("nan")])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_base_score_that_is_no_probability_is_refused(score: float, bounded: bool) -> None:
    with pytest.raises(ModelError, match="base_score"):
        objectives.base_margin("logit", score, bounded=bounded)


ZEROS, ONES = np.zeros(len(rows())), np.ones(len(rows()))
SOME = (target(rows()) > 0).astype(float)
DEGENERATE: dict[str, tuple[dict[str, Any], Any]] = {
    "binary:logistic of zeros": ({}, ZEROS),
    "binary:logistic of ones": ({}, ONES),
    "binary:logistic, base score of 0": ({"base_score": 0.0}, SOME),
    "binary:logistic, base score of nearly 1": ({"base_score": 1 - 1e-7}, SOME),
    "binary:logistic, dart, of zeros": ({"booster": "dart"}, ZEROS),
    "binary:logistic, gblinear, of zeros": ({"booster": "gblinear"}, ZEROS),
    "binary:logistic, labels of zeros and of ones": ({}, np.column_stack([ZEROS, SOME, ONES])),
    "binary:logistic, vector leaves": (
        {"multi_strategy": "multi_output_tree"},
        np.column_stack([ZEROS, SOME, ONES]),
    ),
    "binary:logistic, no round": ({"rounds": 0}, SOME),
    "binary:logitraw of zeros": ({}, ZEROS),
    "binary:hinge of zeros": ({}, ZEROS),
    "reg:logistic of ones": ({}, ONES),
    "count:poisson of zeros": ({}, ZEROS),
    "count:poisson of zeros, and of others": ({}, np.column_stack([ZEROS, SOME, ONES])),
    "count:poisson, gblinear, of zeros": ({"booster": "gblinear"}, ZEROS),
    "count:poisson, base score of nearly 0": ({"base_score": 1e-46}, SOME),
    "count:poisson, no round": ({"rounds": 0}, SOME + 3),
    "reg:gamma of nearly zeros": ({}, ZEROS + 1e-20),
    "multi:softprob of one class": ({"num_class": 3}, ZEROS),
    "multi:softprob without a class": ({"num_class": 3}, SOME),
}  # fmt: skip


@pytest.mark.parametrize("case", DEGENERATE)
def test_labels_without_any_spread_are_answered_as_xgboost_does(case: str, tmp_path: Path) -> None:
    settings, labels = DEGENERATE[case]
    name = case.replace(",", " ").split()[0]
    settings = {"objective": name, "nthread": 1, "verbosity": 0, **settings}
    model = xgb.train(settings, xgb.DMatrix(rows(), label=labels), settings.pop("rounds", 2))
    path = tmp_path / "model.ubj"
    model.save_model(path)
    answers = model.predict(xgb.DMatrix(rows())).reshape(len(rows()), -1)
    got = run(read(path, tmp_path).program, rows())
    np.testing.assert_allclose(got[:, -answers.shape[1] :], answers, rtol=2e-6)


@pytest.mark.parametrize(
    ("case", "labels", "said"),
    [
        ("reg:tweedie", ZEROS, "a leaf value is NaN, and so is XGBoost's own answer"),
        (
            "count:poisson",
            None,
            "base_score -1 of count:poisson has no logarithm, so XGBoost answers NaN for every row",
        ),
    ],
)
def test_a_model_that_answers_nan_is_refused_for_that(case: str, labels: Any, said: str, tmp_path: Path) -> None:
    settings = {"objective": case, "max_depth": 2} | ({"base_score": -1.0} if labels is None else {})
    model = xgb.train(settings, xgb.DMatrix(rows(), label=SOME if labels is None else labels), 2)
    assert np.isnan(model.predict(xgb.DMatrix(rows()))).all()
    with pytest.raises(ModelError, match=said):
        read(xgboost_models.save(model, tmp_path / "m.json"), tmp_path)


def test_margins_of_minus_infinity_are_refused_and_the_answers_of_zero_are_not(tmp_path: Path) -> None:
    model = xgb.train({"objective": "count:poisson"}, xgb.DMatrix(rows(), label=ZEROS), 2)
    assert np.isneginf(model.predict(xgb.DMatrix(rows()), output_margin=True)).all()
    with pytest.raises(ModelError, match=r"margins are minus infinity.*\nLeave --output margin out"):
        read(xgboost_models.save(model, tmp_path / "m.json"), tmp_path, LoadOptions(margin=True))


def test_a_probability_of_zero_is_refused_of_a_version_that_refuses_it(tmp_path: Path) -> None:
    def older(document: dict[str, Any]) -> None:
        document["version"] = [3, 1, 3]

    model = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(rows(), label=ZEROS), 2)
    with pytest.raises(ModelError, match=r"must lie between 0 and 1 \(XGBoost takes 0 and 1 themselves from 3\.2 on\)"):
        read(xgboost_models.edited(model, tmp_path / "m.json", older), tmp_path)
