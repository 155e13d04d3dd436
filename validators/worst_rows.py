"""The rows that a candidate answers worst, with what was asked and both answers: where a reader begins to look."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..values import FeatureContract, WorstRow
from .rows.given import Given

MOST, MOST_INPUTS, MOST_OUTPUTS = 5, 40, 8


def worst_rows(
    given: Given,
    framework: npt.NDArray[np.float32],
    candidate: npt.NDArray[np.float32],
    features: FeatureContract,
    adversarial: int,
) -> tuple[WorstRow, ...]:
    """At most five, the worst first; none where all are answered to the bit. Answers [N, K]."""
    same = (framework == candidate) | (np.isnan(framework) & np.isnan(candidate))
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(framework.astype(np.float64) - candidate.astype(np.float64))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart)).max(axis=1, initial=0.0)
    order = np.argsort(-apart, kind="stable")[:MOST]
    return tuple(
        WorstRow(
            row=int(row) - adversarial,
            inputs=_inputs(given, int(row), features),
            framework=_words(framework[row]),
            candidate=_words(candidate[row]),
            difference=float(min(apart[row], np.finfo(np.float64).max)),
        )
        for row in order
        if apart[row] > 0
    )


def _inputs(given: Given, row: int, features: FeatureContract) -> tuple[tuple[str, str], ...]:
    numbers = dict(zip(features.names, given.numbers[row].tolist(), strict=False))
    codes: dict[str, Any] = {}
    if given.categories is not None:
        codes = dict(zip(features.category_names, given.categories[row].tolist(), strict=False))
    said = {name: f"{value:.9g}" for name, value in numbers.items()} | {name: str(code) for name, code in codes.items()}
    names = [name for name in features.all_names if name in said][:MOST_INPUTS]
    return tuple((name, said[name]) for name in names)


def _words(answers: npt.NDArray[np.float32]) -> tuple[str, ...]:
    return tuple(f"{value:.9g}" for value in answers[:MOST_OUTPUTS].tolist())
