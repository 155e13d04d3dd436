"""Which target a CTR counts. CatBoost's JSON names a CTR's table by its features and its type alone. Where a model has
several targets, or counts one target above several sets of borders, its tables have the same name, and all but one are
lost: CatBoost itself then answers otherwise than the model.

A .cbm holds every table, so its export is mended (:func:`named_apart`). A JSON is refused (:func:`require_apart`), and
so is one whose means of targets aren't whole numbers: CatBoost reads 0 for the 0.67 that it wrote there
(:func:`require_whole`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ....errors import ModelError
from . import binary
from .information import loss

Document = Mapping[str, Any]

MEANS = "BinarizedTargetMeanValue"
OF_NO_TARGET = frozenset({"Counter", "FeatureFreq"})
SEVERAL_TARGETS = frozenset({"MultiRMSE", "MultiRMSEWithMissingValues", "MultiLogloss", "MultiCrossEntropy"})


def named_apart(document: Any, content: bytes) -> None:
    """Give every CTR of a .cbm's export its own table, out of the file itself. ModelError where that can't be read."""
    ctrs = document["features_info"].get("ctrs") or ()
    if not ctrs:
        return
    file = binary.read(content)
    if file is None or len(file.ctrs) != len(ctrs):
        raise ModelError("its tables of CTRs can't be read", "Save it again with save_model.")
    bases: dict[str, set[binary.Base]] = {}
    for ctr, own in zip(ctrs, file.ctrs, strict=True):
        same = (ctr["ctr_type"], int(ctr.get("target_border_idx", 0)), len(ctr["borders"]))
        if same != (own.base.kind, own.target_border, own.borders):
            raise ModelError("CatBoost exports its CTRs otherwise than the file has them", "Save it again.")
        bases.setdefault(ctr["identifier"], set()).add(own.base)
    if all(len(different) == 1 for different in bases.values()):
        return
    tables = binary.tables(content, file)
    for ctr, own in zip(ctrs, file.ctrs, strict=True):
        if own.base not in tables:
            raise ModelError("a CTR's table isn't in the file", "Save it again with save_model.")
        ctr["identifier"] += f" of classifier {own.base.classifier}"
        document["ctr_data"][ctr["identifier"]] = tables[own.base]


def require_apart(document: Document) -> None:
    """ModelError for a JSON in which a table's name may have stood for several tables."""
    ctrs = [ctr for ctr in document["features_info"].get("ctrs") or () if str(ctr["ctr_type"]) not in OF_NO_TARGET]
    listed = Counter(str(ctr["identifier"]) for ctr in ctrs)
    twice = [ctr for ctr in ctrs if listed[str(ctr["identifier"])] > 1]
    if not twice:
        return
    same = Counter(
        (ctr["identifier"], ctr.get("prior_numerator"), ctr.get("prior_denomerator"), ctr.get("target_border_idx"))
        for ctr in twice
    )
    information = document["model_info"]
    if max(same.values()) > 1 or loss(information) in SEVERAL_TARGETS or _several_borders(information, twice):
        raise ModelError(
            f"CatBoost's JSON has lost tables of this model: {len(twice)} of its CTRs share a table's name, but count "
            "different targets (or borders of one), and one table is left for them",
            'Save it as .cbm, which holds all of them: model.save_model("model.cbm").',
        )


def require_whole(document: Document) -> None:
    """ModelError for a JSON with a table of targets' means that CatBoost itself reads otherwise than it wrote it."""
    means = {str(ctr["identifier"]) for ctr in document["features_info"].get("ctrs") or () if ctr["ctr_type"] == MEANS}
    for name in sorted(means):
        table = (document.get("ctr_data") or {}).get(name)
        if table and any(float(total) % 1 for total in table["hash_map"][1 :: table["hash_stride"]]):
            raise ModelError(
                f"CatBoost reads a JSON of this model otherwise than it wrote it: its {MEANS} tables hold fractions, "
                "and CatBoost drops what stands behind the point",
                'Save it as .cbm: model.save_model("model.cbm").',
            )


def _several_borders(information: Document, ctrs: list[Document]) -> bool:
    """Whether one type of these CTRs was asked for with several sets of borders of the target."""
    kinds = {str(ctr["ctr_type"]) for ctr in ctrs}
    for asked in _asked(information):
        different: dict[str, set[str]] = {}
        for one in asked:
            if isinstance(one, Mapping) and one.get("ctr_type") in kinds:
                borders = json.dumps(one.get("target_binarization"), sort_keys=True)
                different.setdefault(str(one["ctr_type"]), set()).add(borders)
        if any(len(borders) > 1 for borders in different.values()):
            return True
    return False


def _asked(information: Document) -> Iterator[list[Any]]:
    """The CTRs that the training asked for, by what they are made of: of one feature, of several, of one by name."""
    for key, params in information.items():
        if key.rpartition(":")[2] != "params" or not isinstance(params, Mapping):
            continue
        given = params.get("cat_feature_params") or {}
        named = given.get("per_feature_ctrs") or {}
        for asked in (given.get("simple_ctrs"), given.get("combinations_ctrs"), *named.values()):
            if isinstance(asked, list):
                yield asked
