"""A store that refuses everything once config.pbtxt names the version: it serves, and that is what is said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from obstore.store import MemoryStore

from millwork.artifacts.repository.object_store import store
from millwork.artifacts.repository.object_store.address import parse
from millwork.artifacts.repository.object_store.repository import ObjectRepository
from millwork.artifacts.repository.object_store.store import Patience
from millwork.errors import PublicationError


class Refusing:
    """A store in memory. Once ``closed``, no request is done: 403."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.closed = False
        self.left = -1

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.memory, name)

        def call(*given: Any, **more: Any) -> Any:
            if self.closed and self.left == 0:
                raise PermissionError("status code: 403 Forbidden <Code>AccessDenied</Code>")
            self.left -= self.closed
            return method(*given, **more)

        return call


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    made = Refusing()
    monkeypatch.setattr(store, "connect", lambda *_: made)
    return made


def repository() -> ObjectRepository:
    return ObjectRepository(parse("gs://bucket/models"), Patience(tries=2, first_wait_s=0.0), timedelta(hours=1))


@pytest.mark.parametrize("left", range(8))
def test_what_is_verified_and_serves_is_published(make_bundle, refusing: Refusing, left: int) -> None:
    """The store refuses from the ``left``-th request after the verification on."""
    repository().publish(make_bundle(b"1"))

    def verify(_: int) -> None:
        refusing.left, refusing.closed = left, True

    done = repository().publish(make_bundle(b"2"), verify=verify)
    assert done.version == 2
    refusing.closed = False
    assert repository().serves("m") == 2
    if done.notes:
        known = ("couldn't be noted", "couldn't be removed", "can't be read back")
        assert all(any(words in note for words in known) for note in done.notes)
    again = repository().publish(make_bundle(b"2"), verify=lambda _: None)
    assert (again.version, again.notes) == (2, ())
    assert repository().publish(make_bundle(b"3")).version == 3


def test_what_fails_to_verify_then_says_that_it_may_serve(make_bundle, refusing: Refusing) -> None:
    repository().publish(make_bundle(b"1"))

    def verify(_: int) -> None:
        refusing.left, refusing.closed = 0, True
        raise PublicationError("it answers wrong")

    with pytest.raises(PublicationError, match=r"it answers wrong; the undo failed too: .*; version 2 may serve"):
        repository().publish(make_bundle(b"2"), verify=verify)
    refusing.closed = False
    assert repository().publish(make_bundle(b"3"), verify=lambda _: None).version == 3
