"""Text in arrays. numpy's own text of fixed width drops NULs at the end of a text, and makes all as long as the
longest. So in memory texts are Python's own, in an array of objects; in a file numpy's where that loses nothing, else
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WIDEST = 64 << 20
"""Bytes of numpy's own text; what takes more is written as JSON."""


def column(words: Sequence[str]) -> Array:
    """[N] objects."""
    out = np.empty(len(words), object)
    out[:] = words
    return out


def packed(array: Array) -> Array:
    """What .npy and .npz hold without a pickle: numbers as they are, text as :func:`unpacked` reads it."""
    if array.dtype.kind != "O":
        return array
    words = array.ravel().tolist()
    width = max(map(len, words), default=0)
    if 4 * width * len(words) <= WIDEST and not any(word.endswith("\0") for word in words):
        return array.astype(np.str_)
    return np.frombuffer(json.dumps([list(array.shape), words]).encode(), np.uint8)


def unpacked(array: Array) -> Array:
    """The texts as objects; other arrays as they are. ValueError where JSON doesn't hold a table of texts."""
    if array.dtype.kind == "U":
        return array.astype(object)
    if array.dtype != np.uint8 or array.ndim != 1:
        return array
    try:
        shape, words = json.loads(array.tobytes())
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("not a list of texts")
        out = column(words).reshape(shape)
        if list(out.shape) != shape:
            raise ValueError(f"{len(words)} texts of shape {shape}")
        return out
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not a table of texts: {error}") from error
