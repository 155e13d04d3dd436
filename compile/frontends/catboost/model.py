"""CatBoost's JSON export (``save_model(f, format="json")``) to a LoadedModel. A .cbm is exported first, in a worker.

The trees are read in ``trees``, categories in ``ctr`` and ``vocabulary``. Facts that hold
there were measured against CatBoost 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.forest import Forest
from ....passes.program import Postprocess, Program
from ....storage import tables
from ....values import FeatureContract, OutputContract, OutputKind, Provenance
from .. import objectives
from ..load_options import AS_SAVED, LoadOptions
from ..loaded_model import LoadedModel, NativeFile, Oracle, Signature
from . import ctr, ctr_targets, numbering, trees, vocabulary
from . import information as own

Document = Mapping[str, Any]


def load(
    document: object,
    native: NativeFile,
    provenance: Provenance,
    options: LoadOptions = AS_SAVED,
    leaf_order: Sequence[Sequence[int]] = (),
) -> LoadedModel:
    """A parsed JSON export to a LoadedModel. ``native``: the model as CatBoost reads it (cbm or the same JSON).

    ``leaf_order``: for each tree that isn't symmetric, ``native``'s own numbers of its leaves, left to right; empty
    where they are 0, 1, 2, …. Raises ModelError for what isn't a CatBoost export, or isn't supported.
    """
    if not isinstance(document, Mapping) or "features_info" not in document or "model_info" not in document:
        raise ModelError(f"{provenance.path}: not a CatBoost model: no 'features_info' and 'model_info' in it")
    try:
        numbering.close_gaps(document)
        return _load(document, native, provenance, options, leaf_order)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(
            f"{provenance.path}: not a complete CatBoost model: {type(error).__name__}: {error}",
            "Save it again with save_model and check that the file was copied whole.",
        ) from error


def _load(
    document: Document,
    native: NativeFile,
    provenance: Provenance,
    options: LoadOptions,
    leaf_order: Sequence[Sequence[int]],
) -> LoadedModel:
    if native.name.endswith(".json"):
        ctr_targets.require_apart(document)
        ctr_targets.require_whole(document)
    else:
        ctr_targets.named_apart(document, native.content)
    information = document["model_info"]
    name = own.loss(information)
    objective = objectives.find(objectives.CATBOOST, name, "CatBoost") if name else objectives.CUSTOM
    features = _features(document["features_info"])
    contract, words = _contract(document, features, provenance.path, options)
    answer: Postprocess = "identity" if options.margin else objective.postprocess
    program = _program(document, features, words, leaf_order, answer)
    classes = own.classes(information, program.forest.n_outputs)
    if objective.task == "multiclass" and classes is not None:
        program = replace(program, forest=_with_absent(program.forest, classes, margin=options.margin))
    version = own.version(information)
    signature = Signature(
        provenance=msgspec.structs.replace(provenance, framework="catboost", framework_version=version),
        features=contract,
        output=_output(information, objective, classes, program.n_answers, margin=options.margin),
        objective=name or "no loss named",
        oracle=Oracle(
            framework="catboost",
            version=version,
            native_file=native.name,
            parameters={
                "answer": program.postprocess,
                "format": "json" if native.name.endswith(".json") else "cbm",
                **({"columns": json.dumps(features.layout)} if features.category_names else {}),
                **({"by_name": "yes"} if features.named else {}),
            },
        ),
        notes=(*_notes(name, objective, version), *words.notes),
    )
    return LoadedModel(signature=signature, program=program, native=native.content)


def _program(
    document: Document,
    features: _Features,
    words: vocabulary.Vocabulary,
    leaf_order: Sequence[Sequence[int]],
    answer: Postprocess,
) -> Program:
    splits = trees.splits_of(document["features_info"])
    columns = np.arange(splits.n_features, dtype=np.int32)
    categories = None
    if features.category_names:
        categories, place = ctr.categories(document, ~features.nan_left, words.words, integer=words.integer)
        columns[splits.n_features - len(place) :] = len(features.names) + place
    return Program(
        forest=trees.forest(document, splits, features.nan_left, leaf_order),
        postprocess=answer,
        columns=columns,
        n_columns=len(features.names),
        categories=categories,
    )


def _with_absent(forest: Forest, classes: own.Classes, *, margin: bool) -> Forest:
    """The forest with an output for each class that was in no row of the training: CatBoost's margin of it is minus
    infinity, and its probability 0."""
    absent = [label for k, label in enumerate(classes.labels) if k not in classes.places]
    if absent and margin:
        raise ModelError(
            f"--output margin: class {absent[0]} was in no row of the training, so its margin is minus infinity",
            "Leave --output out: its probability is 0.",
        )
    return trees.with_outputs(forest, classes.places, len(classes.labels)) if absent else forest


def _output(
    information: Document,
    objective: objectives.Objective,
    classes: own.Classes | None,
    answers: int,
    *,
    margin: bool,
) -> OutputContract:
    kind = _kind(objective, margin=margin)
    return OutputContract(
        kind=kind,
        task=objective.task,
        labels=_labels(classes, answers, margin=kind == "margin", probability=kind == "probability"),
        threshold=_threshold(information) if objective.task == "binary" and kind == "probability" else None,
    )


def _notes(name: str, objective: objectives.Objective, version: str) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    if objective is objectives.CUSTOM and name:
        said = ("the model was trained with a custom loss, so its answers are margins",)
    if not name:
        said = ("the file names no loss (models of different losses were added up), so its answers are margins",)
    # CatBoost 1.0 writes the branch that it was built from and no release; so does whoever builds it from source.
    unknown = ("the file doesn't say which version of CatBoost wrote it, so the installed version judges it",)
    return said if version else (*said, *unknown)


def _kind(objective: objectives.Objective, *, margin: bool) -> OutputKind:
    if margin or objective is objectives.CUSTOM:
        return "margin"
    return "probability" if objective.probability else "value"


@dataclass(frozen=True, eq=False)
class _Features:
    """``names`` of the numeric features in the order of their own numbers, and of the categorical ones; ``layout``: for
    each place in the training table the column of ``input__0``, or -1 - the column of ``input__1``."""

    names: tuple[str, ...]
    category_names: tuple[str, ...]
    named: bool
    nan_left: npt.NDArray[np.bool_]
    layout: list[int]

    @property
    def order(self) -> tuple[str, ...]:
        return tuple(self.names[i] if i >= 0 else self.category_names[-1 - i] for i in self.layout)


def _features(information: Document) -> _Features:
    for kind in ("text_features", "embedding_features"):
        if information.get(kind):
            raise ModelError(f"CatBoost's {kind.replace('_', ' ')} are not supported", "Leave them out in training.")
    floats = sorted(information.get("float_features") or (), key=lambda feature: int(feature["feature_index"]))
    categorical = sorted(
        information.get("categorical_features") or (), key=lambda feature: int(feature["feature_index"])
    )
    every = [*floats, *categorical]
    if not every:
        raise ModelError("the model has no features")
    places = [int(feature["flat_feature_index"]) for feature in every]
    named = numbering.are_named(every)
    names = [str(feature["feature_id"]) for feature in every] if named else [f"f{i}" for i in places]
    treatments = [feature.get("nan_value_treatment") for feature in floats]
    unknown = [treatment for treatment in treatments if treatment not in ("AsIs", "AsFalse", "AsTrue")]
    if unknown:
        raise ModelError(f"nan_value_treatment {unknown[0]!r:.60} is not supported")
    column = [*range(len(floats)), *(-1 - c for c in range(len(categorical)))]
    return _Features(
        names=tuple(names[: len(floats)]),
        category_names=tuple(names[len(floats) :]),
        named=named,
        nan_left=np.array([treatment != "AsTrue" for treatment in treatments], np.bool_),
        layout=[column[i] for i in np.argsort(places)],
    )


_NO_WORDS = vocabulary.Vocabulary((), (), integer=False)


def _contract(
    document: Document, features: _Features, path: str, options: LoadOptions
) -> tuple[FeatureContract, vocabulary.Vocabulary]:
    contract = FeatureContract(names=features.names, named=features.named, dtypes=("float32",) * len(features.names))
    if not features.category_names:
        return contract, _NO_WORDS
    contract = FeatureContract(
        names=features.names,
        named=features.named,
        dtypes=contract.dtypes,
        category_names=features.category_names,
        category_dtype="string",
        order=features.order,
        truths=vocabulary.TRUTHS,
    )
    given = None if options.data is None else tables.distinct_categories(options.data, contract, options.label)
    words = vocabulary.recover(document, features.category_names, given, path)
    return msgspec.structs.replace(
        contract,
        categories=dict(zip(features.category_names, words.known, strict=True)),
        category_dtype="int64" if words.integer else "string",
    ), words


def _labels(classes: own.Classes | None, count: int, *, margin: bool, probability: bool) -> tuple[str, ...]:
    if classes is not None and len(classes.labels) == count and (probability or count > 1):
        return classes.labels
    if probability or count > 1:
        return tuple(str(i) for i in range(count))
    return ("margin",) if margin else ("value",)


def _threshold(information: Document) -> float:
    """``set_probability_threshold`` changes labels only; CatBoost decides for the second class above it."""
    stored = information.get("binclass_probability_threshold")
    return 0.5 if stored is None else float(stored)
