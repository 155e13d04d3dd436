"""A ``pickle_module`` for torch.load that builds tensors and plain containers, and nothing else.

Any other class or function that the file names is a stub that takes everything and does nothing. So what the file says
is never imported and never called.
"""

from __future__ import annotations

import collections
import pickle
from typing import Any, Self

import torch
from torch import _utils as rebuilt

KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor"): rebuilt._rebuild_tensor,  # noqa: SLF001 -- what torch.save names
    ("torch._utils", "_rebuild_tensor_v2"): rebuilt._rebuild_tensor_v2,  # noqa: SLF001 -- likewise
    ("torch._utils", "_rebuild_parameter"): rebuilt._rebuild_parameter,  # noqa: SLF001 -- likewise
}
"""What may be called: it makes tensors of the file's raw bytes."""


class Inert:
    """What stands for an object of any other class."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass

    def extend(self, _: Any) -> None:
        pass

    def add(self, _: Any) -> None:
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name), Inert)


def load(file: Any, **options: Any) -> Any:
    """As pickle's, which torch.load calls for its older format."""
    return Unpickler(file, **options).load()
