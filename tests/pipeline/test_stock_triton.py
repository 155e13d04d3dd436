"""A whole run without a word about the server: what it publishes loads on a Triton that has no backend of ours."""

from __future__ import annotations

import msgspec
import pytest
from models.jobs import LABEL, Desk, millwork
from tritonclient.grpc import InferenceServerClient

from millwork.artifacts import manifest as manifests
from millwork.commands import published
from millwork.triton import config as triton_config
from millwork.triton import server
from millwork.triton.client import Session
from millwork.values import Record

pytestmark = pytest.mark.triton

CLICKS = "clicks"
NATIVE = ("--backends", "native", "--traffic", "batch=1 clients=2", "--tune-budget", "4", "--json")


@pytest.fixture(scope="module")
def shop(files, triton_installation, tmp_path_factory):
    desk = Desk(tmp_path_factory.mktemp("stock"), files)
    said = desk.optimize(files.clicks, "--label", LABEL, quick=NATIVE)
    assert said.code == 0, said.err
    (desk.folder / "said.txt").write_text(said.err)
    (desk.folder / "record.json").write_text(said.out)
    return desk


@pytest.fixture
def stock(shop, triton_installation, tmp_path):
    """A server that has the python backend alone, on the shop's repository."""
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "python").symlink_to(f"{triton_installation.backends}/python")
    bare = msgspec.structs.replace(triton_installation, backends=str(tmp_path / "backends"))
    with (
        server.start(bare, shop.repository, log=tmp_path / "triton.log") as running,
        Session(running.grpc_url) as asked,
    ):
        yield asked


def test_it_loads_on_a_stock_triton_and_the_other_way_was_measured(shop, stock):
    stock.load(CLICKS)
    assert stock.versions(CLICKS) == (1,)
    with InferenceServerClient(stock.url.removeprefix("grpc://")) as client:
        warm = client.get_inference_statistics(CLICKS).model_stats[0].inference_stats
    instances = triton_config.settings_of((shop.repository / CLICKS / "config.pbtxt").read_text()).instances
    assert (warm.success.count, warm.fail.count) == (65 * instances, 0), "each instance answered, before any client"
    found = msgspec.json.decode((shop.folder / "record.json").read_bytes(), type=Record)
    assert found.served.triton_backend == "python"
    assert found.served.needs == ()
    assert (found.served.other.triton_backend, found.tuning.other.backend) == ("millwork", "millwork")
    assert found.tuning.other.figures.rows_per_s > 0
    assert {trial.backend for trial in found.tuning.trials} == {"python"}, "what may not win isn't searched"
    sentence = found.served.sentence
    assert sentence.startswith("served by Triton's python backend; with our backend ")
    assert manifests.read(shop.repository / CLICKS / "1").served == found.served
    assert published.find(str(shop.repository / CLICKS)).served == found.served
    screen = " ".join((shop.folder / "said.txt").read_text().split())
    for text in (screen, (shop.run_dir / "report.html").read_text(), (shop.run_dir / "report.md").read_text()):
        assert "erved by Triton" in text
        assert "with our backend" in text


def test_told_once_that_the_server_has_our_backend_it_is_written_for_from_then_on(shop, tmp_path):
    where = ("--repository", shop.repository, "--triton", "none")
    told = millwork("publish", shop.run_dir, *where, "--millwork-backend")
    assert told.code == 0, told.err
    config = shop.repository / CLICKS / "config.pbtxt"
    assert 'backend: "millwork"' in config.read_text()
    assert manifests.read_intact(shop.repository / CLICKS / "2").served.needs == ("libtriton_millwork.so",)
    quick = (*NATIVE[:2], "--traffic", "batch=1", "--triton", "none", "--run-dir", str(tmp_path / "run"))
    said = shop.optimize(shop.files.again, "--name", "again", quick=quick)
    assert said.code == 0, said.err
    assert 'backend: "millwork"' in (shop.repository / "again" / "config.pbtxt").read_text()
    shown = millwork("inspect", shop.repository / CLICKS)
    assert "served by our own Triton backend" in " ".join(shown.out.split()).replace("Served", "served")
    assert "COPY libtriton_millwork.so" in shown.out


def test_tune_takes_a_published_forest_from_pythons_backend_to_ours(shop, tmp_path):
    """And says so; the model's file and what the version answers stay."""
    alone = tmp_path / "models"
    published_there = millwork("publish", shop.run_dir, "--repository", alone, "--triton", "none")
    assert published_there.code == 0, published_there.err
    before = manifests.read_intact(alone / CLICKS / "1")
    assert before.triton_backend == "python"
    words = ("--traffic", "batch=1 clients=2", "--tune-budget", "3", "--run-dir", tmp_path / "run")
    tuned = millwork("tune", CLICKS, "--repository", alone, *words, "--millwork-backend")
    assert tuned.code == 0, tuned.err
    after = manifests.read_intact(alone / CLICKS / "2")
    assert after.triton_backend == "millwork"
    assert {entry.path for entry in before.files} - {entry.path for entry in after.files} == {
        "labels.py",
        "millwork_runner.py",
        "model.py",
    }
    kept = {entry.path: entry.sha256 for entry in before.files}
    assert all(kept[entry.path] == entry.sha256 for entry in after.files)
