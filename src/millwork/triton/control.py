"""Who says which models a server has: we, by its load API (explicit mode), or its own look at the repository.

A server that polls (``--model-control-mode=poll``) is published to and waited for. One that reads its repository only
when it starts (``none``) can't be told from it by any question, so it is waited for in vain, and the message says so.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UsageError
from .address import Address, Remote
from .client import Session


def foresee(address: Address, announce: Callable[[str], None], *, tuned: str = "") -> None:
    """Before any work: a server that runs already is there, and loads what it is told to, or that is said. ``tuned``:
    what trials are loaded for, in words; empty where none are. UsageError where they can't be."""
    if not isinstance(address, Remote):
        return
    with Session(address.url, address.credentials) as asked:
        explicit = asked.explicit()
    if tuned:
        require_explicit(tuned, address.url, explicit=explicit)
    note(address.url, announce, address.verify_s, explicit=explicit)


def require_explicit(what: str, url: str, *, explicit: bool) -> None:
    """UsageError where the server doesn't load what it is told to, and ``what`` can't do without."""
    if not explicit:
        raise UsageError(
            f"{what}: the server at {url} isn't in explicit mode, so no trial can be loaded on it",
            "Start it with --model-control-mode=explicit, or use --triton managed.",
        )


def note(url: str, announce: Callable[[str], None], verify_s: float, *, explicit: bool) -> None:
    """Say what a publication means on a server that isn't in explicit mode."""
    if not explicit:
        announce(
            f"{url} isn't in explicit mode. If it polls its repository, millwork waits up to {verify_s:g} s until it "
            "loads the new version. If it reads it only at its start (mode none), use --triton none and start it again"
        )
