"""``client.py``: a program that asks the published model, written for it and kept beside the report.

``template.py`` is that program for no model; what lies between its two marks is filled in here. Names, categories and
labels come from a model's file, which anyone may have written: each is written as a Python literal, and none anywhere
else, so that nothing in them is code.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import units
from ...errors import ModelError, UsageError
from ...storage.files import atomic_write, refusal
from ...values import Example, FeatureContract, Manifest
from ...values.contracts import NO_CATEGORY, NO_INTEGER
from .. import bundle_rehearsal
from ..report.sections import CLIENT_FILE, MEANINGS

if TYPE_CHECKING:
    from ...validators.rows.given import Given
    from ..bundle import Bundle

TEMPLATE = Path(__file__).with_name("template.py")
BEGIN, END = "# ── what the model takes and gives", "# ── how it is asked"
MOST_ROWS, MANY_FEATURES = 3, 50
"""Rows that a client asks; one where the model has more features."""
FEW_VALUES = 5
"""Known values of a category that are listed."""


def write(bundle: Bundle, folder: Path) -> Example:
    """Write ``folder/client.py`` for the bundle; the request that it begins with. UsageError where it can't be."""
    manifest = bundle.manifest
    given, answers = bundle_rehearsal.golden_rows(bundle.folder, manifest)
    if not len(given):
        raise ModelError(f"{bundle.folder}: it has no golden rows", "Run optimize again.")
    picked = pick(given, answers, several=manifest.output.independent_rows)
    path = folder / CLIENT_FILE
    try:
        atomic_write(path, source(manifest, given[picked], answers[picked]).encode())
    except OSError as error:
        raise UsageError(f"the client can't be written: {refusal(error, path)}") from error
    return example(manifest, given[picked], answers[picked])


def forget(folder: Path) -> None:
    """A run begins: the client of the one before isn't this one's."""
    (folder / CLIENT_FILE).unlink(missing_ok=True)


def pick(given: Given, answers: Any, *, several: bool) -> list[int]:
    """Which golden rows a client asks, whole ones first. ``several``: else the first alone, which rows that affect each
    other were asked as, too."""
    if not several:
        return [0]
    answered = np.isfinite(answers).all(axis=1)
    whole = np.isfinite(given.numbers).all(axis=1)
    absent = np.isnan(given.numbers).any(axis=1)
    order = [*np.flatnonzero(answered & whole)[:2], *np.flatnonzero(answered & absent)[:1], *range(len(given))]
    most = MOST_ROWS if given.numbers.shape[1] <= MANY_FEATURES else 1
    return [int(i) for i in dict.fromkeys(order)][:most]


def source(manifest: Manifest, given: Given, answers: Any) -> str:
    """The program's text. ``answers`` float32 [N, K] are the framework's to the rows ``given``."""
    head, rest = TEMPLATE.read_text(encoding="utf-8").split(BEGIN)
    mark, foot = BEGIN + rest.split("\n", 1)[0], END + rest.split(END, 1)[1]
    return head + mark + "\n" + "\n".join(_facts(manifest, given, answers)) + "\n" + foot


def example(manifest: Manifest, given: Given, answers: Any) -> Example:
    """The first row, as HTTP takes it in JSON, with the framework's answer."""
    inputs: list[dict[str, Any]] = []
    if given.numbers.shape[1]:
        numbers = [shortest(value) for value in given.numbers[0]]
        inputs.append({"name": "input__0", "shape": [1, len(numbers)], "datatype": "FP32", "data": numbers})
    if given.categories is not None:
        words = given.categories[0].tolist()
        kind = "INT64" if manifest.features.category_dtype == "int64" else "BYTES"
        inputs.append({"name": "input__1", "shape": [1, len(words)], "datatype": kind, "data": words})
    return Example(request=json.dumps({"inputs": inputs}), answer=tuple(str(value) for value in answers[0]))


def shortest(value: np.float32) -> float:
    """The number with the fewest digits that is the same float32."""
    short = float(str(value))
    return short if np.float32(short) == value else float(value)


