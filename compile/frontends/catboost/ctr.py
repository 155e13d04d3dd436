"""CatBoost's categorical features as encoders: one-hot codes, and the columns of its CTRs (target statistics).

    ctr = ((num + prior_num) / (den + prior_den) + shift) * scale      in float32
    Borders: num = sum(counts[target_border_idx + 1:]), den = sum(counts)    Buckets: num = counts[target_border_idx]
    Counter: num = count, den = counter_denominator    BinarizedTargetMeanValue: num = sum, den = count
    a key that isn't in the table: every num is 0, and so is den but for Counter

All of it as CatBoost 1.2's evaluator computes it (catboost/libs/model), from its JSON export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.categories import UNKNOWN_HASH, Categories, Code, Ctr
from .city_hash import category_hash

Document = Mapping[str, Any]

EMPTY_BUCKET = 2**64 - 1
KINDS = ("Borders", "Buckets", "Counter", "BinarizedTargetMeanValue")
CATEGORY, FLOAT, EXACT = "cat_feature_value", "float_feature", "cat_feature_exact_value"


def categories(
    document: Document, nan_right: npt.NDArray[np.bool_], vocabularies: Sequence[Sequence[str]], *, integer: bool
) -> tuple[Categories, npt.NDArray[np.int64]]:
    """The encoders, and for each CTR of the document its column among theirs (after the codes).

    ``nan_right``: [floats], which of them count a NaN as above every border. ``vocabularies``: for each categorical
    feature the values that are known, as text. Raises ModelError for kinds of CTR that aren't known here.
    """
    information = document["features_info"]
    hashes = tuple(np.array([*map(category_hash, words), UNKNOWN_HASH], np.int64) for words in vocabularies)
    codes = tuple(
        Code(c, one_hot_codes(hashes[c], feature["values"]))
        for c, feature in enumerate(information["categorical_features"])
        if feature.get("values")
    )
    given = information.get("ctrs") or ()
    groups: dict[str, list[int]] = {}
    for i, ctr in enumerate(given):
        groups.setdefault(repr([sorted(element.items()) for element in ctr["elements"]]), []).append(i)
    made, position, at = [], np.empty(len(given), np.int64), len(codes)
    for members in groups.values():
        made.append(_combination([given[i] for i in members], document["ctr_data"], nan_right, len(hashes)))
        position[members] = at + np.arange(len(members))
        at += len(members)
    values = tuple(tuple(map(int, words)) if integer else tuple(words) for words in vocabularies)
    return Categories(integer=integer, vocabularies=values, codes=codes, hashes=hashes, ctrs=tuple(made)), position


def one_hot_codes(hashes: npt.NDArray[np.int64], chosen: Sequence[int]) -> npt.NDArray[np.float32]:
    """[V + 1]: the place of each value's hash among ``chosen``, -1 where it isn't."""
    place = {int(value): k for k, value in enumerate(chosen)}
    return np.array([*(place.get(int(value), -1) for value in hashes[:-1]), -1], np.float32)


def _combination(
    ctrs: Sequence[Document], tables: Document, nan_right: npt.NDArray[np.bool_], n_categories: int
) -> Ctr:
    """All CTRs of one list of elements. Their tables may have different keys; one key stands for all of them."""
    elements = {
        kind: [e for e in ctrs[0]["elements"] if e["combination_element"] == kind] for kind in (CATEGORY, FLOAT, EXACT)
    }
    if sum(map(len, elements.values())) != len(ctrs[0]["elements"]):
        raise ModelError("a CTR combines elements of a kind that is not supported")
    used = [int(e["cat_feature_index"]) for kind in (CATEGORY, EXACT) for e in elements[kind]]
    bits = [int(e["float_feature_index"]) for e in elements[FLOAT]]
    if not all(0 <= c < n_categories for c in used) or not all(0 <= f < len(nan_right) for f in bits):
        raise ModelError("a CTR combines a feature outside the model's")
    parts = [_values(ctr, tables[ctr["identifier"]]) for ctr in ctrs]
    keys = np.unique(np.concatenate([own for own, _ in parts]))
    table = np.empty((len(keys) + 1, len(ctrs)), np.float32)
    for d, (own, values) in enumerate(parts):
        order = np.argsort(own)
        at = np.searchsorted(own[order], keys)
        found = at < len(own)
        found[found] = own[order][at[found]] == keys[found]
        table[:-1, d] = np.where(found, values[:-1][order][np.minimum(at, max(len(own) - 1, 0))], values[-1])
        table[-1, d] = values[-1]
    columns = np.array([e["float_feature_index"] for e in elements[FLOAT]], np.int32)
    return Ctr(
        categories=np.array([e["cat_feature_index"] for e in elements[CATEGORY]], np.int32),
        columns=columns,
        borders=np.array([e["border"] for e in elements[FLOAT]], np.float32),
        nan=nan_right[columns],
        features=np.array([e["cat_feature_index"] for e in elements[EXACT]], np.int32),
        values=np.array([e["value"] for e in elements[EXACT]], np.int64),
        keys=keys,
        table=table,
    )


def _values(ctr: Document, table: Document) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    """The table's keys, and the CTR's value of each, the last one for any other key: uint64 [n], float32 [n + 1]."""
    kind, stride = str(ctr["ctr_type"]), int(table["hash_stride"])
    if kind not in KINDS:
        raise ModelError(f"CatBoost's CTRs of type {kind} are not supported", f"Supported: {', '.join(KINDS)}.")
    entries = table["hash_map"]
    if stride < 2 or len(entries) % stride:
        raise ModelError(f"a CTR's table of {len(entries)} entries in rows of {stride}")
    keys = np.array([int(key) for key in entries[::stride]], np.uint64)
    counts = np.stack([np.asarray(entries[i::stride], np.float64) for i in range(1, stride)], axis=1)
    used = keys != np.uint64(EMPTY_BUCKET)
    keys, counts = keys[used], np.concatenate([counts[used], np.zeros((1, stride - 1))])
    border = int(ctr.get("target_border_idx", 0))
    match kind:
        case "Borders":
            above, total = counts[:, border + 1 :].sum(axis=1), counts.sum(axis=1)
        case "Buckets":
            above, total = counts[:, border], counts.sum(axis=1)
        case "Counter":
            above, total = counts[:, 0], np.full(len(counts), float(table["counter_denominator"]))
        case _:
            above, total = counts[:, 0], counts[:, 1]
    f = np.float32
    share = (above.astype(f) + f(ctr["prior_numerator"])) / (total.astype(f) + f(ctr["prior_denomerator"]))
    return keys, ((share + f(ctr["shift"])) * f(ctr["scale"])).astype(f)
