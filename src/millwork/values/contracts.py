"""What a model takes and what it gives: the contract with its clients, and where it came from."""

from __future__ import annotations

from typing import Literal

import msgspec

from .base import Value

MAX_BATCH = 4096
"""Rows that a request, a batch of the server's and an engine take; more where the traffic says so."""

NO_CATEGORY = ""
NO_INTEGER = -(2**63)
"""What stands for a missing value among strings and among integers, where the model takes one for missing."""

Framework = Literal["xgboost", "catboost", "torch"]


Task = Literal["binary", "multiclass", "multilabel", "regression", "ranking", "survival"]


OutputKind = Literal["probability", "margin", "value", "label"]


class FeatureContract(Value):
    """What a client sends: ``input__0`` FP32 [F], the numeric features in training order (codes of categories among
    them, where the model was trained on codes), and ``input__1`` [C], only where the model takes categories' values.

    ``missing`` is the number that stands for a missing value beside NaN, or None. ``names`` (of ``input__0``) and
    ``category_names`` (of ``input__1``) are the model's own, or ``f0 … `` by position where it carries none (then
    ``named`` is False and columns are taken by position). ``dtypes`` are as sent, one a name of ``names``.
    ``category_dtype``: ``string`` (BYTES) or ``int64``. ``categories``: the known values of a category feature, by its
    name, integers as decimal text. ``order``: all names in training order, where there are category names.
    ``category_nulls``: whether a category may be missing (an empty string, or the smallest int64: what isn't known is
    missing). ``truths``: how the framework writes False and True where they are categories. ``code_counts``: of a net,
    how many codes each category feature has, from its ``code_lows`` on (0: it takes any); a row with another is
    answered NaN. ``code_rule``: ``range`` where that says exactly which rows the net answers, ``asked`` where codes of
    several columns, or numbers, decide it together. ``finite``: the framework fails on a number that is NaN or
    infinite, or no graph answers as it does: a row that holds one is answered NaN.
    """

    names: tuple[str, ...]
    named: bool
    missing: float | None = None
    dtypes: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    category_names: tuple[str, ...] = ()
    category_dtype: Literal["", "string", "int64"] = ""
    order: tuple[str, ...] = ()
    category_nulls: bool = False
    code_counts: tuple[int, ...] = ()
    code_lows: tuple[int, ...] = ()
    code_rule: Literal["", "range", "asked"] = ""
    finite: bool = False
    truths: tuple[str, str] = ("False", "True")

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every feature, in training order."""
        return self.order or self.names


class OutputContract(Value):
    """What a client gets as ``output__0`` FP32 [K].

    ``probability``: one per class, the framework's predict_proba. ``value``: the framework's predict.
    ``margin``: raw scores, before any transform. ``label``: the number of the class that is decided for, whose name is
    in ``classes`` (several labels: 0 or 1 for each). ``labels`` name the K outputs (class labels for classifiers).
    ``threshold``: the probability above which a binary model decides for its second class. ``independent_rows``:
    whether a row is answered alone as it is among others; where not, requests are never batched together.
    """

    kind: OutputKind
    task: Task
    labels: tuple[str, ...]
    threshold: float | None = None
    classes: tuple[str, ...] = ()
    independent_rows: bool = True


class Provenance(Value):
    """Where the model came from: the file, and what wrote it."""

    path: str
    format: str
    sha256: str
    framework: Framework
    framework_version: str
    estimator: str = ""
    notes: tuple[str, ...] = ()


class ModelSummary(Value):
    """``features`` are ``input__0``'s and ``categories`` ``input__1``'s, in order. ``output_kind`` says what
    ``outputs`` hold; ``missing`` is the number read as missing beside NaN, or None."""

    framework: str
    objective: str
    sha256: str
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    framework_version: str = ""
    oracle_version: str = ""
    path: str = ""
    trees: int = 0
    output_kind: OutputKind | None = None
    missing: float | None = None
    notes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    category_dtype: str = ""
