"""A Triton that runs already, with strict readiness, as in production: verified on, and left as ready as it was."""

from __future__ import annotations

import http.client
import pickle
from pathlib import Path

import msgspec
import numpy as np
import pytest
import xgboost
from models import jobs
from models.scaling import scaling

from millwork.artifacts.repository import LocalRepository, served_version, versions
from millwork.errors import PublicationError, UsageError
from millwork.pipeline import optimize as pipeline
from millwork.pipeline import publish as publication
from millwork.pipeline import rehearsal, serve
from millwork.pipeline.options import Options
from millwork.progress import Silent
from millwork.triton import counters, server
from millwork.triton.address import parse
from millwork.triton.client import Session
from millwork.triton.readiness import backends_of, forget
from millwork.triton.serving import prepare

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    model = xgboost.XGBRegressor(n_estimators=5, max_depth=3).fit(rows, rows[:, 0])
    path = tmp_path_factory.mktemp("model") / "price.pkl"
    path.write_bytes(pickle.dumps(model))
    return path


@pytest.fixture
def remote(request, triton_installation, tmp_path):
    """A server with strict readiness on tmp_path/models; of backends it has the parameter's, python and ours by
    default."""
    repository = tmp_path / "models"
    repository.mkdir()
    backends = tmp_path / "backends"
    backends.mkdir()
    for name in getattr(request, "param", ("python", "millwork")):
        (backends / name).symlink_to(Path(triton_installation.backends, name).resolve())
    with server.start(
        msgspec.structs.replace(triton_installation, backends=str(backends)),
        repository,
        log=tmp_path / "triton.log",
        strict_readiness=True,
    ) as running:
        yield running


def is_ready(running: server.RunningServer) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", running.ports.http)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def becomes_ready(running: server.RunningServer, session: Session) -> bool:
    """Whether it is, once what is being unloaded is gone: the server does that in its own time."""
    for _ in range(30_000):  # each turn is two round trips
        if is_ready(running):
            return True
        session.models()
    return False


def publish(model_file, tmp_path, remote, backends="onnx", **more):
    options = Options(
        model=str(model_file),
        repository=str(tmp_path / "models"),
        run_dir=str(tmp_path / "run"),
        backends=backends,
        traffic="batch=1",
        triton=remote.grpc_url,
        **more,
    )
    return pipeline.optimize(options)


@pytest.mark.parametrize(
    ("remote", "serves"), [(("python", "millwork"), "millwork"), (("python",), "python")], indirect=["remote"]
)
def test_a_packed_forest_is_served_by_ours_where_the_server_has_it_else_by_python(model_file, tmp_path, remote, serves):
    found, error = publish(model_file, tmp_path, remote, backends="native")
    assert error is None
    assert found.candidates[0].served_by == serves
    assert f'backend: "{serves}"' in found.tuning.config
    assert (found.publication.version, found.publication.verified) == (1, True)


def test_published_by_the_backend_that_the_server_has(model_file, tmp_path, remote):
    found, error = publish(model_file, tmp_path, remote)
    assert error is None
    assert found.publication.verified
    assert found.publication.version == 1
    assert remote.grpc_url in found.publication.server
    assert found.candidates[0].served_by == "python"  # onnxruntime was tried first, and the server hasn't got it
    assert 'backend: "python"' in found.tuning.config
    assert is_ready(remote)
    with Session(remote.grpc_url) as session:
        assert session.versions("price") == (found.publication.version,)

    again, error = publish(model_file, tmp_path, remote)
    assert error is None
    assert again.publication.version == found.publication.version


def test_a_version_that_fails_leaves_the_old_one_serving_and_the_server_ready(
    model_file, tmp_path, remote, monkeypatch
):
    first, _ = publish(model_file, tmp_path, remote)

    def refuse(*_):
        raise PublicationError("golden rows differ")

    monkeypatch.setattr("millwork.pipeline.publish._require_golden", refuse)
    found, error = publish(model_file, tmp_path, remote, output="margin", threads=2, allow_contract_change=True)
    assert isinstance(error, PublicationError)
    assert f"version {first.publication.version} still serves" in error.message
    assert found.publication is None
    assert served_version(tmp_path / "models", "price") == first.publication.version
    assert [entry.version for entry in versions(tmp_path / "models", "price")] == [first.publication.version]
    with Session(remote.grpc_url) as session:
        assert session.ready("price", first.publication.version)
        assert becomes_ready(remote, session)


