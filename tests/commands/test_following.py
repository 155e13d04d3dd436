"""``triton serve`` serves what is published while it runs, on a real Triton."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from models.scaling import ROWS, scaling

from millwork.artifacts.repository import publish, rollback
from millwork.commands.following import Follower
from millwork.errors import PublicationError
from millwork.triton import server
from millwork.triton.client import Session

pytestmark = pytest.mark.triton


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def loading(self, _name: str):
        return contextlib.nullcontext()

    def failed(self, error) -> None:
        self.lines.append(f"failed: {error.message}")

    def follows(self, name: str, versions: tuple[int, ...]) -> None:
        self.lines.append(f"{name} {versions}")

    def since(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines


def test_what_is_published_meanwhile_is_served(triton_installation, tmp_path: Path) -> None:
    repository, told, needed = tmp_path / "models", Told(), []
    publish(scaling(tmp_path / "2", "2", 2.0), repository)
    following = Follower(repository, (), needed.append)
    with (
        server.start(triton_installation, repository, log=tmp_path / "log") as running,
        Session(running.grpc_url) as asked,
    ):
        asked.load("m")

        def look() -> list[str]:
            following.look(asked, told)
            return told.since()

        def answers() -> float:
            return float(np.unique(asked.infer("m", ROWS) / ROWS).item())

        assert look() == []
        publish(scaling(tmp_path / "3", "3", 3.0), repository)
        assert look() == ["m (2,)"]
        assert (answers(), needed) == (3.0, ["m"])
        rollback(repository, "m")
        assert look() == ["m (1,)"]
        assert answers() == 2.0

        def wrong(_version: int) -> None:
            assert look() == [], "it isn't known to be right yet"
            raise PublicationError("it answers wrong")

        with pytest.raises(PublicationError, match="it answers wrong"):
            publish(scaling(tmp_path / "4", "4", 5.0), repository, verify=wrong)
        assert look() == []
        assert answers() == 2.0

        publish(scaling(tmp_path / "other", "7", 7.0, name="other"), repository)
        assert look() == ["other (1,)"]
        publish(scaling(tmp_path / "broken", "not a number", 1.0), repository)
        (line,) = look()
        assert "could not convert string to float" in line
        assert look() == [], "told once"
        assert answers() == 2.0
        shutil.rmtree(repository / "other")
        assert look() == ["other ()"]
        assert running.ended(0) is None
