"""Tuning on a real Triton: what is chosen is published, a limit that can't be kept is exit code 6, nothing is left."""

from __future__ import annotations

import dataclasses
import http.client
import json
import re
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from models.forests import hard_rows, program_of, random_forest, source_of
from models.jobs import Desk, millwork
from tritonclient.grpc import InferenceServerClient

from millwork import triton_releases, worker
from millwork.artifacts.repository import at, served_version
from millwork.commands import tune as tune_command
from millwork.commands.options import TuneOptions
from millwork.compile.backends.native import cpu
from millwork.errors import PublicationError
from millwork.executors import LocalExecutor
from millwork.progress import Silent
from millwork.storage.run_directory import RunDirectory
from millwork.triton import config as triton_config
from millwork.triton import install, server
from millwork.triton.client import Session
from millwork.triton.serving import Serving
from millwork.triton.settings import Settings
from millwork.tuning import figures, search, session, slo
from millwork.tuning import tune as tuning
from millwork.tuning.knobs import Workload
from millwork.tuning.load import load_steps, samples, tensors
from millwork.tuning.loaded_models import Golden, Loadable, LoadedModels
from millwork.tuning.slo import Slo
from millwork.tuning.trials import SearchProblem, ServedCandidate, Trial, TrialError
from millwork.validators import traffic
from millwork.validators.rows.given import Given
from millwork.values import Record
from millwork.worker import sandbox

pytestmark = pytest.mark.triton

TRAFFIC = "batch=1 clients=2"
QUICK = ("--backends", "onnx", "--traffic", TRAFFIC, "--tune-budget", "7", "--json")
SLEEPS = """
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02 * len(requests))
        made = []
        for request in requests:
            rows = pb.get_input_tensor_by_name(request, "input__0").as_numpy()
            made.append(pb.InferenceResponse([pb.Tensor("output__0", (rows * 2).astype(np.float32))]))
        return made
"""


@pytest.fixture(scope="module")
def shop(files, triton_installation, tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("tuned"), files)
    said = desk.optimize(files.clicks, quick=QUICK)
    assert said.code == 0, said.err
    (desk.folder / "record.json").write_text(said.out)
    return desk


def rounds(desk):
    return {path.name: path.stat().st_mtime_ns for path in (desk.run_dir / "stages").glob("trial-*")}


def test_the_best_is_published_with_its_reasons(shop):
    found = msgspec.json.decode((shop.folder / "record.json").read_bytes(), type=Record)
    tuning = found.tuning
    assert found.publication.verified
    assert tuning.traffic == TRAFFIC
    assert tuning.met is None
    assert {trial.id for trial in tuning.trials} >= {tuning.default.id, tuning.best.id}
    assert tuning.default.settings["batching"] == "false"
    assert tuning.best.figures.samples > 0
    assert tuning.best.figures.memory_bytes is not None
    config = (shop.repository / "clicks" / "config.pbtxt").read_text()
    assert config == tuning.config
    assert "#: Tuned on Triton 2.51.0 for batch=1 clients=2; objective: throughput." in config
    assert str(triton_config.settings_of(config).threads) == tuning.best.settings["threads"]
    for name in ("report.html", "report.md"):
        assert "On the server" in (shop.run_dir / name).read_text()


def service_of(tmp_path, *, confined=True):
    program = program_of(random_forest(3, trees=20, depth=4, features=4), "binary")
    built = cpu.backend().build(program, source_of(), tmp_path, triton_releases.newest())
    rows = tmp_path / "rows.npz"
    tensors.save(rows, Given(hard_rows(1, 64, 4), None))
    manifest = SimpleNamespace(
        candidate_id=built.id, runner=built.runner, model_file=built.model_file, parameters=built.parameters
    )
    candidate = ServedCandidate(built.id, "millwork", 0, SimpleNamespace(manifest=manifest, folder=tmp_path))
    with RunDirectory(tmp_path / "run") as directory:
        desk = SimpleNamespace(
            directory=directory, executor=LocalExecutor(), progress=Silent(), rows=rows, confined=confined
        )
        workload = Workload(traffic=traffic.parse(TRAFFIC), cores=2)
        problem = SearchProblem(workload, Slo(), "throughput", 20.0)
        (candidate,) = tuning._with_service_times(problem, [candidate], desk)
    return candidate.service


