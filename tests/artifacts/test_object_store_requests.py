"""What a publication asks of a store doesn't grow with the versions that are there."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from obstore.store import MemoryStore

from millwork.artifacts.repository.object_store import records, store
from millwork.artifacts.repository.object_store.address import Place, parse
from millwork.artifacts.repository.object_store.repository import ObjectRepository
from millwork.artifacts.repository.object_store.store import Patience
from millwork.pipeline import publish as publication
from millwork.progress import Silent
from millwork.triton.address import NoServer
from millwork.triton.serving import prepare


class Counted:
    """A store in memory that counts the requests, by kind."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.memory, name)

        def call(*given: Any, **more: Any) -> Any:
            self.asked[name] += 1
            return method(*given, **more)

        return call


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    made = Counted()
    monkeypatch.setattr(store, "connect", lambda *_: made)
    return made


def repository() -> ObjectRepository:
    return ObjectRepository(parse("gs://bucket/models"), Patience(tries=2, first_wait_s=0.01), timedelta(hours=1))


def test_a_publication_makes_as_many_requests_at_thirty_versions_as_at_three(make_bundle, counted: Counted) -> None:
    """All of what a command asks, looks before and after the publication among it."""
    serving = prepare(NoServer(), None, lambda _: None)
    asked = []
    for number in range(1, 31):
        counted.asked.clear()
        done, _ = publication.publish([make_bundle(b"%d" % number)], repository(), serving, Silent())
        assert done.version == number
        asked.append(dict(counted.asked))
    assert asked[29] == asked[3], "each kind of request"
    counted.asked.clear()
    assert repository().rollback("m").version == 29


def test_what_was_given_up_is_looked_for_though_later_ones_are_settled(make_bundle, counted: Counted) -> None:
    into = repository()
    place = Place(address=into.address, name="m")
    for content in (b"1", b"2"):
        into.publish(make_bundle(content))
    assert records.settled(into.store, place) == 2
    left = records.reserve(into.store, place, 3, "digest", "manifest")
    assert left is not None
    into.publish(make_bundle(b"4"))
    assert records.settled(into.store, place) == 2, "its publisher may be at work"
    assert records.changed(into.store, place, left, state="withdrawn") is not None
    into.publish(make_bundle(b"5"))
    assert records.settled(into.store, place) == 2, "or it may still send files"
    assert [entry.version for entry in into.versions("m")] == [1, 2, 4, 5]