def _facts(manifest: Manifest, given: Given, answers: Any) -> Iterable[str]:
    features, output = manifest.features, manifest.output
    names = told_apart([*features.names, *features.category_names])
    numbers, words = names[: len(features.names)], names[len(features.names) :]
    yield f"MODEL = {manifest.name!r}"
    if features.names:
        yield "# input__0 FP32 [rows, numbers] takes these in this order; NaN is a missing value" + _sentinel(features)
    yield f"NUMBERS: tuple[str, ...] = {_names(numbers)}"
    if features.category_names:
        integers = features.category_dtype == "int64"
        kind = "INT64" if integers else "BYTES"
        yield f"# input__1 {kind} [rows, categories] takes these in this order"
        yield from (_known(name, features.categories.get(name, ())) for name in features.category_names)
        yield f"CATEGORIES: tuple[str, ...] = {_names(words)}"
        yield f'CATEGORY_TYPE = "{kind}"'
        nothing = (NO_INTEGER if integers else NO_CATEGORY) if features.category_nulls else None
        yield "# what stands for a missing category; None: there is none, fill it as you did for training"
        yield f"NO_CATEGORY: str | int | None = {nothing!r}"
    else:
        yield "CATEGORIES: tuple[str, ...] = ()"
        yield 'CATEGORY_TYPE = "BYTES"'
        yield "NO_CATEGORY: str | int | None = None"
    yield f"# output__0 FP32 [rows, outputs]: {MEANINGS[output.kind]}"
    yield f"OUTPUTS: tuple[str, ...] = {_names(output.labels)}"
    yield f"CLASSES: tuple[str, ...] = {_names(output.classes)}"
    yield "# by how much an answer may differ from the framework's: absolute, relative"
    yield f"MAX_DIFFERENCE = ({manifest.golden_abs!r}, {manifest.golden_rel!r})"
    yield "# rows that the framework has answered"
    yield "ROWS: list[dict[str, Any]] = ["
    for i in range(len(given)):
        yield from _row(numbers, words, given[i : i + 1])
    yield "]"
    yield "ANSWERS: list[list[float]] = ["
    yield from (f"    [{', '.join(_number(value) for value in answer)}]," for answer in answers)
    yield "]"


def _sentinel(features: FeatureContract) -> str:
    sentinel = features.missing
    return "" if sentinel is None or math.isnan(sentinel) else f", and so is {units.exact(sentinel)}"


def _names(names: Sequence[str]) -> str:
    one = f"({', '.join(map(repr, names))}{',' if len(names) == 1 else ''})"
    return one if len(one) <= 90 else "(\n" + "".join(f"    {name!r},\n" for name in names) + ")"


def _known(name: str, values: Sequence[str]) -> str:
    if not values:
        return f"#   {name!r}"
    more = f", … ({len(values):,} in all)" if len(values) > FEW_VALUES else ""
    return f"#   {name!r}: {', '.join(map(repr, values[:FEW_VALUES]))}{more}"


def told_apart(names: Sequence[str]) -> list[str]:
    """The names, with a number where one comes again: a row is a dict of them."""
    found: dict[str, None] = {}
    for name in names:
        again = (f"{name} ({i})" for i in itertools.count(2))
        found[next(one for one in itertools.chain([name], again) if one not in found)] = None
    return list(found)


def _row(numbers: Sequence[str], words: Sequence[str], given: Given) -> Iterable[str]:
    """One row as a dict of its features; what is missing is None."""
    yield "    {"
    for name, value in zip(numbers, given.numbers[0], strict=True):
        yield f"        {name!r}: {'None' if np.isnan(value) else _number(value)},"
    if given.categories is not None:
        for name, value in zip(words, given.categories[0].tolist(), strict=True):
            yield f"        {name!r}: {value!r},"
    yield "    },"


def _number(value: np.float32) -> str:
    return repr(shortest(value)) if np.isfinite(value) else f"float({str(float(value))!r})"
