"""``Value``: the base of all values; ``FilePath``: what a step may read."""

from __future__ import annotations

from typing import Annotated, dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all values: immutable, compared by content, made by keywords."""


FilePath = Annotated[str, msgspec.Meta(extra={"readable": True})]
"""A file or folder that a step's request names to be read, absolute; empty where there is none. Whoever fills one in
has chosen it: it is never a text out of a model."""
