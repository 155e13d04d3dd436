"""Small nets as typed ONNX graphs, as the torch frontend would make them: ``input__0`` FP32 [N, F] -> ``margin``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
FEATURES = 32


class Graph:
    """Nodes one after another; ``value`` is the last one's answer."""

    def __init__(self, features: int) -> None:
        self.features, self.value = features, "input__0"
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operator: str, name: str, *others: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, [self.value, *others], [f"{name}_out"], name, **attributes))
        self.value = f"{name}_out"
        return self.value

    def gemm(self, name: str, weight: Array, bias: Array | None = None) -> str:
        """``weight``: [out, in], as torch has it."""
        bias = np.zeros(len(weight), np.float32) if bias is None else bias
        return self.add(
            "Gemm",
            name,
            self.constant(f"{name}.weight", weight.astype(np.float32)),
            self.constant(f"{name}.bias", bias.astype(np.float32)),
            transB=1,
        )

    def batch_norm(self, name: str, scale: Array, bias: Array, mean: Array, variance: Array) -> str:
        parts = zip(("scale", "bias", "mean", "variance"), (scale, bias, mean, variance), strict=True)
        return self.add(
            "BatchNormalization", name, *(self.constant(f"{name}.{p}", a.astype(np.float32)) for p, a in parts)
        )

    def model(self, outputs: int) -> onnx.ModelProto:
        self.add("Identity", "last")
        self.nodes[-1].output[0] = "margin"
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("input__0", TensorProto.FLOAT, ["N", self.features])],
            [helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["N", outputs])],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(made, full_check=True)
        return made


@dataclass(frozen=True)
class Trained:
    """``rows`` float32 [N, F] and ``labels`` [N], which the net wasn't trained on."""

    model: onnx.ModelProto
    rows: Array
    labels: Array


def scaled_mlp(seed: int = 0) -> Trained:
    """BatchNorm, then two hidden layers, trained: one feature is a thousand times the others, one is skewed. Naive
    float16 overflows on the variance of the first, naive int8 on both."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(10000, FEATURES)).astype(np.float32)
    rows[:, 0] *= 1000
    rows[:, 1] = np.exp(1.5 * rows[:, 1])
    logits = rows[:, 0] / 1000 + np.log(rows[:, 1]) * rows[:, 2] + np.sin(2 * rows[:, 3]) - rows[:, 4] * rows[:, 5]
    labels = (logits + 0.5 * rng.normal(size=len(rows)) > 0).astype(np.int64)
    x, y = torch.from_numpy(rows[:6000]), torch.from_numpy(labels[:6000])
    net = torch.nn.Sequential(
        torch.nn.BatchNorm1d(FEATURES),
        torch.nn.Linear(FEATURES, 64),
        torch.nn.ReLU(),
        torch.nn.BatchNorm1d(64),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 2),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(8):
        for part in torch.randperm(len(x)).split(500):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    return Trained(_sequential(net.eval(), FEATURES, 2), rows[6000:], labels[6000:])


def _sequential(net: Sequence[object], features: int, outputs: int) -> onnx.ModelProto:
    import torch

    graph = Graph(features)
    for number, layer in enumerate(net):
        if isinstance(layer, torch.nn.BatchNorm1d):
            parts = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            graph.batch_norm(f"norm_{number}", *(part.detach().numpy() for part in parts))
        elif isinstance(layer, torch.nn.Linear):
            graph.gemm(f"linear_{number}", layer.weight.detach().numpy(), layer.bias.detach().numpy())
        else:
            graph.add("Relu", f"relu_{number}")
    return graph.model(outputs)


def cancelling(seed: int = 3, width: int = 32) -> onnx.ModelProto:
    """A net with one layer that no lower precision can hold: ``difference`` subtracts values near 400 that differ by
    hundredths. The layers after it are harmless."""
    rng = np.random.default_rng(seed)
    graph = Graph(width)
    ones = np.ones(width)
    graph.batch_norm("offset", 0.02 * ones, 400 * ones, 0 * ones, ones)
    weight = rng.normal(size=(width, width))
    graph.gemm("difference", 50 * (weight - weight.mean(axis=1, keepdims=True)) / np.sqrt(width))
    for name in ("first", "second"):
        graph.add("Relu", f"before_{name}")
        graph.gemm(name, rng.normal(size=(width, width)) / np.sqrt(width), 0.1 * rng.normal(size=width))
    graph.add("Relu", "before_head")
    graph.gemm("head", rng.normal(size=(2, width)) / np.sqrt(width))
    return graph.model(2)


def plain(features: int, *widths: int, seed: int = 2) -> onnx.ModelProto:
    """Gemms of these widths (``gemm_0``, …), with a Relu between them."""
    rng = np.random.default_rng(seed)
    graph, before = Graph(features), features
    for number, width in enumerate(widths):
        if number:
            graph.add("Relu", f"relu_{number}")
        graph.gemm(f"gemm_{number}", rng.normal(size=(width, before)) / np.sqrt(before))
        before = width
    return graph.model(before)
