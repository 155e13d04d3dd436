"""The allow-list: the exact pairs of module and name that the reader makes something of.

Every other global that a pickle names stays an inert :class:`~.stubs.Symbol`, and whatever is built from it an inert
record: it may lie in a model's file (a callback, a stopping rule), and nothing is taken from it. The modules beside
this one read a record only where its maker is one of these pairs. Prefixes and dotted names (``Booster.save_model``)
are none.

The list is a layer by itself: an unpickler whose ``find_class`` knows these pairs and nothing else loads the honest
files and runs none of the hostile ones (tests/compile/test_trust_layers.py). It isn't used so:
``Booster(model_file=…)`` is on it, and behind that is a native parser.
"""

from __future__ import annotations

from .stubs import BYTES, ENCODE, NEWOBJ, OBJECT, RECONSTRUCTOR, Symbol

# ── numpy's arrays, and joblib's place for them ───────────────────────────────────────────────────────────

DTYPE = Symbol("numpy", "dtype")
ARRAY = Symbol("numpy", "ndarray")
RECONSTRUCT = frozenset(Symbol(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core"))
SCALAR = frozenset(Symbol(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core"))
FROMBUFFER = frozenset(Symbol(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core"))
WRAPPER = Symbol("joblib.numpy_pickle", "NumpyArrayWrapper")

# ── models ────────────────────────────────────────────────────────────────────────────────────────────────

XGBOOST = frozenset(
    Symbol("xgboost.sklearn", name)
    for name in ("XGBModel", "XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor")
)
BOOSTER = Symbol("xgboost.core", "Booster")
LABEL_ENCODERS = frozenset(
    {Symbol("xgboost.compat", "XGBoostLabelEncoder"), Symbol("sklearn.preprocessing._label", "LabelEncoder")}
)
"""What XGBClassifier kept its user's labels in, before 1.6."""
CATBOOST = frozenset(
    Symbol("catboost.core", name) for name in ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")
)
PIPELINE = Symbol("sklearn.pipeline", "Pipeline")
"""Read where its last step is one of the models and every step before it does nothing."""

ALLOWED = (
    OBJECT | RECONSTRUCTOR | NEWOBJ | BYTES | RECONSTRUCT | SCALAR | FROMBUFFER | XGBOOST | LABEL_ENCODERS | CATBOOST
) | {ENCODE, DTYPE, ARRAY, WRAPPER, BOOSTER, PIPELINE}
"""All of them."""
