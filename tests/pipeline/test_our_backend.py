"""For whom a version is written: a stock Triton, unless the server is known to have our backend."""

from __future__ import annotations

import msgspec
import pytest

from millwork import triton_releases
from millwork.artifacts.repository import at
from millwork.artifacts.repository.server_notes import ServerNotes
from millwork.errors import UsageError
from millwork.pipeline import our_backend
from millwork.progress import Silent
from millwork.triton.install import Installation
from millwork.triton.serving import CONTAINER_BACKENDS, Serving

STOCK = Installation(server="", backends="", caches="", libraries=())
RELEASE = triton_releases.newest()
NO_SERVER = Serving(release=RELEASE, backends=CONTAINER_BACKENDS)


class Told(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def managed(tmp_path):
    """Our own server: it has our backend, and stands for one that needn't."""
    from millwork.environments import Environment

    environment = msgspec.convert({"path": str(tmp_path)}, Environment)
    own = msgspec.structs.replace(STOCK, environment=environment)
    return Serving(release=RELEASE, backends=("python", "millwork"), installation=own)


def settled(serving, *, given=False, into=None, progress=None):
    return our_backend.settled(serving, ("millwork",), given=given, into=into, progress=progress or Silent())


def test_nothing_is_written_for_our_backend_unless_it_is_known(managed, tmp_path):
    found = settled(managed, into=at(str(tmp_path / "models")))
    assert found.own == ""
    assert found.served_by("millwork") == ("python",)
    assert found.only_measured("millwork") == ("millwork",), "the managed server measures it all the same"
    assert settled(NO_SERVER).served_by("millwork") == ("python",)
    assert settled(NO_SERVER).only_measured("millwork") == ()


def test_it_is_written_for_where_somebody_says_that_the_server_has_it(managed):
    for serving in (managed, NO_SERVER):
        found = settled(serving, given=True)
        assert found.own == "given"
        assert found.served_by("millwork") == ("millwork", "python")


def test_what_was_said_once_is_noted_beside_the_repository(managed, tmp_path):
    into = at(str(tmp_path / "models"))
    our_backend.note(into, settled(managed, into=into), Silent())
    assert into.server_notes() is None, "nothing is known"
    our_backend.note(into, settled(managed, given=True), Silent())
    assert into.server_notes() == ServerNotes(millwork_backend=True)
    assert settled(managed, into=into).own == "recorded"
    assert list((tmp_path / "models").glob("*")) == [], "Triton takes every folder in it for a model"


def test_a_repository_that_our_backend_serves_already_counts_as_noted(managed, tmp_path):
    model = tmp_path / "models" / "churn"
    model.mkdir(parents=True)
    (model / "config.pbtxt").write_text('name: "churn"\nbackend: "millwork"\n')
    into = at(str(tmp_path / "models"))
    assert settled(managed, into=into).own == "recorded"
    into.keep_server_notes(ServerNotes(millwork_backend=False))
    assert settled(managed, into=into).own == "", "a note is newer"


def test_notes_that_cannot_be_read_are_none(managed, tmp_path):
    into = at(str(tmp_path / "models"))
    into.keep_server_notes(ServerNotes(millwork_backend=True))
    (tmp_path / ".models.millwork" / "server.json").write_text("{")
    assert settled(managed, into=into).own == ""


def test_an_installation_that_lacks_it_is_not_talked_into_it(tmp_path):
    serving = Serving(release=RELEASE, backends=("python",), installation=STOCK)
    with pytest.raises(UsageError, match="has no millwork backend"):
        settled(serving, given=True)
    into, told = at(str(tmp_path / "models")), Told()
    into.keep_server_notes(ServerNotes(millwork_backend=True))
    found = settled(serving, into=into, progress=told)
    assert found.served_by("millwork") == ("python",)
    assert "doesn't have it" in told.notes[0]


def test_a_stock_container_has_tensorrts_backend():
    assert NO_SERVER.served_by("tensorrt") == ("tensorrt", "python")
