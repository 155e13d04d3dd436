"""What a CatBoost model says of itself (``model_info``): its loss, its classes, which version wrote it.

A model of several that were added up (``sum_models``) keeps no training parameters. Its ``loss_function`` and
``class_params`` are there where all its parts agree on them, and what else its parts said is under ``model0:``, ….
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....errors import ModelError

Document = Mapping[str, Any]

_VERSION = "catboost_version_info"


@dataclass(frozen=True)
class Classes:
    """``labels``: of every class, in the order of CatBoost's answers. ``places``: for each of the model's own outputs
    its class; a class that has none was in no row of the training."""

    labels: tuple[str, ...]
    places: tuple[int, ...]


def loss(information: Document) -> str:
    """The loss that the model was trained with, without its parameters; an empty text where the file names none."""
    given = information["params"]["loss_function"] if "params" in information else information.get("loss_function")
    given = _parsed(given)
    if isinstance(given, Mapping):
        return str(given["type"])
    return "" if given is None else str(given).partition(":")[0]


def version(information: Document) -> str:
    """The version that wrote the model; of several that were added up the newest. Empty where the file doesn't say."""
    whole = information.get(_VERSION)
    texts = [whole] if whole else [text for key, text in information.items() if key.endswith(f":{_VERSION}")]
    found = [found for text in texts if (found := _version(str(text)))]
    return max(found, key=lambda text: [*map(int, text.split("."))], default="")


def classes(information: Document, outputs: int) -> Classes | None:
    """The classes of a model of so many ``outputs``; None where the file names none. ModelError where what it says of
    them doesn't fit the outputs."""
    given = _parsed(information.get("class_params"))
    if not given:
        return None
    names, known = given.get("class_names") or (), given.get("class_to_label") or ()
    is_float = given.get("class_label_type") == "Float"
    count = int(given.get("classes_count") or 0)
    if names:
        labels = tuple(_label(name, is_float=is_float) for name in names)
    elif count:
        labels = tuple(map(str, range(count)))
    else:  # the labels themselves, where nobody has named them
        labels, known = tuple(_label(label, is_float=is_float) for label in known), range(len(known))
    places = tuple(int(place) for place in known) or tuple(range(len(labels)))
    if len(set(places)) != len(places) or not all(0 <= place < len(labels) for place in places):
        raise ModelError(f"class_to_label {list(places)[:10]} doesn't name some of the model's {len(labels)} classes")
    if outputs > 1 and len(places) != outputs and len(labels) >= outputs:
        raise ModelError(f"class_to_label has {len(places)} classes, but the trees have {outputs} outputs")
    return Classes(labels, places)


def _parsed(given: Any) -> Any:
    """A value of the file: it may be JSON in a text."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        return json.loads(given)
    return given


def _label(given: Any, *, is_float: bool) -> str:
    """As CatBoost's ``classes_`` holds it: 1.0 of a float, though the file writes 1."""
    return str(float(given)) if is_float else str(given)


def _version(text: str) -> str:
    found = re.search(r"release (\d+\.\d+(?:\.\d+)?)|tags/v(\d+\.\d+(?:\.\d+)?)", text)
    return next(filter(None, found.groups())) if found else ""
