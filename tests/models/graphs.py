"""Small typed ONNX graphs, as TensorRT takes them: nets by hand, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FEATURES, HIDDEN = 16, 32
FLOAT, HALF, INT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8


def mlp(path: Path, *, half: bool = False, last: str = "Sigmoid", domain: str = "") -> Path:
    """``input__0`` [N, 16] -> Gemm, Relu, Gemm, ``last`` -> ``output__0`` [N, 1]; float16 inside where ``half``."""
    kind = np.float16 if half else np.float32
    rng = np.random.default_rng(0)
    held = {
        "w1": rng.normal(size=(FEATURES, HIDDEN)).astype(kind),
        "b1": np.zeros(HIDDEN, kind),
        "w2": rng.normal(size=(HIDDEN, 1)).astype(kind),
        "b2": np.zeros(1, kind),
    }
    nodes = [helper.make_node("Cast", ["input__0"], ["x"], to=HALF if half else FLOAT, name="in")]
    nodes += [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], name="second"),
        helper.make_node("Cast", ["y"], ["z"], to=FLOAT, name="out"),
        helper.make_node(last, ["z"], ["output__0"], name="last", domain=domain),
    ]
    return save(nodes, held, path)


def quantized(path: Path) -> Path:
    """The same in int8, by Q/DQ: symmetric, the weights per tensor."""
    rng = np.random.default_rng(0)
    held = {
        "w": rng.normal(size=(FEATURES, HIDDEN)).astype(np.float32),
        "scale": np.float32(0.05),
        "zero": np.int8(0),
        "w2": rng.normal(size=(HIDDEN, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["input__0", "scale", "zero"], ["xq"], name="quantize_x"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["x"], name="dequantize_x"),
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["wq"], name="quantize_w"),
        helper.make_node("DequantizeLinear", ["wq", "scale", "zero"], ["wd"], name="dequantize_w"),
        helper.make_node("MatMul", ["x", "wd"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["output__0"], name="second"),
    ]
    return save(nodes, held, path)


def stump(path: Path) -> Path:
    """A tree of one test in plain operators, its missing rows to the left: IsNaN, Less, Or, Where."""
    held = {
        "column": np.array([2], np.int64),
        "threshold": np.float32(0.5),
        "left": np.float32(-1.0),
        "right": np.float32(1.0),
    }
    nodes = [
        helper.make_node("Gather", ["input__0", "column"], ["value"], axis=1, name="pick"),
        helper.make_node("IsNaN", ["value"], ["missing"], name="isnan"),
        helper.make_node("Less", ["value", "threshold"], ["below"], name="test"),
        helper.make_node("Or", ["missing", "below"], ["goes_left"], name="or"),
        helper.make_node("Where", ["goes_left", "left", "right"], ["output__0"], name="leaf"),
    ]
    return save(nodes, held, path)


def unsupported(path: Path) -> Path:
    """Two operators that TensorRT hasn't, with one between them that it has."""
    nodes = [
        helper.make_node("Bernoulli", ["input__0"], ["a"], name="draw"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Strange", ["b"], ["output__0"], name="strange", domain="ai.example"),
    ]
    return save(nodes, {}, path, columns=FEATURES)


def save(nodes: Sequence[Any], held: dict[str, Any], path: Path, columns: int = 1) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("input__0", FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("output__0", FLOAT, ["N", columns])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("ai.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path
