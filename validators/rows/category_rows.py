"""Categories for the rows that tests are tried with: codes that lead to a node, and values that a client sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...passes.categories import Categories
from ...passes.forest import Forest

UNSEEN = ("", "never seen before", "NaN", "\u00fcnseen \u4e2d")
"""Texts that are no model's category, but for odd ones: those are then simply known."""

NO_CATEGORY = np.array([-1, -0.5, 1 << 24, 1 << 25, 1e30], np.float32)
"""Numbers that are no category, whatever the model."""


@dataclass(frozen=True, eq=False)
class Allowed:
    """Which codes of each categorical feature lead to some nodes: ``codes`` bool [C, features, categories + 1], the
    last for whatever is in no set; ``features``: their numbers in the forest."""

    features: npt.NDArray[np.int32]
    codes: npt.NDArray[np.bool_]


def allowed(forest: Forest, nodes: npt.NDArray[np.intp]) -> Allowed:
    """For C nodes: the categories that every categorical test above them lets through."""
    features, member = forest.category_features(), forest.membership()
    place = np.full(forest.n_features + 1, -1)
    place[features] = np.arange(len(features))
    codes = np.ones((len(nodes), len(features), forest.n_categories + 1), np.bool_)
    parent, is_left = forest.parents()
    row, below = np.arange(len(nodes)), nodes.astype(np.int32)
    while len(row) and len(features):
        above = parent[below]
        alive = above >= 0
        row, below, above = row[alive], below[alive], above[alive]
        of_category = forest.category_set[above] >= 0
        r, a, left = row[of_category], above[of_category], is_left[below[of_category]]
        codes[r, place[forest.feature[a]]] &= member[forest.category_set[a]] ^ left[:, None]
        below = above
    return Allowed(features, codes)


def pick(codes: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each row of [..., categories + 1] one that is True, at random; the last where none is."""
    chosen = np.where(codes, rng.random(codes.shape, np.float32), np.float32(-1)).argmax(axis=-1)
    return np.asarray(np.where(codes.any(axis=-1), chosen, codes.shape[-1] - 1))


def as_numbers(chosen: npt.NDArray[np.int64], n_categories: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Codes as a client may send them: some with a fraction, which is cut off; ``n_categories`` as no category."""
    fraction = np.where(rng.random(chosen.shape) < 0.1, rng.choice([0.25, 0.5, 0.9], chosen.shape), 0.0)
    none = np.append(NO_CATEGORY, np.float32(n_categories))
    return np.where(chosen < n_categories, chosen + fraction, rng.choice(none, chosen.shape)).astype(np.float32)


def values(categories: Categories, feature: int, known: npt.NDArray[np.int64], rng: np.random.Generator) -> Any:
    """Positions in the feature's vocabulary as what a client sends, [N]; other ones as a value that isn't known."""
    words = categories.vocabularies[feature]
    if categories.integer:
        largest = max(map(int, words), default=0)
        other = np.array([largest + 1, np.iinfo(np.int64).min, -(1 << 40)])
        table = np.array([int(word) for word in words] or [0], np.int64)
    else:
        unknown = [word for word in UNSEEN if word not in words] or ["\u0001"]
        other, table = np.array(unknown, object), np.array(words or [""], object)
    inside = (known >= 0) & (known < len(words))
    return np.where(inside, table[np.where(inside, known, 0)], rng.choice(other, known.shape))


def stacked(columns: list[Any], rows: int, categories: Categories) -> Any:
    """Columns of values as one array [N, C], texts or int64."""
    if not columns:
        return np.zeros((rows, 0), np.int64 if categories.integer else object)
    return np.stack(columns, axis=1)