def test_the_estimate_sees_what_lies_beside_an_artifact(tmp_path):
    """`native` has its library there: without its time, what to try first would be a guess."""
    service = service_of(tmp_path)
    assert {time.threads for time in service} == {1, 2}
    assert all(us > 0 for time in service for us in time.us)


def test_without_a_sandbox_tuning_goes_without_an_estimate_unless_the_file_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "landlock_version", lambda: 0)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert service_of(tmp_path / "one") == ()
    assert service_of(tmp_path / "two", confined=False) != ()


def test_a_run_again_measures_nothing_again(shop):
    before = rounds(shop)
    assert before
    said = shop.optimize(shop.files.clicks, quick=QUICK)
    assert said.code == 0, said.err
    assert said.document()["publication"]["version"] == 1
    assert rounds(shop) == before


def test_a_limit_that_cannot_be_kept_is_exit_6_and_nothing_is_published(shop):
    said = shop.optimize(shop.files.clicks, "--slo", "p99<1us", "--name", "never", quick=QUICK)
    assert said.code == 6, said.err
    assert "no configuration keeps p99<1us under batch=1 clients=2" in said.err
    assert "the closest of" in said.err
    assert "what limits it:" in said.err
    assert re.search(r"^not met: p99 [\d.]+ .?s of the 1 µs asked$", said.err, re.MULTILINE)
    record = msgspec.json.decode(said.out, type=Record)
    assert [(limit.asked, limit.met) for limit in record.tuning.limits] == [("p99<1us", False)]
    assert record.publication is None
    assert record.tuning.met is False
    assert record.tuning.best.over > 1
    assert not (shop.repository / "never").exists()


def test_tune_changes_the_configuration_only(shop, tmp_path):
    before = served_version(shop.repository, "clicks")
    config = shop.repository / "clicks" / "config.pbtxt"
    now = triton_config.settings_of(config.read_text())
    slow = msgspec.structs.replace(now, batching=True, delay_us=50_000)
    plain = triton_config.with_settings(config.read_text(), slow)
    config.write_text(plain)
    said = millwork(
        "tune",
        "clicks",
        "--repository",
        shop.repository,
        "--traffic",
        TRAFFIC,
        "--tune-budget",
        "6",
        "--run-dir",
        tmp_path / "run",
        "--json",
    )
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["publication"]["version"] == before + 1
    assert found["publication"]["verified"]
    old, new = (shop.repository / "clicks" / str(version) for version in (before, before + 1))
    assert triton_config.settings_of(config.read_text()).delay_us < 50_000
    assert (old / "model.onnx").read_bytes() == (new / "model.onnx").read_bytes()


def test_what_was_published_while_it_was_tuned_is_not_replaced(shop, tmp_path, monkeypatch):
    """By ``tune``, and by a ``retune --apply`` that looked before that."""
    read = tune_command.terms_of(tune_command.published(at(str(shop.repository)), "clicks", tmp_path / "read"))
    search = tuning.tune

    def meanwhile(*given, **named):
        said = shop.optimize(shop.files.again, "--name", "clicks", "--run-dir", tmp_path / "again", "--triton", "none")
        assert said.code == 0, said.err
        return search(*given, **named)

    monkeypatch.setattr(tuning, "tune", meanwhile)
    words = ("--repository", shop.repository, "--traffic", TRAFFIC, "--run-dir", tmp_path / "run", "--json")
    said = millwork("tune", "clicks", *words, "--tune-budget", "3")
    served = served_version(shop.repository, "clicks")
    assert said.code == 7, said.err
    assert f"another version was published meanwhile: version {served} serves, {read.expected} was read" in said.err
    assert served == read.expected + 1
    request = tune_command.requested(TuneOptions(name="clicks", repository=str(shop.repository), traffic=TRAFFIC))
    with pytest.raises(PublicationError, match=f"version {served} serves, {read.expected} was read"):
        tune_command.tune(dataclasses.replace(request, read=read), Silent())


# ── on a server of the user's ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def running(triton_installation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with server.start(triton_installation, folder, log=folder.parent / "t.log", strict_readiness=True) as one:
        with Session(one.grpc_url) as session:
            session.load("theirs", loadable().config("theirs"), loadable().files)
        yield one


