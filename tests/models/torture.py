"""All cases by name: what the torture suite and benchmarks/fidelity.py go through."""

from __future__ import annotations

from . import catboost_cases, xgboost_cases
from .cases import Make

CASES: dict[str, Make] = {
    f"{framework}: {name}": make
    for framework, cases in (("xgboost", xgboost_cases.CASES), ("catboost", catboost_cases.CASES))
    for name, make in cases.items()
}
