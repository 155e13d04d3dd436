"""Servers that aren't told what to load: one that polls is published to and waited for, one that doesn't is told of."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from models.scaling import ROWS, scaling

from millwork.artifacts.repository import LocalRepository, served_version
from millwork.commands import retune as retune_command
from millwork.commands import tune as tune_command
from millwork.commands.options import RetuneOptions, TuneOptions
from millwork.errors import PublicationError, UsageError
from millwork.pipeline import optimize as pipeline
from millwork.pipeline import publish
from millwork.pipeline.options import Options
from millwork.progress import Silent
from millwork.triton import client, server
from millwork.triton.address import parse
from millwork.triton.client import Session
from millwork.triton.serving import prepare

pytestmark = pytest.mark.triton


@pytest.fixture
def start(triton_installation, tmp_path) -> Callable[..., object]:
    """``start(mode)``: a server on tmp_path/models in that control mode."""
    (tmp_path / "models").mkdir()

    def started(mode: str):
        options = [f"--model-control-mode={mode}", *(["--repository-poll-secs=1"] if mode == "poll" else [])]
        return server.start(triton_installation, tmp_path / "models", log=tmp_path / f"{mode}.log", options=options)

    return started


def test_a_server_that_polls_is_published_to_verified_and_rolled_back(start, tmp_path) -> None:
    into = LocalRepository(root=tmp_path / "models")
    with start("poll") as running:
        serving = prepare(parse(running.grpc_url), None, lambda _: None)
        assert not serving.explicit
        for factor in ("2", "3"):
            done, _ = publish.publish([scaling(tmp_path / factor, factor, float(factor))], into, serving, Silent())
            assert done.verified
        with Session(running.grpc_url) as asked:
            assert asked.versions("m") == (2,)
            np.testing.assert_array_equal(asked.infer("m", ROWS), 3 * ROWS)
            wrong, broken = scaling(tmp_path / "wrong", "4", 5.0), scaling(tmp_path / "broken", "not a number", 5.0)
            for bundle, reason in ((wrong, "answers wrong: row 0"), (broken, "could not convert string to float")):
                with pytest.raises(
                    PublicationError, match=rf"rehearsed on the managed .*{reason}.*nothing was committed"
                ):
                    publish.publish([bundle], into, serving, Silent())
            elsewhere = publish.Rehearsal(done="a server that says yes to everything")
            with pytest.raises(PublicationError, match=r"answers wrong.*version 2 still serves"):
                publish.publish([wrong], into, serving, Silent(), rehearsed=elsewhere)
            assert asked.versions("m") == (2,), "it was waited for"
            with pytest.raises(PublicationError, match=r"could not convert string to float.*version 2 still serves"):
                publish.publish([broken], into, serving, Silent(), rehearsed=elsewhere)
            assert publish.rollback(into, "m", None, serving, Silent()).version == 1
            np.testing.assert_array_equal(asked.infer("m", ROWS), 2 * ROWS)


def test_a_server_that_never_looks_again_takes_nothing_and_says_what_to_do(start, tmp_path) -> None:
    into = LocalRepository(root=tmp_path / "models")
    with start("none") as running:
        serving = msgspec.structs.replace(prepare(parse(running.grpc_url), None, lambda _: None), verify_s=1.0)
        rehearsed = publish.Rehearsal(done="another")
        with pytest.raises(PublicationError, match="hasn't loaded version 1 of 'm' within 1 s") as caught:
            publish.publish([scaling(tmp_path / "2", "2", 2.0)], into, serving, Silent(), rehearsed=rehearsed)
        assert "--triton none" in caught.value.hint
        assert served_version(tmp_path / "models", "m") is None


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_it_is_known_before_any_work(start, tmp_path, triton_installation) -> None:
    """Neither the model nor the run directory is looked at: neither is there."""
    models = str(tmp_path / "models")
    nothing = str(tmp_path / "no-such-model.json")
    publish.publish(
        [scaling(tmp_path / "2", "2", 2.0)],
        LocalRepository(root=tmp_path / "models"),
        prepare(parse("none"), None, print),
        Silent(),
    )
    with start("none") as running:
        url, notes = running.grpc_url, Notes()
        with pytest.raises(UsageError, match="isn't in explicit mode"):
            pipeline.optimize(Options(model=nothing, repository=models, triton=url, slo="p99<5ms"), notes)
        with pytest.raises(UsageError, match=r"tune: the server at .* isn't in explicit mode"):
            tune_command.tune(tune_command.requested(TuneOptions(name="m", repository=models, triton=url)), notes)
        asked = RetuneOptions(name="m", repository=models, triton=url, metrics="http://127.0.0.1:1", apply=True)
        with pytest.raises(UsageError, match=r"--apply: the server at .* isn't in explicit mode"):
            retune_command.retune(retune_command.requested(asked), notes)
        assert notes.notes == []
        with pytest.raises(Exception, match="no-such-model"):
            pipeline.optimize(Options(model=nothing, repository=models, triton=url, run_dir=tmp_path / "run"), notes)
        assert "isn't in explicit mode" in notes.notes[0]
    with start("explicit") as running, Session(running.grpc_url) as told:
        assert told.explicit()
        assert client.NOBODY not in told.models()