def loadable(factor=2.0, source=SLEEPS):
    x = np.ones((4, 3), np.float32)
    tensor = {"data_type": "TYPE_FP32", "dims": [3]}
    config = {
        "backend": "python",
        "max_batch_size": 8,
        "input": [{"name": "input__0", **tensor}],
        "output": [{"name": "output__0", **tensor}],
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    }
    return Loadable(
        files={"file:1/model.py": source.encode()},
        config=lambda name: json.dumps({"name": name, **config}),
        golden=Golden(Given(x), x * np.float32(factor), 0.0, 0.0),
    )


def ready(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.ports.http)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def left(session):
    """Models of ours that answer or are about to go: the server unloads in its own time."""
    for _ in range(5000):
        names = [name for name in session.models() if "-tuning-" in name and session.versions(name)]
        if not names:
            return names
    return names


def test_an_interrupt_leaves_the_server_as_it_was(running):
    with Session(running.grpc_url) as session:
        with pytest.raises(KeyboardInterrupt), LoadedModels(session, "mine", 0) as models:  # noqa: PT012 -- what it interrupts
            name, memory = models.ready(1, loadable())
            assert session.ready(name)
            assert memory is None
            assert models.ready(1, loadable()) == (name, None)
            with pytest.raises(TrialError, match="its answers differ from the framework"):
                models.ready(2, loadable(factor=3.0))
            with pytest.raises(TrialError, match="no luck"):
                models.ready(3, loadable(source="raise ValueError('no luck')"))
            raise KeyboardInterrupt
        assert left(session) == []
        assert session.ready("theirs")
        for _ in range(3000):
            if ready(running):
                break
            session.models()
        assert ready(running)


def ask(running, installation, folder, spec, perf_analyzer):
    rows = folder / "rows.npz"
    np.savez(rows, input__0=np.ones((64, 3), np.float32))
    where = load_steps.Where(
        url=running.grpc_url,
        perf_analyzer=installation.perf_analyzer if perf_analyzer else "",
        libraries=installation.perf_libraries,
    )
    request = load_steps.LoadRequest(
        where=where, model="theirs", rows=str(rows), traffic=traffic.parse(spec), seconds=1.2, seed=1
    )
    done = worker.run(
        "millwork.tuning.load.load_steps:load", request, load_steps.LoadReply, folder=folder, sandbox=worker.NO_SANDBOX
    )
    assert isinstance(done, worker.Done), done
    return done.value, samples.load(folder / samples.SAMPLES_FILE)


def test_both_generators_see_the_same_closed_loop(running, triton_installation, tmp_path):
    """Where the server takes 20 ms a request, what a client adds is small: both see its time, twice for two clients."""
    seen = {}
    for own in (False, True):
        reply, found = ask(running, triton_installation, tmp_path, "batch=1 clients=2", not own)
        seen[reply.generator] = found
        assert reply.server.requests > 0
        assert reply.server.rows == 1
    assert set(seen) == {"perf_analyzer", "asyncio"}
    medians = {name: float(np.median(found.answered)) for name, found in seen.items()}
    assert all(us > 38_000 for us in medians.values()), medians
    assert medians["asyncio"] == pytest.approx(medians["perf_analyzer"], rel=0.25)


def test_an_open_loop_does_not_wait_for_the_server(running, triton_installation, tmp_path):
    """Four times as many as it can answer: all are sent as scheduled, the last has waited for those before it, and what
    was answered is no more than what it can. What it still computes then is waited for: the next round is another's."""
    reply, found = ask(running, triton_installation, tmp_path, "batch=1 rate=200/s", perf_analyzer=True)
    assert reply.generator == "asyncio"
    assert len(found.latency_us) == 240
    assert (np.diff(found.start_us) >= 0).all()
    assert float(found.latency_us.max()) > 5 * 20_000
    assert found.unanswered > 0
    assert figures.rate(found) < 60
    with InferenceServerClient(running.grpc_url.removeprefix("grpc://")) as client:
        before = client.get_inference_statistics("theirs")
        time.sleep(0.2)
        assert client.get_inference_statistics("theirs") == before


