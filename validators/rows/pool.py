"""Random numbers near a model's thresholds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...passes.forest import Forest, Rows
from ...passes.program import Program


@dataclass(frozen=True, eq=False)
class Pool:
    """Every feature's distinct thresholds, one after the other; a feature that none tests has a 0."""

    values: npt.NDArray[np.float32]
    start: npt.NDArray[np.int64]

    @classmethod
    def of(cls, forest: Forest) -> Pool:
        tests = ~forest.is_leaf & ~forest.is_categorical
        return cls._of(forest.feature[tests], forest.threshold[tests], forest.n_features)

    @classmethod
    def of_columns(cls, program: Program) -> Pool:
        """The same of the client's columns; the borders that CTRs compare them with are thresholds too."""
        forest = program.forest
        tests = ~forest.is_leaf & ~forest.is_categorical
        column, threshold = program.columns[forest.feature[tests]], forest.threshold[tests]
        ctrs = () if program.categories is None else program.categories.ctrs
        column = np.concatenate([column, *(ctr.columns for ctr in ctrs)])
        threshold = np.concatenate([threshold, *(ctr.borders for ctr in ctrs)])
        own = column < program.n_columns
        return cls._of(column[own], threshold[own], program.n_columns)

    @classmethod
    def _of(cls, feature: npt.NDArray[np.int32], threshold: npt.NDArray[np.float32], width: int) -> Pool:
        order = np.lexsort((threshold, feature))
        bounds = np.searchsorted(feature[order], np.arange(max(width, 1) + 1))
        columns = [np.unique(threshold[order[a:b]]) for a, b in itertools.pairwise(bounds)]
        columns = [column if len(column) else np.zeros(1, np.float32) for column in columns]
        start = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
        return cls(np.concatenate(columns).astype(np.float32), start)

    def draw(self, rng: np.random.Generator, rows: int, width: int, *, infinite: float = 0.0) -> Rows:
        """Random thresholds, nudged by a float or not; some NaN, zeros of both signs, extremes; and infinities in the
        share ``infinite`` of the rows. XGBoost names no leaf for a row that holds one, so the tests' own rows don't."""
        size = np.diff(self.start)[:width]
        at = self.start[:width] + (rng.random((rows, width)) * size).astype(np.int64)
        out = nudge(self.values[at], rng.integers(-1, 2, (rows, width)))
        special = np.array([np.nan, 0.0, -0.0, 1e-44, 1e38, -1e38], np.float32)
        weights = np.array([8, 1, 1, 0.5, 0.5, 0.5])
        odd = rng.random((rows, width)) < 0.08
        out[odd] = rng.choice(special, int(odd.sum()), p=weights / weights.sum())
        where = (rng.random((rows, 1)) < infinite) & (rng.random((rows, width)) < 0.1)
        out[where] = rng.choice(np.array([np.inf, -np.inf], np.float32), int(where.sum()))
        return out


def nudge(values: npt.NDArray[np.float32], by: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """One float down, none, or one up."""
    with np.errstate(over="ignore", under="ignore"):
        below = np.nextafter(values, np.float32(-np.inf))
        above = np.nextafter(values, np.float32(np.inf))
    return np.where(by < 0, below, np.where(by > 0, above, values))