def test_a_server_of_another_repository_keeps_its_model(model_file, tmp_path, remote):
    """A typed-wrong repository: what serves under that name isn't in it, and isn't taken away."""
    found, error = publish(model_file, tmp_path, remote)
    assert error is None
    assert found.publication.verified
    options = Options(
        model=str(model_file),
        repository=str(tmp_path / "typo"),
        run_dir=str(tmp_path / "other"),
        backends="onnx",
        traffic="batch=1",
        triton=remote.grpc_url,
    )
    _, error = pipeline.optimize(options)
    assert isinstance(error, PublicationError)
    assert "serves a 'price' (version 1) that isn't in" in error.message
    with Session(remote.grpc_url) as session:
        assert session.versions("price") == (1,)
    assert is_ready(remote)
    assert not (tmp_path / "typo" / "price").exists()


def test_a_rehearsal_that_failed_is_held_again(model_file, tmp_path, triton_installation, monkeypatch):
    """What was in the way, the machine's memory say, may be gone: a failure is no stage to go on from."""
    options = Options(
        model=str(model_file),
        repository=str(tmp_path / "models"),
        run_dir=str(tmp_path / "run"),
        backends="onnx",
        traffic="batch=1",
        tune_budget=0.0,
        dry_run=True,
    )
    with monkeypatch.context() as patched:
        failed = serve.Rehearsed(agreed=False, reason="no memory", max_abs=0.0, server="")
        patched.setattr(serve, "rehearse", lambda *_: failed)
        _, error = pipeline.optimize(options)
        assert isinstance(error, PublicationError)
        assert "no memory" in error.message
    with pytest.raises(UsageError, match="no run in it that chose a candidate"):
        serve.chosen(tmp_path / "run")
    found, error = pipeline.optimize(options)
    assert error is None
    assert found.publication is None
    assert len(serve.chosen(tmp_path / "run")) == 1
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("remote", [("millwork",)], indirect=True)
def test_a_server_that_has_none_of_the_backends_is_told_so(model_file, tmp_path, remote):
    options = Options(
        model=str(model_file),
        repository=str(tmp_path / "models"),
        run_dir=str(tmp_path / "run"),
        backends="onnx",
        traffic="batch=1 clients=1",
        tune_budget=2,
        triton=remote.grpc_url,
    )
    record, error = pipeline.optimize(options)
    assert isinstance(error, PublicationError)
    assert "unable to find backend library" in error.message
    assert record.publication is None
    assert record.candidates[0].status == "unsupported"
    assert record.candidates[0].latency == (), "it is told before anything is measured"


@pytest.mark.parametrize("remote", [("python",)], indirect=True)
def test_a_server_is_asked_which_backends_it_has_and_stays_ready(remote):
    with Session(remote.grpc_url) as session:
        assert backends_of(session, ("millwork", "onnxruntime", "fil", "python")) == ("python",)
        assert becomes_ready(remote, session)
        assert session.versions("millwork-asks-for-python") == ()


def test_a_server_that_has_our_backend_is_never_made_unready_by_being_asked(remote):
    with Session(remote.grpc_url) as session:
        assert backends_of(session, ("millwork",)) == ("millwork",)
        assert is_ready(remote)
        assert backends_of(session, ("millwork", "python")) == ("millwork", "python")
        assert becomes_ready(remote, session), "python's model takes a moment to be unloaded"


def test_a_server_that_takes_no_models_by_its_api_is_not_known_to_have_any_backend(triton_installation, tmp_path):
    (tmp_path / "models").mkdir()
    none = ("--model-control-mode=none",)
    with (
        server.start(triton_installation, tmp_path / "models", log=tmp_path / "triton.log", options=none) as running,
        Session(running.grpc_url) as session,
        pytest.raises(PublicationError, match="explicit model load / unload is not allowed"),
    ):
        backends_of(session, ("millwork", "python"))


