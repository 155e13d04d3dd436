"""The task's metric: scikit-learn's, on labels of every type, with an interval of the difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from millwork.errors import UsageError
from millwork.validators.metrics import class_index, compare, require_labels
from millwork.values import Metric, OutputContract


def output(*labels: str, task: Any = "multiclass", kind: Any = "probability") -> OutputContract:
    return OutputContract(kind=kind, task=task, labels=labels)


REGRESSION = output("value", task="regression", kind="value")


def first(found: tuple[Metric, ...]) -> Metric:
    return found[0]


def probabilities(rng: np.random.Generator, rows: int, classes: int) -> Any:
    power = np.exp(rng.normal(size=(rows, classes)))
    return (power / power.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 4])
def test_logloss_is_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    answers, labels = probabilities(rng, 500, classes), rng.integers(0, classes, 500)
    names = [str(i) for i in range(classes)]
    found = first(compare(output(*names, task="binary" if classes == 2 else "multiclass"), labels, answers, answers))
    assert found is not None
    exact = answers.astype(np.float64) / answers.astype(np.float64).sum(axis=1, keepdims=True)
    assert found.name == "logloss"
    assert found.framework == found.candidate == pytest.approx(log_loss(labels, exact), rel=1e-6)
    assert (found.difference.low, found.difference.high, found.rows) == (0, 0, 500)


def test_rmse_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth, answers = rng.normal(size=300), rng.normal(size=(300, 1)).astype(np.float32)
    found = first(compare(REGRESSION, truth, answers, answers + np.float32(0.5)))
    assert found is not None
    assert found.name == "rmse"
    assert found.framework == pytest.approx(np.sqrt(mean_squared_error(truth, answers[:, 0])))
    assert found.candidate == pytest.approx(np.sqrt(mean_squared_error(truth, answers[:, 0] + np.float32(0.5))))


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("0", "1"), [0, 1, 1]),
        (("0", "1"), [0.0, 1.0, 1.0]),
        (("0", "1"), [False, True, True]),
        (("0", "1"), ["0", "1", "1"]),
        (("0", "1"), ["0.0", "1.0", "1.0"]),
        (("0", "1"), ["False", "True", "True"]),
        (("0.0", "1.0"), [0, 1, 1]),
        (("0.0", "1.0"), [0.0, 1.0, 1.0]),
        (("0.0", "1.0"), ["0.0", "1.0", "1.0"]),
        (("False", "True"), [False, True, True]),
        (("False", "True"), ["False", "True", "True"]),
        (("False", "True"), [0, 1, 1]),
        (("no", "yes"), ["no", "yes", "yes"]),
        (("0.5", "1.5"), [0.5, 1.5, 1.5]),
        (("-1", "1"), [-1, 1, 1]),
        (("-1", "1"), np.array([-1, 1, 1], np.int8)),
        (("10000000000", "20000000000"), [10**10, 2 * 10**10, 2 * 10**10]),
    ],
)
def test_labels_of_every_type_name_the_models_classes(names: tuple[str, ...], labels: Any) -> None:
    assert class_index(output(*names), np.asarray(labels)).tolist() == [0, 1, 1]


def test_labels_that_only_look_alike_stay_apart() -> None:
    assert class_index(output("1", "1.0"), np.array(["1", "1.0"])).tolist() == [0, 1]
    assert class_index(output("True", "1"), np.array(["1", "True"])).tolist() == [1, 0]


@pytest.mark.parametrize(("labels", "shown"), [([0, 2], "'2'"), ([0.0, 0.5], "'0.5'"), (["yes"], "'yes'")])
def test_a_label_that_the_model_doesnt_know(labels: list[Any], shown: str) -> None:
    given = np.array(labels)
    for ask in (lambda: class_index(output("0", "1"), given), lambda: require_labels(output("0", "1"), given)):
        with pytest.raises(UsageError, match=rf"{shown}, which isn't one of the model's classes\n.*classes: 0, 1\."):
            ask()


@pytest.mark.parametrize("labels", [np.array([0.0, np.nan]), np.array([0, None], object)])
def test_a_row_without_a_label_is_named(labels: Any) -> None:
    with pytest.raises(UsageError, match="row 1 of the label column has no label"):
        require_labels(output("0", "1"), labels)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["a", "b"], "isn't numeric"), ([1.0, np.nan], "missing or infinite"), ([1.0, np.inf], "missing or infinite")],
)
def test_labels_of_a_regression_are_numbers(labels: list[Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        compare(REGRESSION, np.array(labels), np.zeros((2, 1), np.float32), np.zeros((2, 1), np.float32))
    with pytest.raises(UsageError, match=said):
        require_labels(REGRESSION, np.array(labels))


def test_margins_and_rankings_have_no_metric() -> None:
    answers, labels = np.zeros((2, 1), np.float32), np.array(["x", "y"])
    for contract in (output("margin", task="binary", kind="margin"), output("value", task="ranking", kind="value")):
        assert compare(contract, labels, answers, answers) == ()
        require_labels(contract, labels)
    assert compare(REGRESSION, labels[:0], answers[:0], answers[:0]) == ()


def test_a_probability_of_0_for_the_true_class_is_finite() -> None:
    answers = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    found = first(compare(output("0", "1", task="binary"), np.array([1, 1]), answers, answers))
    assert found is not None
    assert 40 < found.framework < 50


def test_the_interval_of_the_difference_finds_a_worse_candidate_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=2000)
    framework = (truth + rng.normal(size=2000)).astype(np.float32)[:, None]
    worse = (framework[:, 0] + 0.3 * rng.normal(size=2000)).astype(np.float32)[:, None]
    found = first(compare(REGRESSION, truth, framework, worse))
    assert found is not None
    assert 0 < found.difference.low < found.candidate - found.framework < found.difference.high
    other = (truth + rng.normal(size=2000)).astype(np.float32)[:, None]
    found = first(compare(REGRESSION, truth, framework, other))
    assert found is not None
    assert found.difference.low < 0 < found.difference.high


def test_the_interval_of_many_rows_is_like_that_of_few() -> None:
    """Above 20,000 rows it is found another way."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=20_001)
    framework = (truth + rng.normal(size=20_001)).astype(np.float32)[:, None]
    worse = (framework[:, 0] + 0.3 * rng.normal(size=20_001)).astype(np.float32)[:, None]
    many = first(compare(REGRESSION, truth, framework, worse))
    fewer = first(compare(REGRESSION, truth[1:], framework[1:], worse[1:]))
    assert many is not None
    assert fewer is not None
    assert many.difference.low == pytest.approx(fewer.difference.low, rel=0.1)
    assert many.difference.high == pytest.approx(fewer.difference.high, rel=0.1)


