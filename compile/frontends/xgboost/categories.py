"""The values of categories that an XGBoost model carries (from 3.1 on, where it was trained on a data frame).

``model["cats"]`` has an entry a feature: ``{offsets, values}`` for strings (UTF-8 bytes, one after the other),
``{type, values}`` for integers, and nothing for numbers. XGBoost itself turns a value into its place in that list; a
value that isn't in it is missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.categories import Categories, Code
from ....passes.forest import CATEGORY_LIMIT, Ints

Document = Mapping[str, Any]

WHOLE_NAMES = (3, 4)
"""From this version on XGBoost counts the bytes of a category's name; before, its characters."""

INTEGER_TYPES = {9: "int8", 10: "uint8", 11: "int16", 13: "int32", 15: "int64"}
"""What XGBoost 3.2 writes for pandas' categories of integers; the other unsigned ones it can't write itself."""


@dataclass(frozen=True, eq=False)
class CategoryValues:
    """``numeric`` and ``features``: the model's features that come as ``input__0`` and as ``input__1``, in order;
    ``kinds``: ``str`` or the integer type that each of the latter had in training."""

    numeric: tuple[int, ...]
    features: tuple[int, ...]
    categories: Categories
    kinds: tuple[str, ...]

    @property
    def columns(self) -> Ints:
        """[F]: where in the encoded row each feature of the model stands."""
        out = np.empty(len(self.numeric) + len(self.features), np.int32)
        out[list(self.numeric)] = np.arange(len(self.numeric))
        out[list(self.features)] = len(self.numeric) + np.arange(len(self.features))
        return out

    @property
    def layout(self) -> list[int]:
        """For the framework's runner: each feature's column of ``input__0``, or -1 - its column of ``input__1``."""
        n = len(self.numeric)
        return [int(column) if column < n else int(n - 1 - column) for column in self.columns]


def category_values(
    model: Document, n_features: int, version: tuple[int, ...], missing: float | None
) -> CategoryValues | None:
    """None where the model was trained on numbers and codes alone. ``version``: of the XGBoost that wrote it.
    ``missing``: the wrapper's sentinel. XGBoost looks for it among the codes too, so that the category in that place
    is a missing one."""
    entries = (model.get("cats") or {}).get("enc") or ()
    if not len(entries):
        return None
    if len(entries) != n_features:
        raise ModelError(f"the model has {n_features} features, but categories for {len(entries)}")
    known = [_values(entry, i, version) for i, entry in enumerate(entries)]
    features = tuple(i for i, values in enumerate(known) if values is not None)
    if not features:
        return None
    lists = [values for values in known if values is not None]
    integer = all(isinstance(value, int) for values in lists for value in values)
    words = tuple(tuple(values) if integer else tuple(map(str, values)) for values in lists)
    codes = tuple(Code(c, _codes(len(values), missing)) for c, values in enumerate(words))
    numeric = tuple(i for i, values in enumerate(known) if values is None)
    kinds = tuple(_kind(entries[i], i) for i in features)
    return CategoryValues(numeric, features, Categories(integer=integer, vocabularies=words, codes=codes), kinds)


def _codes(count: int, missing: float | None) -> npt.NDArray[np.float32]:
    """[count + 1]: each value's code, NaN for the one that is read as missing, and for all others."""
    codes = np.append(np.arange(count), np.nan).astype(np.float32)
    if missing is not None:
        codes[codes == np.float32(missing)] = np.nan
    return codes


def masked_by_sentinel(values: CategoryValues, missing: float | None) -> dict[int, str]:
    """The features of which a known category is read as missing, because its place is the sentinel; and which."""
    place = -1.0 if missing is None else float(np.float32(missing))
    vocabularies = zip(values.features, values.categories.vocabularies, strict=True)
    return {i: str(words[int(place)]) for i, words in vocabularies if place.is_integer() and 0 <= place < len(words)}


def _words(raw: bytes, offsets: Sequence[int], feature: int, version: tuple[int, ...]) -> list[str]:
    """``raw`` at ``offsets``. ModelError where the file holds parts of names: then nothing says what they were."""
    if version < WHOLE_NAMES and not raw.isascii():
        text = raw.decode(errors="ignore")  # offsets count its characters, so that the end of it is lost
        names = (text[a:b] for a, b in itertools.pairwise(offsets))
        odd = next((name for name in names if not name.isascii()), "")
        raise _cut(feature, f"the category {odd!r}" if odd else "a category whose name isn't ASCII")
    try:
        return [raw[a:b].decode() for a, b in itertools.pairwise(offsets)]
    except UnicodeDecodeError as error:
        raise _cut(feature, "a category whose name ends within a letter") from error


def _cut(feature: int, what: str) -> ModelError:
    return ModelError(
        f"feature {feature} has {what}: XGBoost before 3.4 cuts names that aren't ASCII at the wrong places when it "
        "keeps them, so the names of the categories aren't in the model",
        "Train again with XGBoost 3.4, or with categories of ASCII letters.",
    )


def _kind(entry: Document, feature: int) -> str:
    if "offsets" in entry:
        return "str"
    if int(entry.get("type", -1)) not in INTEGER_TYPES:
        raise ModelError(f"feature {feature} has categories of a type ({entry.get('type')}) that is not supported")
    return INTEGER_TYPES[int(entry["type"])]


def _values(entry: Document, feature: int, version: tuple[int, ...]) -> Sequence[str | int] | None:
    values = np.asarray(entry.get("values", ()))
    if "offsets" in entry:
        offsets = np.asarray(entry["offsets"], np.int64)
        if len(offsets) < 2:
            return None
        raw = values.astype(np.int64).astype(np.uint8).tobytes()
        if offsets[0] != 0 or offsets[-1] != len(raw) or np.any(np.diff(offsets) < 0):
            raise ModelError(f"the categories of feature {feature} don't add up")
        found: Sequence[str | int] = _words(raw, offsets.tolist(), feature, version)
    else:
        if not len(values):
            return None
        if values.dtype.kind not in "iu":
            raise ModelError(
                f"feature {feature} has categories that are {values.dtype}, which is not supported",
                "Convert them to strings or integers before training.",
            )
        found = values.tolist()
    if len(set(found)) != len(found):
        raise ModelError(f"the categories of feature {feature} aren't distinct values")
    if len(found) >= CATEGORY_LIMIT:
        raise ModelError(f"feature {feature} has {len(found)} categories; fewer than {CATEGORY_LIMIT} are supported")
    return found
