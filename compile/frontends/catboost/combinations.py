"""Which keys of CatBoost's tables of combinations are made of known categories.

A key mixes its elements v_1 … v_n as h = M (h + M v), so it is linear in them: K = M^(n+1) v_1 + … + M^2 v_n mod 2^64.
What one feature adds therefore follows from the key and the rest, and only one in 2^32 numbers is a hash at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....passes.categories import MULTIPLIER
from .ctr import CATEGORY, EMPTY_BUCKET

Document = Mapping[str, Any]
Hashes = npt.NDArray[np.int64]

BUDGET = 1_000_000_000
"""Sums that are tried for one table: a few seconds."""

FEWEST = 100
"""A sample of fewer keys than that says nothing."""


@dataclass(frozen=True, eq=False)
class Combination:
    """A table: ``categories`` are the features whose hashes are mixed first, ``bits`` how many elements of 0 or 1
    follow, ``keys`` uint64 [n]."""

    categories: tuple[int, ...]
    bits: int
    keys: npt.NDArray[np.uint64]

    def sums(self, sizes: Sequence[int]) -> int:
        """What :func:`explain` tries for each key, where the features have so many known values."""
        known = sorted(max(sizes[c], 1) for c in self.categories)
        return math.prod(known[:-1]) << self.bits

    def work(self, sizes: Sequence[int]) -> int:
        """The same for all keys."""
        return len(self.keys) * self.sums(sizes)


@dataclass(frozen=True, eq=False)
class Explained:
    """``tried`` keys of the table's, ``lacking`` of them made of no known values; ``used``: for each of its features
    which of its values are in some key, bool [V]."""

    tried: int
    lacking: int
    used: tuple[npt.NDArray[np.bool_], ...]


def combinations(document: Document) -> list[Combination]:
    """Every table but those of one feature alone."""
    found: dict[str, Combination] = {}
    count = len(document["features_info"]["categorical_features"])
    for ctr in document["features_info"].get("ctrs") or ():
        elements, identifier = ctr["elements"], ctr["identifier"]
        features = [int(e["cat_feature_index"]) for e in elements if e["combination_element"] == CATEGORY]
        if identifier in found or len(elements) == 1 or not features or not all(0 <= c < count for c in features):
            continue
        found[identifier] = Combination(
            tuple(features), len(elements) - len(features), keys_of(document["ctr_data"][identifier])
        )
    return list(found.values())


def keys_of(table: Document) -> npt.NDArray[np.uint64]:
    """The keys of a table of CTRs."""
    keys = [int(key) for key in table["hash_map"][:: int(table["hash_stride"])]]
    return np.array([key for key in keys if key != EMPTY_BUCKET], np.uint64)


def explain(table: Combination, hashes: Sequence[Hashes]) -> Explained | None:
    """Whether known values make the keys. ``hashes``: of the known values of every feature of the model.

    Where there are too many sums, a seeded sample of the keys is tried; None where that would be too small.
    """
    known = [hashes[c] for c in table.categories]
    last = int(np.argmax([len(own) for own in known]))
    sums = table.sums([len(own) for own in hashes])
    keys = table.keys
    if table.work([len(own) for own in hashes]) > BUDGET:
        if BUDGET // sums < FEWEST:
            return None
        keys = np.random.default_rng(0).choice(keys, BUDGET // sums, replace=False)
    factors = _factors(len(known) + table.bits)
    shape = [1 if i == last else len(own) for i, own in enumerate(known)] + [2] * table.bits
    shares = np.zeros(1, np.uint64)
    for i, factor in enumerate(factors):
        own = np.arange(2) if i >= len(known) else known[i] if i != last else np.zeros(1, np.int64)
        shares = (shares[:, None] + factor * own.astype(np.int64).view(np.uint64)).ravel()
    if not len(shares):
        return Explained(len(keys), len(keys), tuple(np.zeros(len(own), np.bool_) for own in known))
    undo = np.uint64(pow(int(factors[last]), -1, 1 << 64))
    explained = np.zeros(len(keys), np.bool_)
    used = tuple(np.zeros(len(own), np.bool_) for own in known)
    order = np.argsort(known[last])
    step = max(1, (1 << 20) // len(shares))
    for start in range(0, len(keys), step):
        left = (undo * (keys[start : start + step, None] - shares)).view(np.int64)
        row, column = np.nonzero((left >= -(2**31)) & (left < 2**31))
        place = np.searchsorted(known[last][order], left[row, column])
        there = place < len(order)
        there[there] = known[last][order[place[there]]] == left[row, column][there]
        explained[start + row[there]] = True
        used[last][order[place[there]]] = True
        for i, positions in enumerate(np.unravel_index(column[there], shape)[: len(known)]):
            if i != last:
                used[i][positions] = True
    return Explained(len(keys), int(np.sum(~explained)), used)


def _factors(elements: int) -> list[np.uint64]:
    """What each element of a key is multiplied by, the first one first."""
    return [np.uint64(pow(int(MULTIPLIER), power, 1 << 64)) for power in range(elements + 1, 1, -1)]