def test_a_binary_model_may_be_judged_by_probabilities_as_labels():
    output = OutputContract(kind="probability", task="binary", labels=("0", "1"), threshold=0.5)
    p = np.array([0.2, 0.9, 0.5], np.float32)
    answers = np.stack([1 - p, p], axis=1)
    soft = np.array([0.3, 1.0, 0.5])
    metric = first(compare(output, soft, answers, answers))
    expected = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean()
    assert metric.framework == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_auc_is_scikit_learns_with_ties(classes: int) -> None:
    rng = np.random.default_rng(classes)
    answers = np.round(probabilities(rng, 400, classes), 2)
    labels = rng.integers(0, classes, 400)
    task = "binary" if classes == 2 else "multiclass"
    found = {m.name: m for m in compare(output(*map(str, range(classes)), task=task), labels, answers, answers)}
    truth = np.eye(classes)[labels]
    each = [roc_auc_score(truth[:, k], answers[:, k]) for k in range(classes)]
    assert found["auc"].framework == pytest.approx(each[1] if classes == 2 else np.mean(each))
    assert (found["auc"].difference.low, found["auc"].difference.high) == (0, 0)


def test_ece_is_the_gap_between_confidence_and_frequency() -> None:
    answers = np.tile(np.array([[0.1, 0.9]], np.float32), (1000, 1))
    labels = (np.arange(1000) < 700).astype(int)
    sure = np.tile(np.array([[0.3, 0.7]], np.float32), (1000, 1))
    found = {m.name: m for m in compare(output("0", "1", task="binary"), labels, answers, sure)}
    assert found["ece"].framework == pytest.approx(0.2, abs=1e-6)
    assert found["ece"].candidate == pytest.approx(0.0, abs=1e-6)
    assert found["ece"].difference.high < 0


def test_an_interval_of_the_auc_covers_a_real_loss_and_not_nothing() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 3000)
    score = labels + rng.normal(size=3000)
    good = 1 / (1 + np.exp(-score))
    noisy = 1 / (1 + np.exp(-(score + rng.normal(size=3000))))
    both = [np.stack([1 - p, p], axis=1).astype(np.float32) for p in (good, noisy)]
    found = {m.name: m for m in compare(output("0", "1", task="binary"), labels, *both)}["auc"]
    assert found.difference.high < 0
    assert found.difference.low < found.candidate - found.framework < found.difference.high


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_rows_that_either_answers_with_no_number_are_left_out(odd: float) -> None:
    binary, labels = output("0", "1", task="binary"), np.array([0, 1, 1, 0])
    framework = np.array([[0.5, 0.5], [odd, odd], [0.25, 0.75], [0.75, 0.25]], np.float32)
    candidate = framework[[0, 0, 2, 3]].copy()
    candidate[3] = odd
    found = compare(binary, labels, framework, candidate)
    assert found == compare(binary, labels[[0, 2]], framework[[0, 2]], candidate[[0, 2]])
    assert {(metric.name, metric.rows) for metric in found} == {("logloss", 2), ("auc", 2), ("ece", 2)}
    assert compare(binary, labels, framework, np.full_like(framework, odd)) == ()
    value = compare(REGRESSION, np.array([1.0, 2.0]), np.array([[1.0], [odd]]), np.array([[1.5], [2.0]]))
    assert [(metric.candidate, metric.rows) for metric in value] == [(0.5, 1)]
