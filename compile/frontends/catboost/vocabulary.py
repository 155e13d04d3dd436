"""Which texts CatBoost's hashes stand for. A model holds 32-bit hashes of its categories, not their values.

They are recovered from what knows them: the export itself, where it was written with its training pool; the user's
rows; and small integers, which are tried. What isn't recovered is told, feature by feature: every key of a table of one
feature alone, and every one-hot value, must be the hash of a known value; where a feature has no such table, the keys
of one that combines it with others must be made of known values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.categories import mix
from ....storage.csv_text import as_read, whole_of
from . import combinations as catboost_combinations
from .city_hash import category_hash
from .combinations import Combination
from .ctr import CATEGORY, EXACT

Document = Mapping[str, Any]

TRUTHS = ("0", "1")
"""CatBoost takes a boolean for an integer, whatever the column's dtype."""

TRIED_TEXTS = ("False", "True", "false", "true")
"""What booleans are where somebody made text of them."""

TRIED_INTEGERS = range(-100, 10_001)
"""Codes of categories are often small integers: no table is needed to know their hashes."""


@dataclass(frozen=True)
class Vocabulary:
    """``words``: for each categorical feature its known values as text, sorted, those of the user's rows among them;
    ``known``: those without the ones that the model certainly doesn't know. ``integer``: all are whole numbers.
    ``notes``: what of them couldn't be shown to be all, and which columns of the rows it knows no value of."""

    words: tuple[tuple[str, ...], ...]
    known: tuple[tuple[str, ...], ...]
    integer: bool
    notes: tuple[str, ...] = ()


def recover(document: Document, names: Sequence[str], given: Sequence[Sequence[str]] | None, path: str) -> Vocabulary:
    """``given``: the distinct values of each feature in the user's rows, or None without rows.

    ModelError where values stay unknown, with what to do.
    """
    exported = [str(pair["value"]) for pair in document["features_info"].get("cat_features_hash") or ()]
    known = {word: category_hash(word) for word in exported}
    integers = {word: category_hash(word) for word in (*map(str, TRIED_INTEGERS), *TRIED_TEXTS)}
    words: list[dict[str, int]] = []
    lacking: list[str] = []
    doubtful: set[int] = set()
    known_to_model: list[set[int] | None] = []
    for c in range(len(document["features_info"]["categorical_features"])):
        wanted, whole = _hashes_of(document, c)
        own = _recognised(wanted, given[c] if given is not None else (), known, integers)
        left = wanted - set(own.values())
        if left:
            lacking.append(f"{names[c]} ({len(left):,} of {len(wanted):,})")
        if not whole:
            doubtful.add(c)
        known_to_model.append(wanted if whole else None)
        words.append(own)
    notes: tuple[str, ...] = ()
    if not lacking and doubtful:
        lacking, notes = _of_combinations(document, doubtful, words, {**integers, **known}, names)
    if lacking or not any(words):
        raise ModelError(
            f"{path}: the file holds only hashes of its categories, and the values behind them are not known: "
            f"{', '.join(lacking or names)}",
            "Give rows that have every category, such as the training rows: --data FILE. Or export the model with "
            'its pool: model.save_model("model.json", format="json", pool=pool).',
        )
    integer = all(_is_integer(word) for own in words for word in own)
    notes += _strange(document, names, given)
    known_words = tuple(
        tuple(sorted(word for word, h in own.items() if hashes is None or h in hashes))
        for own, hashes in zip(words, known_to_model, strict=True)
    )
    return Vocabulary(tuple(tuple(sorted(own)) for own in words), known_words, integer, notes)


def _strange(document: Document, names: Sequence[str], given: Sequence[Sequence[str]] | None) -> tuple[str, ...]:
    """A note for each feature of which the rows have no value that the model asks for."""
    said = []
    for c, rows in enumerate(given or ()):
        wanted, _ = _hashes_of(document, c)
        if rows and wanted and not wanted & {category_hash(word) for word in rows}:
            said.append(
                f"no row has a value of {names[c]!r} that the model asks for: {rows[0][:40]!r} is none. "
                "Is the column as it was in training? CatBoost takes a boolean for 0 or 1"
            )
    return tuple(said)


def _recognised(
    wanted: set[int], given: Sequence[str], known: Mapping[str, int], integers: Mapping[str, int]
) -> dict[str, int]:
    """The values of one feature whose hashes are ``wanted``, and those that the user's rows have beside."""
    own = _one_of_each({word: category_hash(word) for word in given}, wanted)
    # A 10.0 for the model's 10 is a slip of whoever wrote the rows, and no reason to take text for integers.
    own = {word: h for word, h in own.items() if h in wanted or not _is_float_of(word, wanted)}
    own |= {word: h for word, h in known.items() if h in wanted}
    left = wanted - set(own.values())
    if left:  # only where they explain what is left, else they would be taken for values of any feature
        own |= {word: h for word, h in integers.items() if h in left}
    return own


