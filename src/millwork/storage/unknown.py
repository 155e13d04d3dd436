"""What is said of rows that hold a category which the model doesn't know: it answers them, but from no training."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy.typing as npt

from ..values import FeatureContract
from ..values.contracts import NO_CATEGORY, NO_INTEGER

MOST_COLUMNS = 8


def notes(categories: npt.NDArray[Any] | None, features: FeatureContract) -> tuple[str, ...]:
    """A note for each column of ``categories`` [N, C] with such rows: their share, and the value that most of them
    hold. Nothing of columns whose known values aren't all known here."""
    if categories is None or not len(categories):
        return ()
    found = []
    for name, column in zip(features.category_names, categories.T, strict=True):
        known = set(features.categories.get(name, ()))
        if features.category_nulls:
            known |= {NO_CATEGORY, str(NO_INTEGER)}  # what stands for a missing one is no unknown one
        counted = Counter({word: n for word, n in Counter(map(str, column.tolist())).items() if word not in known})
        if counted and features.categories.get(name):
            rows, (word, _) = counted.total(), counted.most_common(1)[0]
            found.append(
                f"{rows / len(categories):.1%} of the rows ({rows:,} of {len(categories):,}) hold a category of "
                f"{name!r} that the model does not know, such as {word[:40]!r}"
            )
    more = (f"{len(found) - MOST_COLUMNS} more columns hold such categories",) if len(found) > MOST_COLUMNS else ()
    return (*found[:MOST_COLUMNS], *more)
