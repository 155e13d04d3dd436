"""What to do with a pickle that isn't read: which models lie in it, where, and what each answers by itself.

A model is saved by itself as a pickle, not by XGBoost's ``save_model``, which loses the wrapper's ``missing=``. In a
hint ``model`` (or ``content``) is what the file holds. tests/compile/test_hints.py carries hints out, and compares what
they save with the wrapper's own answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .allowed import BOOSTER, CATBOOST, PIPELINE, XGBOOST
from .stubs import Pairs, Record, Symbol, class_of, fields_of, named, text_keys

MOST = 1000
"""Objects that are looked at: nothing bounds how often a pickle names the same one."""

SAME = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "SelfTrainingClassifier": "estimator_",
    "FrozenEstimator": "estimator",
}
"""scikit-learn's wrappers that answer as their part does, and where that is."""

_SELECTED = "It takes the selected columns alone: {0}.transform(rows)."
CHANGED = {
    "TransformedTargetRegressor": (
        "regressor_",
        "Turn its answers back: {0}.transformer_.inverse_transform(answers.reshape(-1, 1)).",
    ),
    "RFE": ("estimator_", _SELECTED),
    "RFECV": ("estimator_", _SELECTED),
    "TunedThresholdClassifierCV": ("estimator_", "It decides at 0.5, and not at {0}.best_threshold_."),
    "FixedThresholdClassifier": ("estimator_", "It decides at 0.5, and not at {0}.threshold."),
    "CalibratedClassifierCV": ("calibrated_classifiers_", "Its probabilities are not calibrated."),
    "_CalibratedClassifier": ("estimator", ""),
}
"""Those whose part answers otherwise, where it is, and how."""

COMBINED = frozenset({
    "VotingClassifier", "VotingRegressor", "StackingClassifier", "StackingRegressor", "BaggingClassifier",
    "BaggingRegressor", "AdaBoostClassifier", "AdaBoostRegressor", "OneVsRestClassifier", "OneVsOneClassifier",
    "OutputCodeClassifier", "MultiOutputClassifier", "MultiOutputRegressor", "ClassifierChain", "RegressorChain",
})  # fmt: skip
"""Those that make one answer of the answers of ``estimators_``."""

READ = "What is read: models of XGBoost and CatBoost, and torch's .pt2."
OTHERS = {
    "lightgbm": "LightGBM is not read in this version.",
    "sklearn": "scikit-learn's own estimators are not read in this version.",
    "torch": "Export the net: torch.export.save, or millwork.save_net.",
    "xgboost": "Save a fitted Booster, XGBClassifier, XGBRegressor, XGBRanker or XGBRF… of XGBoost's own.",
    "catboost": "Save a fitted CatBoost, CatBoostClassifier, CatBoostRegressor or CatBoostRanker.",
}


@dataclass(frozen=True)
class Part:
    """``path``: how it is got at. ``caveats``: how its answers differ from those of what it lies in. ``combined``:
    something makes one answer of its own and others'."""

    path: str
    value: object
    caveats: tuple[str, ...] = ()
    combined: bool = False


def hint(value: object) -> str:
    """For a pickle of ``value`` that isn't read."""
    root = "content" if isinstance(value, Pairs | list | tuple) else "model"
    parts = _innermost(Part(root, value))
    models = [part for part in parts if _is_model(part.value)]
    if models:
        return _save(models[0], parts, models, root)
    if len(parts) == 1 and parts[0].value is not value:
        return f"{parts[0].path} is {named(parts[0].value)}. {_other(parts[0].value)}"
    if not parts:
        return f"No fitted model is in it: call fit first, a search with refit=True. {READ}"
    return _other(parts[0].value)


def _save(first: Part, parts: list[Part], models: list[Part], root: str) -> str:
    saved = f'joblib.dump({first.path}, "inner.joblib").'
    said = [saved, *dict.fromkeys(first.caveats)]
    if not first.combined:
        several = f"It holds {len(models)} models. One by itself:" if len(models) > 1 else ""
        return " ".join([several or "Save the model inside by itself:", *said])
    if len(parts) == 1:
        return " ".join(["It holds 1 model, and what it makes of its answers is not read. By itself:", *said])
    whose = "" if len(models) == len(parts) else f" ({len(models)} of XGBoost or CatBoost)"
    begin = f"It holds {len(parts)} models{whose}, and what it makes of their answers is not read. One by itself:"
    return " ".join([begin, *said, f"Its answers are its own, and not {root}'s."])


