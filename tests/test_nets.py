"""Nets through the whole job: published, loaded by a Triton, and asked by a client with nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as grpc
from models.jobs import Said, millwork, refused
from models.nets import KINDS, Net
from torch import nn

import millwork as library
from millwork.artifacts.repository import find_version
from millwork.triton import config as triton_config
from millwork.triton import server
from millwork.triton.server import RunningServer

if TYPE_CHECKING:
    from millwork.triton.install import Installation

pytestmark = pytest.mark.triton

SERVED = ("--traffic", "batch=1", "--tune-budget", "0", "--label", "y")
OFFLINE = ("--triton", "none", "--backends", "onnx", "--traffic", "batch=1")


@dataclass(frozen=True)
class Shop:
    folder: Path
    nets: dict[str, Net]
    files: dict[str, Path]
    said: dict[str, Said]
    running: RunningServer

    @property
    def repository(self) -> Path:
        return self.folder / "models"


def written(net: Net, path: Path) -> Path:
    """The net's rows, and its codes."""
    arrays: dict[str, Any] = {"X": net.x, "y": net.labels} | ({} if net.codes is None else {"C": net.codes})
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def shop(
    triton_installation: Installation, exported: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Every kind of net, published and verified on one Triton, which goes on serving them."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "models").mkdir()
    nets = {name: make() for name, make in KINDS.items()}
    files = {name: exported(name) for name in KINDS}
    with server.start(triton_installation, folder / "models", log=folder / "triton.log") as running:
        said = {
            name: millwork(
                "optimize",
                files[name],
                "--data",
                written(net, folder / f"{name}.npz"),
                "--repository",
                folder / "models",
                "--name",
                name,
                "--run-dir",
                folder / f"run-{name}",
                "--backends",
                "onnx",
                "--precision",
                "fp32",
                "--triton",
                running.grpc_url,
                "--json",
                *SERVED,
            )
            for name, net in nets.items()
        }
        yield Shop(folder, nets, files, said, running)


def ask(running: RunningServer, name: str, rows: Any, codes: Any) -> Any:
    tensors = []
    for tensor, kind, values in (("input__0", "FP32", rows), ("input__1", "INT64", codes)):
        if values is not None:
            tensors.append(grpc.InferInput(tensor, list(values.shape), kind))
            tensors[-1].set_data_from_numpy(np.ascontiguousarray(values))
    with grpc.InferenceServerClient(running.grpc_url.removeprefix("grpc://")) as client:
        return client.infer(name, tensors).as_numpy("output__0")


def answered(net: Net, count: int) -> Any:
    """What the module itself makes of its first rows, as predict_proba or predict would give it."""
    with torch.no_grad():
        raw = net.module(*(tensor[:count] for tensor in net.arguments)).reshape(count, -1)
    if net.task == "binary":
        second = torch.sigmoid(raw)
        return torch.hstack([1 - second, second]).numpy()
    return (raw.softmax(1) if net.task == "multiclass" else raw).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_served_and_answers_as_the_module(name: str, shop: Shop) -> None:
    said, net = shop.said[name], shop.nets[name]
    assert said.code == 0, said.err
    found = said.document()
    assert found["publication"]["verified"]
    assert found["winner"]["id"] == "onnx-fp32"
    for count in (1, 2, 33):
        got = ask(shop.running, name, net.x[:count], None if net.codes is None else net.codes[:count])
        expected = answered(net, count)
        near = 3e-4 if name == "tabnet" else 2e-5
        assert np.allclose(got, expected, rtol=1e-3, atol=near * max(1.0, float(np.abs(expected).max()))), count


def test_requests_of_a_net_whose_rows_affect_each_other_are_never_batched(shop: Shop) -> None:
    for name, batched in (("saint", False), ("mlp", True)):
        config = triton_config.parse((shop.repository / name / "config.pbtxt").read_text())
        assert config.HasField("dynamic_batching") is batched
        folder = find_version(shop.repository, name)
        manifest = json.loads((folder / "manifest.json").read_bytes())
        assert manifest["output"]["independent_rows"] is batched


def test_codes_that_no_column_knows_are_answered_nan(shop: Shop) -> None:
    net = shop.nets["dlrm"]
    assert net.codes is not None
    codes = net.codes[:3].copy()
    codes[1, 2] = 99
    got = ask(shop.running, "dlrm", net.x[:3], codes)
    assert np.isnan(got).any(axis=1).tolist() == [False, True, False]


def test_the_published_net_predicts_here(shop: Shop) -> None:
    out = shop.folder / "answers.npy"
    said = millwork(
        "predict",
        "--repository",
        shop.repository,
        "--name",
        "dlrm",
        "--input",
        shop.folder / "dlrm.npz",
        "--output",
        out,
    )
    assert said.code == 0, said.err
    net = shop.nets["dlrm"]
    assert np.allclose(np.load(out), answered(net, len(net.x)), atol=1e-5)


def test_inspect_says_what_a_net_is(shop: Shop) -> None:
    said = millwork("inspect", shop.files["saint"])
    assert said.code == 0, said.err
    assert "operators" in said.out
    assert "never batched" in said.out


def test_a_live_module_through_the_api(tmp_path: Path) -> None:
    net = KINDS["mlp"]()
    record = library.optimize(
        net.module,
        example=net.x[:8],
        task="binary",
        data=net.x,
        label=net.labels,
        name="mlp",
        triton="none",
        repository=tmp_path / "models",
        backends="onnx",
        traffic="batch=1",
        run_dir=tmp_path / "run",
    )
    assert record.publication is not None
    metric = record.candidates[0].parity
    assert metric is not None
    assert metric.metric is not None


FACTORY = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 1))

