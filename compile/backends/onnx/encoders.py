"""The encoders as plain ONNX operators: from ``input__0`` and ``input__1`` to the row that the trees read.

    sentinels     Where(x == sentinel, NaN, x)
    vocabulary    LabelEncoder: a value -> its place, or the number of places where it isn't known
    CTRs          hashes of the places combined by int64 Mul and Add, which wrap as CatBoost's do; LabelEncoder: a
                  combined hash -> its row of the table of values
    indicators    Gather from a table of 0, 1 and NaN by a category's place

No custom operator: ONNX Runtime of every release in the table has these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ....passes.categories import MULTIPLIER, Categories, Ctr
from ....passes.program import Program
from .layout import Indicators, Layout


class Graph:
    """Nodes and constants as they are appended. Names are given by whoever appends."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        """One node; the name of its one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        """A constant, made once; its name."""
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name


def scalar(value: float | np.float32) -> npt.NDArray[np.float32]:
    """float32 [1, 1]: beside [N, 1] ONNX Runtime's CPU kernels take seven times as long for a scalar of another rank
    (1.32, 4,096 rows)."""
    return np.full((1, 1), value, np.float32)


def encoded(graph: Graph, program: Program, plan: Layout) -> str:
    """Append what makes the row float32 [N, ``plan.width``]; its name."""
    numbers = _sentinels(graph, program)
    categories = program.categories
    parts = [numbers] if program.n_columns else []
    places: dict[int, str] = {}
    if categories is not None:
        needed = {part.category for part in plan.indicators} | {
            int(c) for ctr in categories.ctrs for c in (*ctr.categories, *ctr.features)
        }
        places = {c: _place(graph, categories, c) for c in sorted(c for c in needed if c is not None)}
        parts += [_ctr(graph, categories, k, ctr, numbers, places) for k, ctr in enumerate(categories.ctrs)]
    parts += [_indicators(graph, i, part, numbers, places) for i, part in enumerate(plan.indicators)]
    return parts[0] if len(parts) == 1 else graph.add("Concat", parts, "encoded_row", axis=1)


def inputs(program: Program) -> list[onnx.ValueInfoProto]:
    """``input__0`` float32 [N, F], and ``input__1`` [N, C] where the program takes categories."""
    found = []
    if program.n_columns:
        found.append(helper.make_tensor_value_info("input__0", TensorProto.FLOAT, ["N", program.n_columns]))
    if program.categories is not None:
        kind = TensorProto.INT64 if program.categories.integer else TensorProto.STRING
        found.append(helper.make_tensor_value_info("input__1", kind, ["N", program.categories.n_features]))
    return found


def _sentinels(graph: Graph, program: Program) -> str:
    value = "input__0"
    for i, encoder in enumerate(program.encoders):
        sentinel = graph.constant(f"sentinel_{i}", scalar(encoder.value))
        missing = graph.add("Equal", [value, sentinel], f"is_missing_{i}")
        value = graph.add("Where", [missing, _nan(graph), value], f"number_{i}")
    return value


def _nan(graph: Graph) -> str:
    return graph.constant("nan", scalar(np.nan))


def _place(graph: Graph, categories: Categories, c: int) -> str:
    """int64 [N, 1]: where in its vocabulary feature c's value stands."""
    column = graph.add("Gather", ["input__1", graph.constant(f"column_{c}", np.array([c]))], f"category_{c}", axis=1)
    return _look_up(graph, column, f"place_{c}", list(categories.vocabularies[c]), text=not categories.integer)


def _look_up(graph: Graph, value: str, output: str, keys: list[Any], *, text: bool = False) -> str:
    """int64: the place of a value among ``keys``, their number where it isn't there."""
    known = keys or [""] if text else keys or [0]  # where no key is known: a LabelEncoder needs one
    return graph.add(
        "LabelEncoder",
        [value],
        output,
        "ai.onnx.ml",
        values_int64s=list(range(len(keys))) or [0],
        default_int64=len(keys),
        **({"keys_strings": known} if text else {"keys_int64s": known}),
    )


def _ctr(graph: Graph, categories: Categories, k: int, ctr: Ctr, numbers: str, places: dict[int, str]) -> str:
    """float32 [N, D]: the CTRs of one combination of elements."""
    multiplier = graph.constant("multiplier", np.array([MULTIPLIER]).view(np.int64))
    elements = [_hash(graph, categories, int(c), places) for c in ctr.categories]
    for j, (column, border, nan) in enumerate(zip(ctr.columns, ctr.borders, ctr.nan, strict=True)):
        elements.append(_above(graph, f"ctr_{k}_bit_{j}", numbers, int(column), border, nan=bool(nan)))
    for j, (c, value) in enumerate(zip(ctr.features, ctr.values, strict=True)):
        name = f"ctr_{k}_exact_{j}"
        same = graph.add(
            "Equal",
            [_hash(graph, categories, int(c), places), graph.constant(f"{name}_value", np.array([value]))],
            f"{name}_same",
        )
        elements.append(graph.add("Cast", [same], name, to=TensorProto.INT64))
    h = ""
    for j, element in enumerate(elements):
        scaled = graph.add("Mul", [element, multiplier], f"ctr_{k}_scaled_{j}")
        total = graph.add("Add", [h, scaled], f"ctr_{k}_sum_{j}") if h else scaled
        h = graph.add("Mul", [total, multiplier], f"ctr_{k}_hash_{j}")
    row = _look_up(graph, h, f"ctr_{k}_row", ctr.keys.view(np.int64).tolist())
    flat = graph.add("Squeeze", [row, graph.constant("last_axis", np.array([1]))], f"ctr_{k}_at")
    return graph.add("Gather", [graph.constant(f"ctr_{k}_table", ctr.table), flat], f"ctr_{k}", axis=0)