def _other(value: object) -> str:
    """Why it isn't read. Nothing is said of methods that it may not have."""
    module = value.module if isinstance(value, Symbol) else named(value)
    why = OTHERS.get(module.split(".")[0], "")
    return f"{why} {READ}" if why.endswith("in this version.") else why or READ


def _is_model(value: object) -> bool:
    """A fitted model of a class that is read."""
    made = class_of(value)
    if not isinstance(value, Record) or made is None:
        return False
    fields = fields_of(value) or {}
    if made == BOOSTER:
        return fields.get("handle") is not None
    return (made in XGBOOST and fields.get("_Booster") is not None) or (
        made in CATBOOST and fields.get("__model") is not None
    )


def _innermost(whole: Part) -> list[Part]:
    """The estimators that lie in it and are no wrappers, in order."""
    found: list[Part] = []
    stack, seen = [whole], 0
    while stack and seen < MOST:
        part, seen = stack.pop(), seen + 1
        inside = _parts(part)
        if inside is None:
            found.append(part)
        else:
            stack += reversed(inside)
    return found


def _parts(part: Part) -> list[Part] | None:
    """What a wrapper or a container holds, empty where it isn't fitted; None for anything else."""
    value = part.value
    if isinstance(value, Pairs | list | tuple):
        return [one for one in _entries(part) if isinstance(one.value, Record | Pairs | list | tuple)][:MOST]
    made = class_of(value)
    if not isinstance(value, Record) or made is None:
        return None
    if made in XGBOOST or made in CATBOOST or made == BOOSTER:
        return None
    fields = fields_of(value) or {}
    if made == PIPELINE:
        return _last_of_pipeline(part, fields.get("steps"))
    if not made.module.startswith("sklearn."):
        return _own_attributes(part, fields) or None
    if made.name in SAME:
        return _attribute(part, fields, SAME[made.name])
    if made.name in CHANGED:
        attribute, caveat = CHANGED[made.name]
        return _attribute(part, fields, attribute, caveat.format(part.path))
    if made.name in COMBINED:
        return _attribute(part, fields, "estimators_", combined=True)
    return None


def _attribute(
    part: Part, fields: dict[str, object], name: str, caveat: str = "", *, combined: bool = False
) -> list[Part]:
    """The attribute, or each of its elements. Several elements are always combined."""
    value = fields.get(name, fields.get("base_estimator") if name == "estimator" else None)
    caveats = (*part.caveats, caveat) if caveat else part.caveats
    path = f"{part.path}.{name}"
    if not isinstance(value, list):
        return [] if value is None else [Part(path, value, caveats, part.combined or combined)]
    combined = combined or part.combined or len(value) > 1
    return [Part(f"{path}[{i}]", one, caveats, combined) for i, one in enumerate(value[:MOST])]


def _last_of_pipeline(part: Part, steps: object) -> list[Part] | None:
    if not isinstance(steps, list) or not steps or not all(isinstance(s, tuple) and len(s) == 2 for s in steps):
        return None
    idle = all(does is None or does == "passthrough" for _, does in steps[:-1])
    caveat = (
        () if idle else (f"It takes rows that the steps before it have changed: {part.path}[:-1].transform(rows).",)
    )
    return [Part(f"{part.path}[-1]", steps[-1][1], (*part.caveats, *caveat), part.combined)]


def _own_attributes(part: Part, fields: dict[str, object]) -> list[Part]:
    """Of a class that isn't known: the models that are attributes of it, by names that are meant for users."""
    caveat = f"What {part.path} does beside is not read."
    return [
        Part(f"{part.path}.{name}", value, (*part.caveats, caveat), part.combined)
        for name, value in fields.items()
        if name.isidentifier() and len(name) < 60 and not name.startswith("_") and _is_model(value)
    ]


def _entries(part: Part) -> Iterator[Part]:
    """Of a dict, list or tuple."""
    if isinstance(part.value, Pairs):
        entries = [(key, one) for key, one in text_keys(part.value).items() if len(key) < 60]
        yield from (Part(f"{part.path}[{key!a}]", one, part.caveats, part.combined) for key, one in entries)
    elif isinstance(part.value, list | tuple):
        yield from (Part(f"{part.path}[{i}]", one, part.caveats, part.combined) for i, one in enumerate(part.value))
