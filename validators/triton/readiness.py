"""Leave a server as ready as it was, after a model failed to load on it and no earlier version can be put back.

Measured on Triton 2.51: with strict readiness (the default) ``/v2/health/ready`` turns false when a load fails, and
stays so after the model is unloaded. It turns true once a good model of that name has been loaded and unloaded.
"""

from __future__ import annotations

import contextlib
import json

from ...errors import PublicationError
from .client import Session

MODEL_PY = b"""
class TritonPythonModel:
    def execute(self, requests):
        return [None for _ in requests]
"""


def forget(session: Session, name: str) -> None:
    """Unload ``name``, and make the server forget that it failed, by a model that does nothing. Where the server
    lacks the python backend it stays as it is: nobody could do more."""
    session.unload(name)
    tensor = {"name": "nothing", "data_type": "TYPE_FP32", "dims": [1]}
    config = {"name": name, "backend": "python", "input": [tensor], "output": [{**tensor, "name": "either"}]}
    with contextlib.suppress(PublicationError):
        session.load(name, json.dumps(config), {"file:1/model.py": MODEL_PY})
        session.unload(name)
