"""Which texts CatBoost's hashes stand for. A model holds 32-bit hashes of its categories, not their values.

They are recovered from what knows them: the export itself, where it was written with its training pool; the user's
rows; and small integers, which are tried. What isn't recovered is told, feature by feature: every key of a table of one
feature alone, and every one-hot value, must be the hash of a known value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelError
from ...passes.categories import mix
from .catboost_ctr import CATEGORY, EMPTY_BUCKET
from .city_hash import category_hash

Document = Mapping[str, Any]

TRIED_INTEGERS = range(-100, 10_001)
"""Codes of categories are often small integers: no table is needed to know their hashes."""


@dataclass(frozen=True)
class Vocabulary:
    """``words``: for each categorical feature its known values as text, sorted. ``integer``: all are whole numbers."""

    words: tuple[tuple[str, ...], ...]
    integer: bool


def recover(document: Document, names: Sequence[str], given: Sequence[Sequence[str]] | None, path: str) -> Vocabulary:
    """``given``: the distinct values of each feature in the user's rows, or None without rows.

    ModelError where values stay unknown, with what to do.
    """
    features = document["features_info"]["categorical_features"]
    demanded = [_hashes_of(document, c) for c in range(len(features))]
    exported = [str(pair["value"]) for pair in document["features_info"].get("cat_features_hash") or ()]
    known = {word: category_hash(word) for word in exported}
    integers = {str(i): category_hash(str(i)) for i in TRIED_INTEGERS}
    words: list[tuple[str, ...]] = []
    lacking: list[str] = []
    for c, wanted in enumerate(demanded):
        own = {word: category_hash(word) for word in (given[c] if given is not None else ())}
        own |= {word: h for word, h in known.items() if h in wanted}
        left = wanted - set(own.values())
        if left:  # only where they explain what is left, else they would be taken for values of any feature
            own |= {word: h for word, h in integers.items() if h in left}
        left = wanted - set(own.values())
        if left:
            lacking.append(f"{names[c]} ({len(left):,} of {len(wanted):,})")
        words.append(tuple(sorted(own)))
    if lacking or not any(words):
        raise ModelError(
            f"{path}: holds hashes of its categories, and the values behind them are not known: "
            f"{', '.join(lacking) or ', '.join(names)}",
            "Give rows that have every category, such as those of the training: --data FILE. Or export the model with "
            'its pool: model.save_model("model.json", format="json", pool=pool).',
        )
    integer = all(_is_integer(word) for own in words for word in own)
    return Vocabulary(tuple(words), integer)


def _hashes_of(document: Document, feature: int) -> set[int]:
    """Every 32-bit hash of the feature's that the model is known to hold: one-hot values, and the keys of tables that
    are of this feature alone."""
    information = document["features_info"]
    found = {int(value) for value in information["categorical_features"][feature].get("values") or ()}
    seen: set[str] = set()
    for ctr in information.get("ctrs") or ():
        elements = ctr["elements"]
        alone = len(elements) == 1 and elements[0]["combination_element"] == CATEGORY
        if not alone or int(elements[0]["cat_feature_index"]) != feature or ctr["identifier"] in seen:
            continue
        seen.add(ctr["identifier"])
        table = document["ctr_data"][ctr["identifier"]]
        keys = np.array([int(key) for key in table["hash_map"][:: int(table["hash_stride"])]], np.uint64)
        found |= set(unmix(keys[keys != np.uint64(EMPTY_BUCKET)]).tolist())
    return found


def unmix(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The hash of which a key was made: M is odd, so h = M (M v) is undone by its inverse modulo 2^64."""
    inverse = np.uint64(pow(_MULTIPLIER, -1, 1 << 64))
    return (keys * inverse * inverse).view(np.int64)


_MULTIPLIER = int(mix(np.ones(1, np.uint64), np.zeros(1, np.int64))[0])


def _is_integer(word: str) -> bool:
    """Written as an integer is: 7 and -3, not 07, +3 or 1.0."""
    return word.lstrip("-").isdecimal() and word.isascii() and str(int(word)) == word and abs(int(word)) < 2**63
