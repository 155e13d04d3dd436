"""All cases by name: what benchmarks/fidelity.py goes through, and with some more the torture suite."""

from __future__ import annotations

from . import catboost_cases, xgboost_cases
from .cases import Make

CASES: dict[str, Make] = {
    f"{framework}: {name}": make
    for framework, cases in (("xgboost", xgboost_cases.CASES), ("catboost", catboost_cases.CASES))
    for name, make in cases.items()
}

ALL: dict[str, Make] = CASES | {f"xgboost: {name}": make for name, make in xgboost_cases.WRAPPERS.items()}