def test_a_server_forgets_a_model_that_failed_to_load(remote):
    with Session(remote.grpc_url) as session:
        with pytest.raises(PublicationError, match="unable to find backend library"):
            session.load("broken", '{"name": "broken", "backend": "nothing"}', {"file:1/model.x": b"x"})
        assert not is_ready(remote)
        forget(session, "broken")
        assert becomes_ready(remote, session)


# ── rehearsed before it serves ────────────────────────────────────────────────────────────────────────────


def on_the_server() -> publication.Rehearsal:
    return publication.Rehearsal(asked=rehearsal.Asked(on_server=True))


def test_a_wrong_version_is_rehearsed_on_the_server_and_never_committed(tmp_path, remote):
    """No client can be answered by it: config.pbtxt never names it, and its number is free."""
    into, serving = LocalRepository(root=tmp_path / "models"), prepare(parse(remote.grpc_url), None, print)
    first, _ = publication.publish(
        [scaling(tmp_path / "2", "2", 2.0)], into, serving, Silent(), rehearsed=on_the_server()
    )
    assert first.rehearsed == f"Triton {serving.release.version} at {remote.grpc_url}, under another name"
    before = jobs.contents(tmp_path / "models")
    for name, factor, reason in (("wrong", "4", "answers wrong: row 0"), ("broken", "?", "isn't loaded: .*convert")):
        with pytest.raises(PublicationError, match=rf"{reason}.*nothing was committed; version 1 still serves"):
            publication.publish(
                [scaling(tmp_path / name, factor, 5.0)], into, serving, Silent(), rehearsed=on_the_server()
            )
        assert jobs.contents(tmp_path / "models") == before
    with Session(remote.grpc_url) as session:
        assert becomes_ready(remote, session)
        assert session.versions("m") == (1,)
        assert [name for name in session.models() if "rehearsal" in name and session.versions(name)] == []


def test_a_wrong_version_is_rehearsed_on_the_managed_triton_by_itself(tmp_path, remote):
    into, serving = LocalRepository(root=tmp_path / "models"), prepare(parse(remote.grpc_url), None, print)
    first, _ = publication.publish([scaling(tmp_path / "2", "2", 2.0)], into, serving, Silent())
    assert first.rehearsed.startswith("the managed Triton ")
    assert publication.words(first) == f"version 1 of m, rehearsed on {first.rehearsed}, verified on {first.server}"
    with pytest.raises(PublicationError, match=r"rehearsed on the managed .*answers wrong.*version 1 still serves"):
        publication.publish([scaling(tmp_path / "wrong", "4", 5.0)], into, serving, Silent())
    assert served_version(tmp_path / "models", "m") == 1


def test_a_server_without_room_for_both_is_told_before_anything_is_loaded(tmp_path, remote, monkeypatch):
    page = "nv_cpu_memory_total_bytes 1000\nnv_cpu_memory_used_bytes 990\n"
    monkeypatch.setattr(rehearsal.counters, "read", lambda _: page)
    into, serving = LocalRepository(root=tmp_path / "models"), prepare(parse(remote.grpc_url), None, print)
    with pytest.raises(PublicationError, match=r"no room on .* it needs about .*, and 10 B of 1000 B are free"):
        publication.publish([scaling(tmp_path / "2", "2", 2.0)], into, serving, Silent(), rehearsed=on_the_server())


def test_the_servers_own_metrics_say_what_memory_it_has(remote):
    pages = (counters.read(f"http://127.0.0.1:{remote.ports.metrics}/metrics") for _ in range(20_000))
    total, used = next(filter(all, (counters.memory(page, "cpu") for page in pages)))  # it looks every two seconds
    assert 0 < used < total


def test_nothing_is_rehearsed_on_no_server(model_file, tmp_path):
    options = Options(model=str(model_file), repository=str(tmp_path / "m"), triton="none", rehearse_on_server=True)
    with pytest.raises(UsageError, match="--rehearse-on-server with --triton none: there is no server"):
        pipeline.optimize(options)
