"""From the record of a pickled estimator to its native model and the attributes that change its answers.

What the states look like was seen in files written by xgboost 1.5.2, 1.7.6, 2.1.4 and 3.2.0, and catboost 1.2.10:

    xgboost.sklearn.XGB*    {parameters…, "missing", "n_classes_", "classes_"?, "_le"?, "_Booster": Booster}
    xgboost.core.Booster    {"handle": bytearray, "best_iteration"?}      (the latter before 2.0)
    catboost.core.CatBoost* {parameters…, "__model": bytes}               (XGBoost's handle: UBJSON {Config, Model};
                                                                           before 1.6 the same in JSON)
    sklearn Pipeline        {"steps": [(name, estimator or "passthrough"), …], …}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from ....errors import ModelError
from ....values import Framework, Value
from . import hints
from .allowed import BOOSTER, CATBOOST, LABEL_ENCODERS, PIPELINE, XGBOOST
from .arrays import Scalar, elements_of, scalar_of
from .stubs import Record, Symbol, as_bytes, class_of, fields_of, is_one_of, named

T = TypeVar("T")

PayloadFormat = Literal["ubj", "json", "cbm"]


class Attributes(Value):
    """What an estimator's Python side keeps beside the native model; None where the pickle says nothing.

    XGBoost: ``missing`` None means NaN. ``objective`` is a dotted name where it was the user's own function
    (``custom_objective``). ``best_iteration`` is here only before xgboost 2.0 (it is the last round where nothing
    stopped early); later versions keep it in the booster's attributes. It slices an estimator's answers, never a
    bare Booster's. ``feature_names`` are the Python side's,
    before 1.4. CatBoost keeps what changes answers in its own model; ``loss_function``, ``n_estimators``
    (iterations) and ``classes`` (class_names) are as they were passed, for the report.
    """

    missing: float | None = None
    n_classes: int | None = None
    classes: tuple[Scalar, ...] | None = None
    objective: str | None = None
    custom_objective: bool = False
    best_iteration: int | None = None
    enable_categorical: bool | None = None
    n_estimators: int | None = None
    early_stopping_rounds: int | None = None
    booster: str | None = None
    feature_names: tuple[str, ...] | None = None
    loss_function: str | None = None


class PickledModel(Value):
    """The native model in a pickle, as the framework wrote it, and its Python side's attributes.

    ``payload``: XGBoost: the Booster's handle, an object {Config, Model} in ``ubj`` (``ubjson.member(payload,
    "Model")`` is what ``save_raw("ubj")`` gives) or, from versions before 1.6, ``json``. CatBoost: a ``cbm`` file.
    """

    framework: Framework
    estimator: str
    payload: bytes
    payload_format: PayloadFormat
    attributes: Attributes


_EXPECTED = (
    "expected one fitted xgboost Booster or XGBClassifier/XGBRegressor/XGBRanker/XGBRF…, "
    "or catboost CatBoost/CatBoostClassifier/CatBoostRegressor/CatBoostRanker"
)
MOST_PIPELINES = 100
"""One in the other: a pickle may hold one that is its own last step."""
_OLD_TORCH = 0x1950A86A20F9469CFC6C
"""The number that begins the file was written by torch.save before 1.6."""


def model_of(value: object, name: str) -> PickledModel:
    """The model that a pickle's outermost value describes. Raises ModelError, by name, for any other value."""
    whole = value
    made = class_of(value)
    for _ in range(MOST_PIPELINES):
        if made != PIPELINE or not isinstance(value, Record):
            break
        value = _last_step(value, whole, name)
        made = class_of(value)
    if not isinstance(value, Record) or made is None:
        raise _refusal(value, whole, name)
    if made == BOOSTER:
        return _xgboost(made, value, {}, name)
    fields = fields_of(value)
    if made in XGBOOST:
        if fields is None:
            raise ModelError(f"{name}: a pickle of {made} whose state is not a dict of its attributes")
        return _xgboost(made, fields.get("_Booster"), fields, name)
    if made in CATBOOST:
        if fields is None:
            raise ModelError(f"{name}: a pickle of {made} whose state is not a dict of its parameters")
        return _catboost(made, fields, name)
    raise _refusal(value, whole, name)


def _last_step(pipeline: Record, whole: object, name: str) -> object:
    """The model of a pipeline whose other steps do nothing. ModelError names the first that does something."""
    steps = (fields_of(pipeline) or {}).get("steps")
    if not isinstance(steps, list) or not steps or not all(isinstance(s, tuple) and len(s) == 2 for s in steps):
        raise ModelError(f"{name}: a pickle of {PIPELINE} whose steps are not a list of names and estimators")
    for step, does in steps[:-1]:
        if does is not None and does != "passthrough":
            raise ModelError(
                f"{name}: a pickle of {PIPELINE} whose step {_named_step(step)} is {named(does)}, "
                "and no step before the model is read",
                hints.hint(whole),
            )
    return steps[-1][1]


def _named_step(step: object) -> str:
    """A step's name as it is shown, whatever the pickle holds for it."""
    return ascii(step[:60]) if isinstance(step, str) else named(step)


