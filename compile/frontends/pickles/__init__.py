"""Pickles, read and never unpickled: the native model is taken out of what the pickle says.

streams     a file's bytes, decompressed with a limit
machine     the opcodes -> inert records: nothing is imported, looked up or called
stubs       the records, and plain values read out of them
allowed     the exact names that are understood
arrays      NumPy's dtypes, scalars and arrays, read out of them
estimators  the record of an estimator -> PickledModel
"""

from __future__ import annotations

from pathlib import Path

from ....errors import ModelError
from .. import model_file
from .estimators import Attributes, PickledModel, model_of
from .machine import Limits
from .opcodes import run
from .streams import expand

__all__ = ["Attributes", "Limits", "PickledModel", "read_pickle", "read_pickled"]


def read_pickle(path: Path, limits: Limits = Limits()) -> PickledModel:  # noqa: B008 - frozen
    """The XGBoost or CatBoost model in a file of pickle's or joblib's (protocols 0-5; zlib, gzip, bz2, xz, lzma, lz4).

    Nothing in the file is executed and nothing is imported. Raises ModelError where the file is unreadable,
    malformed, beyond ``limits``, or holds something else than one fitted model.
    """
    return read_pickled(model_file.read_whole(path, limits.file_bytes), str(path), limits)


def read_pickled(payload: bytes, name: str, limits: Limits = Limits()) -> PickledModel:  # noqa: B008 - frozen
    """As :func:`read_pickle`, from the file's bytes; ``name`` begins the messages."""
    try:
        return model_of(run(expand(payload, name, limits.expanded_bytes), name, limits), name)
    except MemoryError:
        raise ModelError(f"{name}: reading it needs more memory than there is") from None
