"""The managed Triton reads the repository in the object store itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import s3
from models.jobs import Desk, millwork

from millwork.artifacts import manifest as manifests
from millwork.artifacts.repository import at
from millwork.storage import tables
from millwork.triton import server
from millwork.triton.client import Session

pytestmark = pytest.mark.triton


def test_published_verified_and_rolled_back_over_s3(
    desk: Desk, triton_installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{s3.BUCKET}/a/models"
    (tmp_path / "s3").mkdir()
    with s3.served(tmp_path / "s3") as port:
        for name, value in s3.variables(port).items():
            monkeypatch.setenv(name, value)
        for model, triton in ((desk.files.clicks, "managed"), (desk.files.again, "none")):
            said = desk.optimize(
                model, "--repository", url, "--name", "clicks", "--triton", triton, "--tune-budget", "0", "--json"
            )
            assert said.code == 0, said.err
            assert said.document()["publication"]["verified"] == (triton == "managed")
        said = millwork("rollback", "--repository", url, "--name", "clicks", "--triton", "none")
        assert said.code == 0, said.err
        repository = at(url)
        assert repository.find("clicks") == 1
        said = millwork(
            "predict", "--repository", url, "--name", "clicks", "--input", desk.files.rows, "--output", "answers.npy"
        )
        assert said.code == 0, said.err
        rows = tables.read(desk.files.rows, manifests.read(repository.files("clicks", 1, tmp_path)).features).rows[:50]
        with (
            server.start(triton_installation, repository.for_triton, log=tmp_path / "log") as running,
            Session(running.grpc_url) as session,
        ):
            session.load("clicks")
            assert session.versions("clicks") == (1,)
            np.testing.assert_allclose(session.infer("clicks", rows), np.load("answers.npy")[:50], atol=1e-6)
