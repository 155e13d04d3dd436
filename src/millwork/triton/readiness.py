"""Which backends a server has, and how it is left as ready as it was after a model failed to load on it, where no
earlier version can be put back.

Measured on Triton 2.51: with strict readiness (the default) ``/v2/health/ready`` turns false when a load fails, and
stays so after the model is unloaded. It turns true once a good model of that name has been loaded and unloaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ..errors import PublicationError
from .client import NOT_EXPLICIT, Session, SilentError
from .probes import Probe, probe

NO_BACKEND = "unable to find backend library"
"""What Triton says of a model whose backend it lacks."""

Good = Probe
"""A model that the server is known to load."""


def forget(session: Session, name: str, good: Good | None = None) -> None:
    """Unload ``name``, and make the server forget that it failed, by a ``good`` model, or else one in python that does
    nothing. Where none is known and the server lacks the python backend it stays as it is: nobody could do more."""
    session.unload(name)
    config, files = good or probe("python")
    with contextlib.suppress(PublicationError):
        session.load(name, config(name), files)
        session.unload(name)


def backends_of(session: Session, wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of ``wanted`` that the server has. It is left as it was: what failed to load is forgotten by a model that
    loaded. PublicationError where it takes no model by its API (poll and none mode)."""
    has: list[str] = []
    failed: list[str] = []
    good: Good | None = None
    for backend in sorted(dict.fromkeys(wanted), key=lambda name: name != "python"):
        name, (config, files) = f"millwork-asks-for-{backend}", probe(backend)
        try:
            session.load(name, config(name), files)
        except SilentError:
            raise
        except PublicationError as error:
            if NOT_EXPLICIT in error.message:
                raise
            failed.append(name)
            if NO_BACKEND not in error.message:  # refused for what it is
                has.append(backend)
        else:
            session.unload(name)
            has.append(backend)
            good = good or (config, files)
    for name in failed:
        forget(session, name, good)
    return tuple(backend for backend in wanted if backend in has)
