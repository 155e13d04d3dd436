"""The task's metric on labelled rows, candidate against framework, with a paired bootstrap interval.

Logloss for classifiers, RMSE for the rest: both are a mean over rows, so that a paired resample costs one product. Of
a classifier the area under the ROC curve and the calibration error too: see :mod:`.auc`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..values import Interval, Metric, OutputContract
from . import auc

RESAMPLES = 1000
SMALLEST = np.finfo(np.float32).tiny

Answers = npt.NDArray[Any]


def compare(
    output: OutputContract, labels: npt.NDArray[Any], framework: Answers, candidate: Answers
) -> tuple[Metric, ...]:
    """The metrics of both on the same rows, answers [N, K], the one that decides first: those rows that both answer
    with numbers (a net's unknown codes are answered NaN). None where there are none, or :func:`metric_free`."""
    if metric_free(output):
        return ()
    finite = np.isfinite(framework).all(axis=1) & np.isfinite(candidate).all(axis=1)
    labels, framework, candidate = labels[finite], framework[finite], candidate[finite]
    if len(labels) == 0:
        return ()
    if output.task in ("binary", "multiclass"):
        weights = class_weights(output, labels)
        loss = _mean_metric("logloss", _logloss(framework, weights), _logloss(candidate, weights), root=False)
        return (loss, *auc.classifier_metrics(output, weights, framework, candidate))
    truth = _numeric(labels)
    return (_mean_metric("rmse", _squared(framework, truth), _squared(candidate, truth), root=True),)


def require_labels(output: OutputContract, labels: npt.NDArray[Any]) -> None:
    """UsageError where :func:`compare` couldn't use these labels: known before any candidate is judged."""
    if metric_free(output) or len(labels) == 0:
        return
    if output.task in ("binary", "multiclass"):
        class_weights(output, labels)
    else:
        _numeric(labels)


def metric_free(output: OutputContract) -> bool:
    """Margins, rankings and survival times have no one metric; several values have no one column of labels."""
    several = output.task not in ("binary", "multiclass") and len(output.labels) > 1
    return output.kind in ("margin", "label") or output.task in ("ranking", "survival") or several or _scores(output)


def _scores(output: OutputContract) -> bool:
    """A classifier whose answers are no probabilities (binary:logitraw's)."""
    return output.task in ("binary", "multiclass") and output.kind != "probability"


def class_weights(output: OutputContract, labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How much each class counts on each row, [N, K]: 1 for the label's. A binary model may have been trained on
    probabilities of its second class; those are taken as they are."""
    soft = output.task == "binary" and labels.dtype.kind == "f" and bool(np.all((labels >= 0) & (labels <= 1)))
    if soft and not np.all((labels == 0) | (labels == 1)):
        return np.stack([1 - labels, labels], axis=1).astype(np.float64)
    return np.asarray(np.eye(len(output.labels))[class_index(output, labels)])


def class_index(output: OutputContract, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Labels as rows of the model's classes. UsageError for a label that the model doesn't know."""
    missing = np.flatnonzero([value is None or value != value for value in labels.tolist()])
    if len(missing):
        raise UsageError(f"row {missing[0]} of the label column has no label", "Leave out such rows.")
    index = {label: i for i, label in enumerate(output.labels)}
    # 1, 1.0, True and "True" may all name one class: a file's column and the model's labels need not agree on a type.
    index |= {same: i for i, label in enumerate(output.labels) if (same := _canonical(label)) not in index}
    plain = [text if (text := _plain(value)) in index else _canonical(text) for value in labels.tolist()]
    unknown = sorted({value for value in plain if value not in index})
    if unknown:
        raise UsageError(
            f"the label column holds {unknown[0]!r}, which isn't one of the model's classes",
            f"The model's classes: {', '.join(output.labels[:12])}.",
        )
    return np.array([index[value] for value in plain], np.int64)


def _plain(value: object) -> str:
    """A label of a file as text; a whole number, or a truth value, as that of an integer."""
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    return str(value)


def _canonical(label: str) -> str:
    """A model's label as :func:`_plain` writes the same value: ``1.0`` and ``True`` are ``1``."""
    if label in ("True", "False"):
        return str(int(label == "True"))
    try:
        return _plain(float(label))
    except ValueError:
        return label


def _numeric(labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    try:
        truth = labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the label column isn't numeric: {error}") from error
    if not np.all(np.isfinite(truth)):
        raise UsageError("the label column has missing or infinite values", "Leave out those rows.")
    return truth


def _logloss(answers: Answers, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    surprise = -np.log(np.clip(answers.astype(np.float64), SMALLEST, None))
    return np.asarray((weights * surprise).sum(axis=1))


def _squared(answers: Answers, truth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.square(answers[:, 0].astype(np.float64) - truth)


def _mean_metric(
    name: str, framework: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64], *, root: bool
) -> Metric:
    finish = np.sqrt if root else np.positive
    a, b = float(finish(framework.mean())), float(finish(candidate.mean()))
    n = len(framework)
    rng = np.random.default_rng(0)
    if np.array_equal(framework, candidate):
        low = high = 0.0
    else:
        # Resampling rows is drawing each row's count from a multinomial: Poisson(1) counts, normalised, come close
        # and cost one matrix product a block.
        counts = rng.poisson(1.0, (RESAMPLES, n)).astype(np.float32) if n <= 20_000 else None
        pair = np.stack([framework, candidate], axis=1)
        means = (
            counts @ pair / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            if counts is not None
            else np.stack([pair[rng.integers(0, n, n)].mean(axis=0) for _ in range(200)])
        )
        difference = finish(means[:, 1]) - finish(means[:, 0])
        low, high = (float(q) for q in np.quantile(difference, [0.025, 0.975]))
    return Metric(name=name, framework=a, candidate=b, difference=Interval(low=low, high=high), rows=n)
