"""Which backends a server has, and how it is left as ready as it was after a model failed to load on it, where no
earlier version can be put back.

Measured on Triton 2.51: with strict readiness (the default) ``/v2/health/ready`` turns false when a load fails, and
stays so after the model is unloaded. It turns true once a good model of that name has been loaded and unloaded.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping

from ..errors import PublicationError
from .client import Session

NO_BACKEND = "unable to find backend library"
"""What Triton says of a model whose backend it lacks."""

MODEL_PY = b"""
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""


Good = tuple[Callable[[str], str], Mapping[str, bytes]]
"""A model that the server is known to load: its configuration under a name, and its files."""


def forget(session: Session, name: str, good: Good | None = None) -> None:
    """Unload ``name``, and make the server forget that it failed, by a ``good`` model, or else one in python that does
    nothing. Where none is known and the server lacks the python backend it stays as it is: nobody could do more."""
    session.unload(name)
    with contextlib.suppress(PublicationError):
        if good is None:
            _load(session, name, "python")
        else:
            config, files = good
            session.load(name, config(name), files)
        session.unload(name)


def has_backend(session: Session, backend: str) -> bool:
    """Whether the server has a backend: there is no other way to ask than a model, which fails to load for want of the
    backend or, but in python, for what it is (one without a file hangs the python backend of 2.51 for good). The server
    is left as it was."""
    name = f"millwork-asks-for-{backend}"
    try:
        _load(session, name, backend)
    except PublicationError as error:
        return NO_BACKEND not in error.message
    else:
        return True
    finally:
        forget(session, name)


def _load(session: Session, name: str, backend: str) -> None:
    """A model that does nothing, for python; for any other backend none at all."""
    tensor = {"name": "nothing", "data_type": "TYPE_FP32", "dims": [1]}
    config = {"name": name, "backend": backend, "input": [tensor], "output": [{**tensor, "name": "either"}]}
    session.load(name, json.dumps(config), {"file:1/model.py": MODEL_PY})
