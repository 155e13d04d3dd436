"""A server that falls silent: within ``--verify-timeout`` it is undone, whatever word of the protocol it was at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from models.freezing import freezing
from models.scaling import scaling

from millwork.artifacts.repository import LocalRepository
from millwork.errors import PublicationError, UsageError
from millwork.pipeline import publish as publication
from millwork.progress import Silent
from millwork.triton import patience, server
from millwork.triton.address import parse
from millwork.triton.serving import Serving, asked, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millwork.triton.install import Installation

pytestmark = pytest.mark.triton

QUICK_S = 2.0
ELSEWHERE = publication.Rehearsal(done="another server")


@pytest.fixture(scope="module")
def running(
    triton_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, server.RunningServer]]:
    models = tmp_path_factory.mktemp("served") / "models"
    models.mkdir()
    with server.start(triton_installation, models, log=models.parent / "triton.log") as found:
        yield models, found


def publish(folder: Path, factor: str, answers: float, name: str, into: LocalRepository, serving: Serving) -> int:
    bundle = scaling(folder / factor, factor, answers, name)
    done, _ = publication.publish([bundle], into, serving, Silent(), rehearsed=ELSEWHERE)
    return done.version


@pytest.mark.parametrize(
    ("word", "answers", "reason"),
    [
        ("RepositoryModelLoad", 3.0, r"refused to load 'm.*': it didn't answer within [12] s"),
        ("ModelReady", 3.0, r"whether 'm.*' is ready: it didn't answer within [12] s"),
        ("ModelInfer", 3.0, r"a request of 1 rows to 'm.*': it didn't answer within [12] s"),
    ],
)
def test_a_new_version_is_undone(tmp_path: Path, running, word: str, answers: float, reason: str) -> None:
    models, found = running
    into, name = LocalRepository(root=models), f"m-{word[-3:]}"
    usual = prepare(parse(found.grpc_url), None, print)
    publish(tmp_path, "2", 2.0, name, into, usual)
    with freezing(found.ports.grpc) as proxy:
        serving = prepare(parse(proxy.url), None, print, verify_s=QUICK_S)
        proxy.word = word.encode()
        with pytest.raises(PublicationError, match=rf"(?m){reason}.*; version 1 still serves$"):
            publish(tmp_path, "3", answers, name, into, serving)
        assert proxy.frozen.is_set()
    assert (into.serves(name), into.unfinished(name)) == (1, None)
    publish(tmp_path, "4", 4.0, name, into, usual)  # the server is as it was


def test_nothing_waits_for_long_where_the_server_is_silent_in_an_undo(tmp_path: Path, running) -> None:
    """The version before is to be loaded again; or there is none, and the new one to be unloaded."""
    models, found = running
    into = LocalRepository(root=models)
    with freezing(found.ports.grpc) as proxy:
        serving = prepare(parse(proxy.url), None, print, verify_s=QUICK_S)
        proxy.word = b"RepositoryModelUnload"
        with pytest.raises(PublicationError, match=r"answers wrong.*couldn't.*; no version of the model serves"):
            publish(tmp_path, "2", 3.0, "new", into, msgspec.structs.replace(serving, verify_s=5.0))
        assert proxy.frozen.is_set()
    assert into.unfinished("new") is None


def test_a_server_that_is_silent_before_anything_is_written(tmp_path: Path, running) -> None:
    models, found = running
    into = LocalRepository(root=models)
    with freezing(found.ports.grpc) as proxy:
        serving = prepare(parse(proxy.url), None, print, verify_s=QUICK_S)
        proxy.word = b"RepositoryIndex"
        with pytest.raises(PublicationError, match=r"(?m)no Triton answers at .*; no version of the model serves$"):
            publish(tmp_path, "2", 2.0, "other", into, serving)
        assert proxy.frozen.is_set()
    assert into.versions("other") == []
    with freezing(found.ports.grpc) as proxy:
        serving = prepare(parse(proxy.url), None, print, verify_s=QUICK_S)
        proxy.word = b"RepositoryModelLoad"  # which backends it has isn't known for that
        with pytest.raises(PublicationError, match="it didn't answer within"):
            asked(serving, ["python"])


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_a_time_that_cant_be_one_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match=r"--verify-timeout .*: expected above 0, at most 86400 seconds"):
        patience.checked(seconds)