def test_a_server_that_ends_while_it_is_tuned_is_started_again_and_that_is_said(
    triton_installation, tmp_path, monkeypatch
):
    """Our own, which somebody killed: the trial that was lost is tried again as long as there is time."""
    rows = tmp_path / "rows.npz"
    np.savez(rows, input__0=np.ones((64, 3), np.float32))
    serving = Serving(release=triton_releases.newest(), backends=("python",), installation=triton_installation)
    monkeypatch.setattr(session, "_loadable", lambda bundle, _: bundle)
    monkeypatch.setattr(install, "provide", lambda *_: None)
    asked = traffic.parse("batch=1 clients=1")
    with RunDirectory(tmp_path / "run") as directory:
        desk = session.TuningSession(directory, LocalExecutor(), Silent(), serving, [], "mine", rows, 0.3)
        with desk:
            pid = desk.models().pid
            once = f"import os\ntry:\n    os.kill({pid}, 9)\nexcept ProcessLookupError:\n    pass\n{SLEEPS}"
            trial = SimpleNamespace(id=1, words="one", candidate=SimpleNamespace(bundle=loadable(source=once)))
            (folder := tmp_path / "folder").mkdir()
            assert desk._lasting(trial, 1, asked, "", folder).load is not None
            lost = "a trial was lost, the server ended while it was tried (one)"
            assert [text.startswith(lost) for text in desk.conditions if "busy" not in text] == [True]
            assert desk.conditions[-1].endswith("it was tried again")
            desk.budget_s = 0.0
            source = f"import os; os.kill({desk.models().pid}, 9)"
            trial = SimpleNamespace(id=2, words="two", candidate=SimpleNamespace(bundle=loadable(source=source)))
            with pytest.raises(TrialError, match="the server ended while it was tried"):
                desk._lasting(trial, 1, asked, "", folder)
            assert desk.conditions[-1].endswith("there was no time to try it again")


def test_a_winner_that_fails_while_it_is_asked_more_is_out():
    """Once: its failure is kept, and would be read again and again."""
    asked = []

    class Fails:
        progress = Silent()

        def measure(self, trial, sweep, _):
            asked.append((trial.id, sweep))
            raise TrialError("no memory", spent_s=0.001)

    problem = SearchProblem(
        Workload(traffic=traffic.parse(TRAFFIC), cores=2), slo.parse("p99.9<5ms"), "throughput", 20.0
    )
    state = search.SearchState(problem, lambda _: None)
    state.trials = [Trial(i, ServedCandidate("m", "python", 0, None), Settings(instances=i)) for i in (1, 2)]
    start, one = np.arange(200) * 1e3, np.ones(200, np.int32)
    quick = samples.Samples(start, np.full(200, 900, np.float32), one, np.zeros(200, bool), 0 * start, 0.2)
    none = load_steps.ServerTime(queue_us=1, input_us=1, infer_us=1, output_us=1, requests=1, executions=1, rows=1)
    for trial in state.trials:
        state.rounds[trial.id] = [figures.Round(1, quick, none, "asyncio", 1.0)]
    found = search.Found(state, tuple(state.trials), "")
    assert tuning._taken(problem, Fails(), found, lambda _: "") == (None, {})
    assert asked == [(1, 2), (2, 2)]
    assert set(state.failed) == {1, 2}


def test_a_server_of_the_users_that_is_gone_ends_the_search(triton_installation, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(session, "_loadable", lambda bundle, _: bundle)
    serving = Serving(release=triton_releases.newest(), backends=("python",))
    with (
        server.start(triton_installation, tmp_path / "models", log=tmp_path / "t.log") as one,
        RunDirectory(tmp_path / "run") as directory,
    ):
        serving = msgspec.structs.replace(serving, url=one.grpc_url)
        desk = session.TuningSession(directory, LocalExecutor(), Silent(), serving, [], "mine", tmp_path / "none", 0.3)
        candidate = SimpleNamespace(bundle=loadable(source=f"import os; os.kill({one.pid}, 9)"))
        asked = traffic.parse("batch=1 clients=1")
        with desk, pytest.raises(PublicationError, match="has stopped: no Triton answers") as gone:
            desk._round(SimpleNamespace(id=1, candidate=candidate), 1, asked, "", tmp_path)
    assert "continues after the rounds that were measured" in (gone.value.hint or "")