def _of_combinations(
    document: Document,
    doubtful: set[int],
    words: list[dict[str, int]],
    others: Mapping[str, int],
    names: Sequence[str],
) -> tuple[list[str], tuple[str, ...]]:
    """What lacks in the tables that combine ``doubtful`` features, and notes. What is found is added to ``words``."""
    lacking: dict[tuple[int, ...], str] = {}
    notes: dict[tuple[int, ...], str] = {}
    for table in _telling(catboost_combinations.combinations(document), doubtful, words):
        told, note = _combined(table, doubtful, words, others, names)
        (lacking if told else notes).setdefault(table.categories, told or note)
    return [*lacking.values()], tuple(filter(None, notes.values()))


def _one_of_each(own: dict[str, int], wanted: set[int]) -> dict[str, int]:
    """Of a .csv's text and what it is read as (2134 of 02134), where both are given: what the model knows. Where it
    knows neither: what it is read as, if the model knows that of another and not the text, else the text."""
    read = {word: others for word in own if (others := [other for other in as_read(word, TRUTHS) if other in own])}
    # Of each that can be read: as it is, as a number, and of a truth value as CatBoost's Python would write it.
    forms = [(word, others[0], others[-1] if len(others) > 1 else word) for word, others in read.items()]
    known = [any(own[form[0]] not in wanted and own[form[k]] in wanted for form in forms) for k in (1, 2)]
    chosen = known.index(True) + 1 if any(known) else 0
    readings = {other for others in read.values() for other in others}
    kept = {form[chosen] for form in forms if chosen or form[0] not in readings}
    losers = {text for form in forms for text in form} - kept
    return {word: h for word, h in own.items() if h in wanted or word not in losers}


def _hashes_of(document: Document, feature: int) -> tuple[set[int], bool]:
    """Every 32-bit hash of the feature's that can be read off the model: one-hot values, and the keys of tables that
    are of this feature alone; and whether there is such a table, which has every value of the training."""
    information = document["features_info"]
    found = {int(value) for value in information["categorical_features"][feature].get("values") or ()}
    seen: set[str] = set()
    for ctr in information.get("ctrs") or ():
        elements = ctr["elements"]
        found |= {
            int(e["value"])
            for e in elements
            if e["combination_element"] == EXACT and int(e["cat_feature_index"]) == feature
        }
        alone = len(elements) == 1 and elements[0]["combination_element"] == CATEGORY
        if not alone or int(elements[0]["cat_feature_index"]) != feature or ctr["identifier"] in seen:
            continue
        seen.add(ctr["identifier"])
        found |= set(unmix(catboost_combinations.keys_of(document["ctr_data"][ctr["identifier"]])).tolist())
    return found, bool(seen)


def _telling(
    tables: Sequence[Combination], doubtful: set[int], words: Sequence[Mapping[str, int]]
) -> Iterator[Combination]:
    """Tables of combinations to look at: for each feature in ``doubtful`` the one that is least work, and what there is
    time for beside."""
    sizes = [len(own) for own in words]
    spent, left = 0, set(doubtful)
    for table in sorted(tables, key=lambda table: table.work(sizes)):
        spent += table.work(sizes)
        if left & set(table.categories) or (doubtful & set(table.categories) and spent <= catboost_combinations.BUDGET):
            left -= set(table.categories)
            yield table


def _combined(
    table: Combination, doubtful: set[int], words: list[dict[str, int]], others: Mapping[str, int], names: Sequence[str]
) -> tuple[str, str]:
    """What lacks in the table, or an empty text, and a note. Values among ``others`` that its keys are made of are
    added to ``words``."""
    called = " with ".join(names[c] for c in table.categories)
    found = catboost_combinations.explain(table, _arrays(words))
    if found is None or found.lacking:
        wide = [{**others, **own} if c in doubtful else own for c, own in enumerate(words)]
        again = catboost_combinations.explain(table, _arrays(wide))
        if again is not None and again.tried == len(table.keys):
            for c, used in zip(table.categories, again.used, strict=True):
                if c in doubtful:
                    words[c] |= {word: h for (word, h), there in zip(wide[c].items(), used, strict=True) if there}
            found = again
    if found is None:
        if not all(words[c] for c in table.categories):
            return called, ""
        return "", f"millwork can't show that every value of {called} is known: there are too many combinations"
    if found.lacking:
        return f"{called} ({found.lacking:,} of {found.tried:,})", ""
    if found.tried < len(table.keys):
        return "", f"{called}: the values in {found.tried:,} of their {len(table.keys):,} combinations are known"
    return "", ""


def _arrays(words: Sequence[Mapping[str, int]]) -> list[npt.NDArray[np.int64]]:
    return [np.array([*own.values()], np.int64) for own in words]


def unmix(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The hash of which a key was made: M is odd, so h = M (M v) is undone by its inverse modulo 2^64."""
    inverse = np.uint64(pow(_MULTIPLIER, -1, 1 << 64))
    return (keys * inverse * inverse).view(np.int64)


_MULTIPLIER = int(mix(np.ones(1, np.uint64), np.zeros(1, np.int64))[0])


def _is_float_of(word: str, wanted: set[int]) -> bool:
    whole = whole_of(word)
    return bool(whole) and category_hash(whole) in wanted


def _is_integer(word: str) -> bool:
    """Written as an integer is: 7 and -3, not 07, +3 or 1.0."""
    return word.lstrip("-").isdecimal() and word.isascii() and str(int(word)) == word and abs(int(word)) < 2**63