def _hash(graph: Graph, categories: Categories, c: int, places: dict[int, str]) -> str:
    """int64 [N, 1]: CatBoost's hash of feature c's value."""
    name = f"hash_{c}"
    if not any(node.output[0] == name for node in graph.nodes):
        graph.add("Gather", [graph.constant(f"hashes_{c}", categories.hashes[c]), places[c]], name, axis=0)
    return name


def _above(graph: Graph, name: str, numbers: str, column: int, border: np.float32, *, nan: bool) -> str:
    """int64 [N, 1]: whether a number is above a border; a NaN is, where ``nan``."""
    own = graph.add(
        "Gather", [numbers, graph.constant(f"number_column_{column}", np.array([column]))], f"{name}_x", axis=1
    )
    above = graph.add("Greater", [own, graph.constant(f"{name}_border", scalar(border))], f"{name}_above")
    if nan:
        above = graph.add("Or", [above, graph.add("IsNaN", [own], f"{name}_nan")], f"{name}_or_nan")
    return graph.add("Cast", [above], name, to=TensorProto.INT64)


def _indicators(graph: Graph, i: int, part: Indicators, numbers: str, places: dict[int, str]) -> str:
    """float32 [N, S]: whether one feature's category is in each of its sets."""
    table = graph.constant(f"sets_{i}", part.table)
    squeeze = graph.constant("last_axis", np.array([1]))
    if part.category is not None:
        at = graph.add("Squeeze", [places[part.category], squeeze], f"sets_{i}_at")
        return graph.add("Gather", [table, at], f"indicators_{i}", axis=0)
    name, limit = f"sets_{i}", len(part.table) - 1
    own = graph.add(
        "Gather",
        [numbers, graph.constant(f"number_column_{part.column}", np.array([part.column]))],
        f"{name}_x",
        axis=1,
    )
    zero, top = graph.constant("zero", scalar(0)), graph.constant(f"{name}_limit", scalar(limit))
    positive = graph.add("GreaterOrEqual", [own, zero], f"{name}_positive")
    below = graph.add("Less", [own, top], f"{name}_below")
    valid = graph.add("And", [positive, below], f"{name}_valid")
    code = graph.add(
        "Cast", [graph.add("Where", [valid, own, top], f"{name}_code")], f"{name}_place", to=TensorProto.INT64
    )
    found = graph.add("Gather", [table, graph.add("Squeeze", [code, squeeze], f"{name}_at")], f"{name}_found", axis=0)
    missing = graph.add("IsNaN", [own], f"{name}_missing")
    return graph.add("Where", [missing, _nan(graph), found], f"indicators_{i}")


def lookups(program: Program, plan: Layout) -> dict[str, tuple[list[Any], list[int], int]]:
    """Every LabelEncoder by its output's name: keys (text as bytes), values, and what stands for other keys."""
    categories = program.categories
    if categories is None:
        return {}
    needed = {part.category for part in plan.indicators} | {
        int(c) for ctr in categories.ctrs for c in (*ctr.categories, *ctr.features)
    }
    out = {}
    for c in sorted(c for c in needed if c is not None):
        words = [word if isinstance(word, int) else word.encode() for word in categories.vocabularies[c]]
        out[f"place_{c}"] = (words or [0 if categories.integer else b""], list(range(len(words))) or [0], len(words))
    for k, ctr in enumerate(categories.ctrs):
        keys = ctr.keys.view(np.int64).tolist()
        out[f"ctr_{k}_row"] = (keys or [0], list(range(len(keys))) or [0], len(keys))
    return out


def table_constants(program: Program, plan: Layout) -> dict[str, npt.NDArray[Any]]:
    """The constants whose every entry matters, by name: what an artifact must hold."""
    categories = program.categories
    out: dict[str, npt.NDArray[Any]] = {f"sets_{i}": part.table for i, part in enumerate(plan.indicators)}
    if categories is not None:
        out |= {f"ctr_{k}_table": ctr.table for k, ctr in enumerate(categories.ctrs)}
        hashed = {int(c) for ctr in categories.ctrs for c in (*ctr.categories, *ctr.features)}
        out |= {f"hashes_{c}": categories.hashes[c] for c in sorted(hashed)}
    if program.linear is not None:
        out |= {"weights": program.linear.weight, "bias": program.linear.bias}
    return out
