"""Metrics of a classifier that are no mean over rows: the area under the ROC curve, and the calibration error.

Both are compared by a paired bootstrap: the rows of a resample are the same for the framework and the candidate. A
resample is a count for each row (Poisson, of mean 1), so that each metric is some sums of counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..values import Interval, Metric, OutputContract

RESAMPLES = 200
MOST_ROWS = 20_000
"""Rows that are resampled; more of them are sampled once, seeded."""
BINS = 15
"""Of confidences, as wide as one another: Guo et al., "On calibration of modern neural networks", 2017."""

Floats = npt.NDArray[np.float64]
Scored = Callable[[Floats], Floats]
"""Counts [B, N] -> the metric of each resample, [B]."""


def classifier_metrics(
    output: OutputContract, weights: Floats, framework: npt.NDArray[np.floating], candidate: npt.NDArray[np.floating]
) -> tuple[Metric, ...]:
    """AUC (of two classes; the mean over classes, each against the rest, of several) and ECE. ``weights``: how much
    each class counts on each row, [N, K]; answers [N, K], all of it finite."""
    if len(weights) > MOST_ROWS:
        kept = np.sort(np.random.default_rng(0).choice(len(weights), MOST_ROWS, replace=False))
        weights, framework, candidate = weights[kept], framework[kept], candidate[kept]
    found = []
    classes = [1] if output.task == "binary" else list(range(weights.shape[1]))
    present = [k for k in classes if 0 < weights[:, k].sum() < len(weights)]
    if present:
        areas = [
            [_area(answers[:, k].astype(np.float64), weights[:, k]) for k in present]
            for answers in (framework, candidate)
        ]
        found.append(_paired("auc", len(weights), *(_mean(each) for each in areas)))
    found.append(
        _paired("ece", len(weights), *(_calibration(a.astype(np.float64), weights) for a in (framework, candidate)))
    )
    return tuple(found)


def _mean(scored: list[Scored]) -> Scored:
    return lambda counts: np.asarray(np.mean([each(counts) for each in scored], axis=0))


def _area(score: Floats, positive: Floats) -> Scored:
    """The share of pairs of a positive and a negative that are in the right order, a tie counting half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))

    def area(counts: Floats) -> Floats:
        up = np.add.reduceat(counts[:, order] * positive[order], starts, axis=1)
        down = np.add.reduceat(counts[:, order] * (1 - positive[order]), starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        pairs = up.sum(axis=1) * down.sum(axis=1)
        return np.asarray((up * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))

    return area


def _calibration(answers: Floats, weights: Floats) -> Scored:
    """How far the confidence in the class that is decided for is from how often it is the label, over bins of it."""
    decided = answers.argmax(axis=1)
    confidence = answers[np.arange(len(answers)), decided]
    gap = confidence - weights[np.arange(len(answers)), decided]
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    table = np.zeros((len(answers), BINS))
    table[np.arange(len(answers)), np.maximum(bins, 0)] = gap
    return lambda counts: np.asarray(np.abs(counts @ table).sum(axis=1) / np.maximum(counts.sum(axis=1), 1))


def _paired(name: str, rows: int, framework: Scored, candidate: Scored) -> Metric:
    every = np.ones((1, rows))
    counts = np.random.default_rng(0).poisson(1.0, (RESAMPLES, rows)).astype(np.float64)
    difference = candidate(counts) - framework(counts)
    known = difference[np.isfinite(difference)]  # a resample may have no row of a class
    low, high = (float(q) for q in np.quantile(known, [0.025, 0.975])) if len(known) else (0.0, 0.0)
    return Metric(
        name=name,
        framework=float(framework(every)[0]),
        candidate=float(candidate(every)[0]),
        difference=Interval(low=low, high=high),
        rows=rows,
    )
