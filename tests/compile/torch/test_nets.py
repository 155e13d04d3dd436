"""Each kind of net: exported, lowered, built, and judged against torch itself, by the real steps in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from models.nets import KINDS, Net
from torch import nn

import millwork
from millwork import gpus, triton_releases
from millwork.compile.backends import table as backends
from millwork.compile.backends.base import Artifact, NetOrder, Source, Unsupported
from millwork.compile.frontends.load_options import LoadOptions
from millwork.compile.frontends.torch import export
from millwork.compile.frontends.torch import net as frontend
from millwork.compile.frontends.torch.interface import Interface
from millwork.compile.runners.load import runner
from millwork.errors import ModelError
from millwork.passes import base, pass_table
from millwork.passes import net as nets
from millwork.validators import far_rows, parity, tolerance
from millwork.validators.rows import net_rows
from millwork.validators.rows.given import Given
from millwork.values import Provenance

WHERE = Provenance(path="net.pt2", format="torch-pt2", sha256="", framework="torch", framework_version="")
RELEASE = triton_releases.find("24.10")


def loaded(net: Net, folder: Path, **options: Any) -> Any:
    return read(millwork.save_net(net.module, net.arguments, folder / "net.pt2", task=net.task), **options)


def read(path: Path, **options: Any) -> Any:
    return frontend.load(path.read_bytes(), WHERE, LoadOptions(**options))


def built(model: Any, folder: Path) -> Path:
    graph = base.run(pass_table.NET_LOWERING, model.program.graph).program
    (folder / "native").mkdir()
    native = folder / "native" / frontend.NATIVE
    native.write_bytes(model.native)
    for name in ("onnx", "reference"):
        (folder / name).mkdir()
        backend = backends.find_net(name, "fp32")
        assert backend is not None
        order = NetOrder(
            nets.Net(graph, model.program.interface, model.program.guard),
            Source(native=str(native), signature=model.signature),
            folder / name,
            RELEASE,
        )
        made = backend.build(order)
        (folder / name / "built.json").write_bytes(msgspec.json.encode(made))
    return folder


def answers(folder: Path, name: str, rows: Given, outputs: int) -> Any:
    made = msgspec.json.decode((folder / name / "built.json").read_bytes())
    engine = runner(made["runner"])(folder / name / made["model_file"], made["parameters"], 1)
    return parity.in_batches(engine.predict, rows, outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_net_of_each_kind_is_answered_as_torch_answers(
    kind: str, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    net = KINDS[kind]()
    model = read(exported(kind))
    signature = model.signature
    assert signature.output.independent_rows is not net.dependent
    assert signature.features.code_counts == net.code_counts
    assert signature.features.finite is (kind == "tabnet")
    own = Given(net.x, net.codes)
    rows, far = net_rows.made(signature, own, 1200)
    folder = built(model, tmp_path)
    outputs = len(signature.output.labels)
    framework, candidate = (answers(folder, name, rows, outputs) for name in ("reference", "onnx"))
    probability = signature.output.kind == "probability"
    near = len(rows) - far
    assert not far_rows.wrong(framework[near:], candidate[near:], labels=False)
    rows, framework, candidate = rows[:near], framework[:near], candidate[:near]
    allowed = tolerance.of_precision("fp32", framework, probability=probability)
    verdict = parity.judge(rows, parity.Side(framework), parity.Side(candidate), allowed, signature.output)
    assert verdict.passed, verdict.reason
    with torch.no_grad():
        raw = net.module(*net.arguments).reshape(len(net.x), -1)
    mine = {"binary": torch.sigmoid, "multiclass": lambda r: r.softmax(1)}.get(net.task, lambda r: r)(raw).numpy()
    if net.task == "binary":
        mine = np.hstack([1 - mine, mine])
    together = runner("onnx_runner")(folder / "onnx" / "model.onnx", {}, 1).predict(*own.parts)
    apart = 3e-4 if kind == "tabnet" else 5e-6
    assert np.allclose(together, mine, rtol=1e-5, atol=apart * max(1, np.abs(mine).max()))


def test_unknown_codes_are_answered_nan(exported: Callable[[str], Path], tmp_path: Path) -> None:
    net = KINDS["dlrm"]()
    folder = built(read(exported("dlrm")), tmp_path)
    codes = np.zeros((6, 4), np.int64)
    codes[[1, 2, 3, 4], [0, 1, 2, 3]] = (-1, 11, 1 << 40, -(1 << 40))
    rows = Given(net.x[:6], codes)
    for name in ("reference", "onnx"):
        got = answers(folder, name, rows, 2)
        assert np.isnan(got).any(axis=1).tolist() == [False, True, True, True, True, False], name


@pytest.mark.parametrize(
    ("task", "layers", "labels"),
    [
        ("binary", nn.Linear(3, 2), ("0", "1")),
        ("multilabel", nn.Linear(3, 4), ("0", "1", "2", "3")),
        ("binary", nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()), ("0", "1")),
        ("multiclass", nn.Sequential(nn.Linear(3, 3), nn.Softmax(1)), ("0", "1", "2")),
        ("regression", nn.Linear(3, 1), ("value",)),
    ],
)
def test_what_the_outputs_are_margins_of(task: str, layers: nn.Module, labels: tuple[str, ...], tmp_path: Path) -> None:
    rows = torch.randn(8, 3)
    net = Net(layers.eval(), rows.numpy(), np.zeros(8), task)
    model = loaded(net, tmp_path)
    assert model.signature.output.labels == labels
    folder = built(model, tmp_path)
    framework, candidate = (answers(folder, name, Given(net.x), len(labels)) for name in ("reference", "onnx"))
    assert np.allclose(framework, candidate, atol=1e-6)
    raw = layers(rows).detach().numpy()
    if isinstance(layers, nn.Sequential):
        assert any("so its outputs are probabilities" in note for note in model.signature.notes)
        assert np.allclose(framework[:, -raw.shape[1] :], raw, atol=1e-6)
        with pytest.raises(ModelError, match="gives no margins"):
            loaded(net, tmp_path, margin=True)
    elif task != "regression":
        assert np.all((framework >= 0) & (framework <= 1))
        margin = loaded(net, tmp_path, margin=True)
        assert margin.signature.output.kind == "margin"


@pytest.mark.parametrize(
    ("task", "outputs", "own", "said"),
    [
        ("multiclass", 3, "Sigmoid", "each output is then a probability by itself"),
        ("binary", 2, "Sigmoid", "each output is then a probability by itself"),
        ("binary", 1, "Softmax", "add up to 1"),
        ("multilabel", 3, "Softmax", "add up to 1"),
        ("multiclass", 3, "Softmax", ""),
        ("binary", 1, "Sigmoid", ""),
        ("multilabel", 3, "Sigmoid", ""),
        ("binary", 2, "Softmax", ""),
        ("multiclass", 3, "", ""),
    ],
)
def test_an_activation_of_another_task_is_refused(task: Any, outputs: int, own: str, said: str) -> None:
    face = Interface(inputs=("numbers",), features=3, codes=0, outputs=outputs, flat=False, extra=0)
    with pytest.raises(ModelError, match=said) if said else contextlib.nullcontext():
        frontend._require_fitting(task, face, own)


def test_a_net_that_ends_in_another_tasks_activation_is_refused(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Linear(3, 3), nn.Sigmoid()).eval()
    with pytest.raises(ModelError, match="each output is then a probability by itself"):
        loaded(Net(layers, torch.randn(8, 3).numpy(), np.zeros(8), "multiclass"), tmp_path)


class Clamped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x[:, :1]).clamp(1e-6, 1 - 1e-6)


class OverRows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.softmax(0)


@pytest.mark.parametrize(
    ("task", "layers", "said"),
    [
        ("binary", Clamped(), "If they are probabilities already"),
        ("multilabel", OverRows(), "If they are probabilities already"),
        (
            "",
            nn.Sequential(nn.Linear(3, 1), nn.Sigmoid()),
            "the net ends in a Sigmoid, and nothing says what the outputs mean",
        ),
        ("binary", nn.Linear(3, 1), ""),
    ],
)
def test_what_is_said_of_outputs_that_may_be_probabilities(
    task: str, layers: nn.Module, said: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = loaded(Net(layers.eval(), torch.randn(8, 3).numpy(), np.zeros(8), task), tmp_path)
    told = [note for note in model.signature.notes if "outputs" in note and "rows affect" not in note]
    assert len(told) == bool(said)
    assert all(said in note for note in told)


class Both(nn.Module):
    def __init__(self, activation: nn.Module, *, first: bool) -> None:
        super().__init__()
        self.inner, self.activation, self.first = nn.Linear(3, 3), activation, first

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.inner(x)
        made = self.activation(logits)
        return (made, logits + 1) if self.first else (logits, made)


@pytest.mark.parametrize(
    ("task", "activation", "first"),
    [
        ("multiclass", nn.Softmax(1), False),
        ("multilabel", nn.Sigmoid(), True),
        ("multilabel", nn.Softmax(1), False),
    ],
)
def test_what_a_further_output_ends_in_is_not_the_firsts(
    task: str, activation: nn.Module, first: bool, tmp_path: Path
) -> None:
    """(logits, probabilities), as many have it for training: the logits are margins, whatever else is made of them."""
    rows = torch.randn(8, 3)
    net = Net(Both(activation, first=first).eval(), rows.numpy(), np.zeros(8), task)
    model = loaded(net, tmp_path)
    folder = built(model, tmp_path)
    framework, candidate = (answers(folder, name, Given(net.x), 3) for name in ("reference", "onnx"))
    with torch.no_grad():
        given, made = net.module(rows)
    wanted = given if first else made if task == "multiclass" or isinstance(activation, nn.Sigmoid) else given.sigmoid()
    assert np.allclose(framework, wanted.numpy(), atol=1e-6)
    assert np.allclose(candidate, wanted.numpy(), atol=1e-6)
    assert any("ends in a" in note for note in model.signature.notes) is first
    if not first:
        assert not {"Softmax", "Sigmoid"} & {node.op_type for node in model.program.graph.graph.node}


def test_a_norm_without_statistics_is_no_training(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Unflatten(1, (1, 6)), nn.InstanceNorm1d(1), nn.Flatten(), nn.Linear(6, 2)).eval()
    model = loaded(Net(layers, torch.randn(8, 6).numpy(), np.zeros(8), "multiclass"), tmp_path)
    assert model.signature.output.independent_rows


def test_a_module_that_fails_on_one_row_is_refused_by_name(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2)).eval()
    with pytest.raises(ModelError, match="fails on a batch of 1: Expected more than 1 value"):
        millwork.save_net(layers, torch.randn(8, 3), tmp_path / "net.pt2")


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class FixedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(4, -1).sum(dim=1)


class Three(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Cube(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, None] * x[:, None, :]


@pytest.mark.parametrize(
    ("module", "example", "said"),
    [
        (Branch(), (torch.randn(4, 3),), "a branch|can't be exported"),
        (FixedBatch(), (torch.randn(4, 3),), "shape|batch|can't be exported"),
        (Three(), (torch.randn(4, 3), torch.randn(4, 3)), "two tensors of numbers"),
        (Cube(), (torch.randn(4, 3),), "expected float32"),
        (nn.Linear(3, 1), (torch.randn(1, 3),), "at least 2 rows"),
        (nn.Linear(3, 1), (torch.randn(4),), r"float32 \[4\]"),
    ],
)
def test_what_cannot_be_served_is_refused(module: nn.Module, example: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises((ModelError, RuntimeError), match=said):
        millwork.save_net(module, example, tmp_path / "net.pt2")


def test_a_batch_that_was_fixed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fixed.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 1), (torch.randn(4, 3),)), str(path))
    with pytest.raises(ModelError, match="for batches of 4 only"):
        frontend.load(path.read_bytes(), WHERE)


def test_the_module_is_as_it_was() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    export.export(module, (torch.randn(4, 3),))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.Dropout(0.5)])
def test_a_net_exported_in_training_is_refused(layer: nn.Module, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 3), layer).train()
    path = tmp_path / "net.pt2"
    program = torch.export.export(module, (torch.randn(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    torch.export.save(program, str(path))
    with pytest.raises(ModelError, match="exported in training mode"):
        frontend.load(path.read_bytes(), WHERE)


@pytest.mark.parametrize("name", ["tensorrt", "onnx-cuda", "onnx-tensorrt"])
def test_without_a_gpu_the_backends_for_one_say_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "look", lambda: gpus.DetectedGpus(why="no driver"))
    model = loaded(Net(nn.Linear(3, 1), np.zeros((4, 3), np.float32), np.zeros(4), "regression"), tmp_path)
    backend = backends.find_net(name, "fp32")
    assert backend is not None
    made = backend.build(NetOrder(model.program, Source(native="", signature=model.signature), tmp_path, RELEASE))
    assert isinstance(made, Unsupported)
    assert "this machine has no NVIDIA GPU" in made.reason


def test_on_a_gpu_an_engine_is_tuned_for_the_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU and a TensorRT that are made up: what is asked of it, and what is kept beside the engine."""
    asked: list[Any] = []

    def build(graph: Path, precision: str, profiles: Any, folder: Path) -> Artifact:
        asked.append((graph.is_file(), precision, profiles))
        (folder / "model.plan").write_bytes(b"plan")
        return Artifact(
            backend="tensorrt",
            precision=precision,
            model_file="model.plan",
            runner="tensorrt_runner",
            triton_backend="tensorrt",
            parameters={},
            requirements=(),
        )

    monkeypatch.setattr(
        gpus,
        "look",
        lambda: gpus.DetectedGpus(
            gpus=(gpus.Gpu(name="NVIDIA L4", driver="580", compute_capability="8.9", memory_gib=24.0),)
        ),
    )
    monkeypatch.setattr("millwork.compile.backends.tensorrt.candidate.build", build)
    model = loaded(Net(nn.Linear(3, 1), np.zeros((4, 3), np.float32), np.zeros(4), "regression"), tmp_path)
    folder = tmp_path / "engine"
    folder.mkdir()
    backend = backends.find_net("tensorrt", "fp32")
    assert backend is not None
    made = backend.build(
        NetOrder(model.program, Source(native="", signature=model.signature), folder, RELEASE, batches=(1, 64))
    )
    assert isinstance(made, Artifact)
    assert asked == [(True, "fp32", ((1, 1, 1), (2, 64, 4096)))]
    assert [path.name for path in folder.iterdir()] == ["model.plan"]
