"""Publications and a rollback while clients ask all the time: none fails, none is answered by what doesn't serve."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from models.asking import Seen, asking

from millwork.artifacts.repository import publish, rollback
from millwork.triton import server
from millwork.triton.client import Session
from millwork.values import Manifest

from .test_publish_triton import ROWS, scaling

if TYPE_CHECKING:
    from millwork.triton.install import Installation

pytestmark = pytest.mark.triton


def test_no_request_fails_and_none_is_answered_wrong(
    triton_installation: Installation, repository: Path, tmp_path: Path, manifest: Manifest
) -> None:
    repository.mkdir(parents=True)
    seen = Seen()
    started = server.start(triton_installation, repository, log=tmp_path / "triton.log")
    with started as running, Session(running.grpc_url) as session:

        def verify(version: int) -> None:
            session.load("m")
            assert session.versions("m") == (version,)

        def put(factor: int) -> None:
            with seen.changing(ROWS * factor):
                publish(scaling(tmp_path / str(factor), manifest, str(factor)), repository, verify=verify)

        put(2)
        with asking(running, "m", ROWS, seen, clients=2):
            put(3)
            put(4)
            with seen.changing(ROWS * 3):
                assert rollback(repository, "m", verify=verify).version == 2
    assert seen.failures == []
    assert seen.wrong() == []
    assert (seen.not_ready, len(seen.changes)) == (Counter(), 4)
    assert {float(got[0, 0]) for _, _, got in seen.answers} == {2.0, 3.0, 4.0}
    assert seen.looks > 0


def test_an_answer_of_what_does_not_serve_is_told() -> None:
    """The judge itself: an answer of version 2 that was sent after version 3's publication had ended."""
    seen = Seen(changes=[(0.0, 1.0, ROWS * 2), (5.0, 6.0, ROWS * 3)])
    allowed = [(2.0, 3.0, ROWS * 2), (5.5, 5.6, ROWS * 2), (5.5, 5.6, ROWS * 3), (4.9, 5.1, ROWS * 3)]
    seen.answers = allowed
    assert seen.wrong() == []
    for wrong in [(6.1, 6.2, ROWS * 2), (3.0, 4.9, ROWS * 3), (5.5, 5.6, ROWS * 4)]:
        seen.answers = [*allowed, wrong]
        assert len(seen.wrong()) == 1