def other():
    return nn.Linear(30, 1)

def broken():
    raise ValueError("no such checkpoint")
"""


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state dict whose module a package in the working folder makes, and rows for it."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "made.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    module = nn.Sequential(nn.Linear(30, 8), nn.ReLU(), nn.Linear(8, 1))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    torch.save(module, tmp_path / "whole.pt")
    net = KINDS["mlp"]()
    np.savez(tmp_path / "rows.npz", X=net.x, y=net.labels)
    return tmp_path / "weights.pt"


def test_a_state_dict_with_its_factory(weights: Path) -> None:
    said = millwork(
        "optimize",
        weights,
        "--module",
        "training.made:make",
        "--task",
        "binary",
        "--data",
        "rows.npz",
        "--label",
        "y",
        "--dry-run",
        "--json",
        *OFFLINE,
    )
    assert said.code == 0, said.err
    assert said.document()["model"]["framework"] == "torch"


HOME = """
import importlib, os
import torch
from nets_of_mine import hidden
import notes.made
def make():
    with open(os.path.join(os.path.dirname(hidden.__file__), "sizes.json")) as sizes:
        assert sizes.read() == "[30, 8]"
    print("READ", [read(path) for path in (".ssh/id_rsa", "diary.txt", "other.py", "notes/private.txt", "big/.env")])
    hidden.of()
    return torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)), (torch.zeros(2, 30),)
def read(path):
    for folder in (os.path.dirname(__file__), os.path.dirname(os.path.realpath(__file__)), HOME):
        try:
            with open(os.path.join(folder, path)) as file:
                return file.read()
        except OSError:
            pass
    return "nothing"
"""


def test_a_factory_in_a_home_folder_reads_its_own_module_alone(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it imports, and what that names; PYTHONPATH=$HOME lets it read no more."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name, text in {
        "mine.py": HOME.replace("HOME", repr(str(tmp_path))),
        "nets_of_mine/__init__.py": "",
        "nets_of_mine/hidden.py": "from . import inner\ndef of(): return inner.SIZE\n",
        "nets_of_mine/inner.py": "SIZE = 8\n",
        "notes/made.py": "",
        "notes/private.txt": "PRIVATE",
        "nets_of_mine/sizes.json": "[30, 8]",
        ".ssh/id_rsa": "PRIVATE",
        "diary.txt": "PRIVATE",
        "other.py": "PRIVATE",
        "big/.env": "PRIVATE",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    said = millwork("optimize", weights, "--module", "mine:make", "--dry-run", "--run-dir", "run", *OFFLINE)
    assert said.code == 0, said.err
    assert (
        f"--module mine:make is read from {tmp_path}: mine.py, nets_of_mine/, notes/made.py. Nothing else there can"
        in said.err
    )
    (log,) = (tmp_path / "run" / "stages").glob("load-*/load.log")
    assert f"READ {['nothing'] * 5}" in log.read_text()


@pytest.mark.parametrize(
    ("words", "code", "phrases"),
    [
        (["weights.pt"], 3, ["a state dict", "--module package.module:factory"]),
        (
            ["weights.pt", "--module", "training.made:other", "--data", "rows.npz", "--label", "y"],
            3,
            ["doesn't fit the module that"],
        ),
        (["weights.pt", "--module", "training.made:broken"], 2, ["no such checkpoint"]),
        (["weights.pt", "--module", "training.made:absent"], 2, ["absent"]),
        (["weights.pt", "--module", "training.made:make"], 2, ["no example of its inputs"]),
        (["whole.pt", "--module", "training.made:make"], 3, ["not a state dict", "runs code"]),
    ],
)
def test_weights_that_cannot_be_read(weights: Path, words: list[str], code: int, phrases: list[str]) -> None:
    refused(millwork("optimize", *words, *OFFLINE), code, *phrases)


def test_what_a_net_has_not_is_a_usage_error(shop: Shop) -> None:
    """Known once the file is read: one line, and nothing is built."""
    words = ("optimize", shop.files["mlp"], "--dry-run", "--run-dir", shop.folder / "run-none", *OFFLINE)
    refused(
        millwork(*words, "--backends", "fil"),
        2,
        "--backends fil: this model is a net, which none of these can build",
        "reference, onnx, onnx-cuda",
    )
    refused(
        millwork(*words, "--precision", "int32"),
        2,
        "--precision int32: this model is a net, which onnx can't build in this precision",
        "It can be built in fp32, fp16, int8.",
    )
    assert not list((shop.folder / "run-none" / "stages").glob("build-*"))


def test_lower_precisions_are_judged_and_win_only_where_they_are_named(shop: Shop) -> None:
    words = (
        "optimize",
        shop.files["mlp"],
        "--data",
        shop.folder / "mlp.npz",
        "--label",
        "y",
        "--dry-run",
        "--json",
        "--run-dir",
        shop.folder / "run-lower",
        *OFFLINE,
    )
    usual = millwork(*words)
    assert usual.code == 0, usual.err
    found = {line["id"]: line for line in usual.document()["candidates"]}
    assert {name: line["status"] for name, line in found.items()} == dict.fromkeys(
        ("onnx-fp32", "onnx-fp16", "onnx-int8"), "passed"
    )
    assert usual.document()["winner"]["id"] == "onnx-fp32"
    assert "only if --precision names it" in found["onnx-fp16"]["reason"]
    assert found["onnx-fp16"]["layers"]
    assert found["onnx-int8"]["parity"]["metric"]["name"] == "logloss"
    named = millwork(*words, "--precision", "fp16")
    assert named.code == 0, named.err
    assert named.document()["winner"]["id"] == "onnx-fp16"
