"""The features' numbers in CatBoost's JSON export, 0, 1, 2, … once more where features were dropped from the model.

``drop_unused_features`` leaves every feature the number that it had in training. CatBoost then finds a named feature by
its name, with or without the dropped columns beside it, and one without a name by its place in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ....errors import ModelError

Document = Mapping[str, Any]

MAX_FEATURES = 1 << 20
"""A row of more would be 4 MiB. Also what keeps a file's number from becoming an array of any size."""
KINDS = {"float_features": "float_feature_index", "categorical_features": "cat_feature_index"}


def close_gaps(document: Document) -> None:
    """Number the document's features anew, where some were dropped. A dropped column that has to stand in its place,
    because the columns have no names, becomes a number that no tree tests."""
    information = document["features_info"]
    features = [feature for kind in KINDS for feature in information.get(kind) or ()]
    places = [_number(feature, "flat_feature_index") for feature in features]
    if sorted(places) == list(range(len(places))):
        return
    if len(set(places)) != len(places):
        raise ModelError("two of the model's features have the same number")
    if not are_named(features):
        _fill(information, set(range(max(places) + 1)) - set(places))
    number = {kind: _renumber(information.get(kind) or ()) for kind in KINDS}
    _renumber_places([feature for kind in KINDS for feature in information.get(kind) or ()])
    for element in _elements(document):
        for kind, key in KINDS.items():
            if key in element:
                element[key] = _new(number[kind], element[key])


def are_named(features: list[Document]) -> bool:
    """Whether the features have names of their own; CatBoost calls those of an array by their numbers."""
    given = [str(feature.get("feature_id") or "") for feature in features]
    places = [str(int(feature["flat_feature_index"])) for feature in features]
    return all(given) and len(set(given)) == len(given) and given != places


def _number(feature: Document, key: str) -> int:
    number = int(feature[key])
    if not 0 <= number < MAX_FEATURES:
        raise ModelError(f"a feature has the number {number}, expected 0 to {MAX_FEATURES - 1:,}")
    return number


def _fill(information: dict[str, Any], gaps: set[int]) -> None:
    """Numbers without borders in the places of dropped columns."""
    filling = ({"borders": [], "flat_feature_index": place, "nan_value_treatment": "AsIs"} for place in sorted(gaps))
    information["float_features"] = [*(information.get("float_features") or ()), *filling]


def _renumber(features: Any) -> dict[int, int]:
    """The features' new numbers among their kind, in the order of their places, by the old ones."""
    new = {}
    for i, feature in enumerate(sorted(features, key=lambda one: int(one["flat_feature_index"]))):
        if "feature_index" in feature:
            new[int(feature["feature_index"])] = i
        feature["feature_index"] = i
    return new


def _renumber_places(features: list[dict[str, Any]]) -> None:
    for place, feature in enumerate(sorted(features, key=lambda one: int(one["flat_feature_index"]))):
        feature["flat_feature_index"] = place


def _new(number: Mapping[int, int], old: Any) -> int:
    if int(old) not in number:
        raise ModelError(f"a tree tests feature {int(old)}, which the model doesn't have")
    return number[int(old)]


def _elements(document: Document) -> Iterator[dict[str, Any]]:
    """Whatever names a feature by its number: the splits of all trees, and what CTRs are made of."""
    for ctr in document["features_info"].get("ctrs") or ():
        yield from ctr["elements"]
    for tree in document.get("oblivious_trees") or ():
        yield from tree.get("splits") or ()
    stack = list(document.get("trees") or ())
    while stack:
        node = stack.pop()
        if "split" in node:
            yield node["split"]
            stack += [node["left"], node["right"]]