def _xgboost(made: Symbol, booster: object, fields: dict[str, object], name: str) -> PickledModel:
    if booster is None:
        raise _unfitted(made, name, "fit(X, y)")
    state = fields_of(booster) if isinstance(booster, Record) and class_of(booster) == BOOSTER else None
    if state is None:
        raise ModelError(f"{name}: a pickle of {made} whose booster is {named(booster)}, not an xgboost Booster")
    handle = state.get("handle")
    if handle is None:
        raise _unfitted(made, name, "training")
    payload = as_bytes(handle)
    if payload is None:
        raise ModelError(f"{name}: a pickle of {made} whose handle is {named(handle)}, not bytes")
    return PickledModel(
        framework="xgboost",
        estimator=made.name,
        payload=payload,
        payload_format=_xgboost_format(payload, name),
        attributes=_xgboost_attributes(fields, state, name),
    )


def _xgboost_format(payload: bytes, name: str) -> Literal["ubj", "json"]:
    if payload.startswith(b'{"'):
        return "json"
    if payload[:1] == b"{" and payload[1:2] in {b"L", b"l", b"I", b"U", b"i"}:
        return "ubj"
    if payload.startswith((b"binf", b"bs64", b"CONFIG-offset:")):
        raise ModelError(
            f"{name}: its booster is in XGBoost's old binary format, which only the version that wrote it reads",
            'Load the pickle in that version and call save_model("model.json"). The file then lacks a missing= that '
            "isn't NaN: give NaN for what is missing.",
        )
    raise ModelError(f"{name}: its booster begins with {payload[:8]!r}: neither XGBoost's UBJSON nor its JSON")


def _xgboost_attributes(fields: dict[str, object], state: dict[str, object], name: str) -> Attributes:
    objective = fields.get("objective")
    custom = isinstance(objective, Symbol | Record)
    return Attributes(
        missing=_read(fields, "missing", _number, "a number", name),
        n_classes=_read(fields, "n_classes_", _whole, "a whole number", name),
        classes=_labels(fields, name),
        objective=named(objective) if custom else _read(fields, "objective", _text, "text", name),
        custom_objective=custom,
        best_iteration=_read(state | fields, "best_iteration", _whole, "a whole number", name),
        enable_categorical=_read(fields, "enable_categorical", _flag, "True or False", name),
        n_estimators=_read(fields, "n_estimators", _whole, "a whole number", name),
        early_stopping_rounds=_read(fields, "early_stopping_rounds", _whole, "a whole number", name),
        booster=_read(fields, "booster", _text, "text", name),
        feature_names=_read(state, "feature_names", _texts, "a list of text", name),
    )


def _labels(fields: dict[str, object], name: str) -> tuple[Scalar, ...] | None:
    labels = _read(fields, "classes_", elements_of, "a list of numbers or text", name)
    encoder = fields.get("_le")  # xgboost 1.3 to 1.5: the user's labels are in its label encoder
    if isinstance(encoder, Record) and is_one_of(class_of(encoder), LABEL_ENCODERS):
        encoded = _read(fields_of(encoder) or {}, "classes_", elements_of, "a list of numbers or text", name)
        labels = encoded if encoded is not None else labels
    return labels


def _catboost(made: Symbol, fields: dict[str, object], name: str) -> PickledModel:
    model = fields.get("__model")
    if model is None:
        raise _unfitted(made, name, "fit(X, y)")
    payload = as_bytes(model)
    if payload is None or not payload.startswith(b"CBM1"):
        raise ModelError(f"{name}: a pickle of {made} whose model is {named(model)}, not a CatBoost binary model")
    loss = fields.get("loss_function", fields.get("objective"))
    custom = isinstance(loss, Symbol | Record)
    rounds = next((key for key in ("iterations", "n_estimators", "num_boost_round", "num_trees") if key in fields), "")
    return PickledModel(
        framework="catboost",
        estimator=made.name,
        payload=payload,
        payload_format="cbm",
        attributes=Attributes(
            classes=_read(fields, "class_names", elements_of, "a list of numbers or text", name),
            loss_function=named(loss) if custom else _text(loss),
            custom_objective=custom,
            n_estimators=_read(fields, rounds, _whole, "a whole number", name),
        ),
    )


def _read(
    fields: dict[str, object], key: str, read: Callable[[object], T | None], expected: str, name: str
) -> T | None:
    """One attribute, None where it is absent or None. One that can't be read may change answers: refused."""
    value = fields.get(key)
    if value is None:
        return None
    found = read(value)
    if found is None:
        raise ModelError(f"{name}: the estimator's {key!r} is {named(value)}, expected {expected}")
    return found


def _number(value: object) -> float | None:
    number = scalar_of(value)
    try:
        return float(number) if isinstance(number, int | float) else None
    except OverflowError:
        return None


def _whole(value: object) -> int | None:
    number = scalar_of(value)
    return number if type(number) is int and abs(number) < 1 << 53 else None


def _flag(value: object) -> bool | None:
    flag = scalar_of(value)
    return flag if isinstance(flag, bool) else None


def _text(value: object) -> str | None:
    text = scalar_of(value)
    return text if isinstance(text, str) and text.isprintable() else None


def _texts(value: object) -> tuple[str, ...] | None:
    texts = elements_of(value)
    if texts is None or not all(isinstance(text, str) for text in texts):
        return None
    return tuple(text for text in texts if isinstance(text, str))


def _unfitted(made: Symbol, name: str, verb: str) -> ModelError:
    return ModelError(f"{name}: a pickle of {made} that isn't fitted: it holds no trees", f"Save it after {verb}.")


def _refusal(value: object, whole: object, name: str) -> ModelError:
    """``whole``: what the file holds; ``value``: what of it isn't read."""
    if value == _OLD_TORCH:
        return ModelError(f"{name}: the file was written by torch.save", hints.OTHERS["torch"])
    return ModelError(f"{name}: a pickle of {named(value)}; {_EXPECTED}", hints.hint(whole))
