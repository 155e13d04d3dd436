"""``LoadOptions``: what the user says of a model, beside its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LoadOptions:
    """``margin``: raw scores are the answer. ``data``: rows that may know the values of CatBoost's categories, or a
    net's columns; ``label``: the column of them that is no feature.

    Of a net: ``task``, what its outputs are margins of, where its file doesn't say; ``module``, the factory of a state
    dict's module, and ``module_path``, the folder that it is imported from, if it isn't installed.
    """

    margin: bool = False
    data: Path | None = None
    label: str | None = None
    task: str = ""
    module: str = ""
    module_path: str = ""


AS_SAVED = LoadOptions()
"""The file alone says everything."""
