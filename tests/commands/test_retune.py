"""``retune`` on a real Triton under load: what its counters and a Prometheus say, a change applied and taken back."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from models.jobs import Desk, millwork

from millwork.artifacts.repository import served_version
from millwork.triton import config as triton_config
from millwork.triton import ports, server
from millwork.triton.client import Session

pytestmark = pytest.mark.triton

SLOW_US = 150_000


@dataclass(frozen=True)
class Production:
    """A server of ``repository`` with ``clicks`` under load, batching with a delay that is far too long."""

    repository: Path
    running: server.RunningServer
    slow: str

    @property
    def config(self) -> Path:
        return self.repository / "clicks" / "config.pbtxt"


@pytest.fixture(scope="module")
def production(files, triton_installation, tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("retuned"), files)
    said = desk.optimize(files.clicks, "--triton", "managed", "--tune-budget", "0")
    assert said.code == 0, said.err
    config = desk.repository / "clicks" / "config.pbtxt"
    now = triton_config.settings_of(config.read_text())
    slow = msgspec.structs.replace(now, batching=True, delay_us=SLOW_US)
    config.write_text(triton_config.with_settings(config.read_text(), slow))
    rows = files.features().to_numpy("float32")[:1]
    with server.start(triton_installation, desk.repository, log=desk.folder / "t.log") as running:
        with Session(running.grpc_url) as session:
            session.load("clicks")
        with asked_all_the_time(running, rows):
            yield Production(desk.repository, running, config.read_text())


@contextlib.contextmanager
def asked_all_the_time(running, rows):
    """One client, one row a request, one after the other; no request may fail."""
    over, failed, count = threading.Event(), [], [0]

    def ask():
        with Session(running.grpc_url) as session:
            while not over.is_set():
                try:
                    session.infer("clicks", rows)
                    count[0] += 1
                except Exception as error:  # noqa: BLE001 -- told below
                    failed.append(error)
                    return

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        over.set()
        client.join()
    assert failed == []
    assert count[0] > 20


def retune(production, *words):
    return millwork("retune", "clicks", "--repository", production.repository, "--json", *words)


def test_what_the_counters_say_is_told_and_nothing_is_changed(production):
    before = production.config.read_text(), served_version(production.repository, "clicks")
    said = retune(production, "--metrics", production.running.metrics_url, "--seconds", "2")
    assert said.code == 0, said.err
    found = said.document()
    assert found["observed"]["rows_a_request"] == pytest.approx(1)
    assert found["observed"]["queue_us"] > SLOW_US / 2
    assert not found["fitness"]["fits"]
    assert found["record"] is None
    assert "in the queue" in said.err
    assert "proposed:" in said.err
    assert "--apply measures it" in said.err
    assert (production.config.read_text(), served_version(production.repository, "clicks")) == before


def test_a_version_that_the_server_has_not_loaded_is_not_judged_by_the_one_before(production):
    """As after ``publish --triton none``: the server goes on with the old version."""
    old = production.config.read_text()
    shutil.copytree(production.config.parent / "1", production.config.parent / "2")
    production.config.write_text(triton_config.with_version(old, 2))
    try:
        said = retune(production, "--metrics", production.running.metrics_url, "--seconds", "0.5")
    finally:
        production.config.write_text(old)
        shutil.rmtree(production.config.parent / "2")
    assert said.code == 2
    assert "version 2 serves in the repository, and requests were answered by version 1" in said.err
    assert "Has the server loaded the version?" in said.err


def test_without_a_name_it_is_the_one_model_that_both_have(production):
    said = millwork(
        "retune", "--repository", production.repository, "--metrics", production.running.metrics_url, "--seconds", "1"
    )
    assert said.code == 0, said.err
    assert "clicks" in said.err


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus isn't installed (a package of Debian)")
def test_a_prometheus_that_scrapes_the_server_says_the_same(production, tmp_path):
    port = ports.choose(None, None, None).http
    targets = f"[{{targets: ['127.0.0.1:{production.running.ports.metrics}']}}]"
    (tmp_path / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: triton, static_configs: {targets}}}]\n"
    )
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'series'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as prometheus:
        try:
            url = f"http://127.0.0.1:{port}"
            asked = urllib.parse.quote("count_over_time(nv_inference_request_success[10s]) >= 8")
            assert scraped(f"{url}/api/v1/query?query={asked}")
            said = retune(production, "--prometheus", url, "--seconds", "10")
        finally:
            prometheus.terminate()
    assert said.code == 0, said.err
    seen = said.document()["observed"]
    assert seen["rows_a_request"] == pytest.approx(1, rel=0.1)
    assert seen["queue_us"] > SLOW_US / 2
    assert seen["rate"] == pytest.approx(1e6 / (seen["queue_us"] + seen["compute_us"]), rel=0.5)


def scraped(url):
    """Whether Prometheus has seen a counter so often, within a minute: of two scrapes it makes up most of what it says
    of ten seconds."""
    for _ in range(300):
        with contextlib.suppress(OSError), urllib.request.urlopen(url) as answer:  # noqa: S310 -- a loopback address
            if json.load(answer)["data"]["result"]:
                return True
        time.sleep(0.2)
    return False


def test_a_change_is_applied_under_load_and_can_be_taken_back(production, tmp_path):
    version = served_version(production.repository, "clicks")
    said = retune(
        production,
        "--metrics",
        production.running.metrics_url,
        "--seconds",
        "2",
        "--apply",
        "--tune-budget",
        "6",
        "--run-dir",
        tmp_path / "run",
    )
    assert said.code == 0, said.err
    record = said.document()["record"]
    assert record["publication"]["version"] == version + 1
    assert record["publication"]["verified"]
    after = triton_config.settings_of(production.config.read_text())
    assert not (after.batching and after.delay_us >= SLOW_US)
    with Session(production.running.grpc_url) as session:
        session.load("clicks")
    settled = retune(production, "--metrics", production.running.metrics_url, "--seconds", "2")
    assert settled.code == 0, settled.err
    assert settled.document()["observed"]["queue_us"] < SLOW_US / 10
    said = millwork("rollback", "--repository", production.repository, "--name", "clicks")
    assert said.code == 0, said.err
    assert served_version(production.repository, "clicks") == version
