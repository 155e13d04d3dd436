"""Write a program's trees as plain tensor operators, which TensorRT takes too.

The graph::

    input__0, input__1 -> encoders (onnx_encoders) -> row [N, W]
    -> ranks of columns    ReduceSum(row >= thresholds); of many thresholds the block first, then the place in it
    -> ranks of sources    Where(IsNaN, the rank of missing, rank) [N, V], as fp32, fp16 or int32
    -> leaf [N, T]         a table of bits, or down the levels: Gather, GatherElements, Greater (tensor_plan)
    -> margin [N, K]       Gather of leaf values, ReduceSum, base scores: float32 whatever ranks are compared in

All comparisons are in FLOAT, FLOAT16 or INT32, and products are of small integers: a GPU that multiplies float32 with
10 bits (TF32) has them exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

from ....passes.forest import VECTOR_LEAF, Forest
from ....passes.program import Program
from ....triton_releases import Release
from ..onnx.encoders import Graph, encoded
from ..onnx.writer import finished
from .plan import FEW, Plan, Sources, groups

LEAF = "leaf"
"""The name of the tensor int32 [N, T] with each row's leaves, by their places among the forest's leaves."""

KINDS: dict[str, tuple[int, type[Any]]] = {
    "fp32": (TensorProto.FLOAT, np.float32),
    "fp16": (TensorProto.FLOAT16, np.float16),
    "int32": (TensorProto.INT32, np.int32),
}
"""What ranks are compared in."""


def write(program: Program, plan: Plan, precision: str, release: Release, source_sha256: str) -> onnx.ModelProto:
    """The program as a graph within what the release's ONNX Runtime reads."""
    graph = Graph()
    row = encoded(graph, program, plan.layout)
    ranks = _sources(graph, row, plan.sources, program.forest.comparison, precision)
    place = {"table": _table, "perfect": _perfect, "walk": _walk}[plan.form](graph, plan, ranks, precision)
    graph.add("Gather", [graph.constant("leaf_at", plan.leaf_at.astype(np.int32)), place], LEAF, axis=0)
    _margin(graph, program.forest)
    return finished(graph, program, release, source_sha256)


def edges(sources: Sources) -> dict[str, npt.NDArray[np.float32]]:
    """The thresholds as the graph's constants have them, NaN where a column has fewer than others: nothing is above
    it. Of many thresholds: ``coarse`` [columns, blocks], the last of each block, and ``fine`` [columns * (blocks + 1),
    thresholds a block]."""
    out = {}
    for g, part in enumerate(groups(sources.ranking)):
        counts = sources.ranking.counts[part]
        width = max(1, int(counts.max()))
        padded = np.full((len(counts), width), np.nan, np.float32)
        begin = sources.ranking.start[part]
        padded[np.arange(width) < counts[:, None]] = sources.ranking.thresholds[begin[0] : begin[0] + counts.sum()]
        if width <= FEW:
            out[f"edges_{g}"] = padded
            continue
        block = int(np.ceil(np.sqrt(width)))
        blocks = -(-width // block)
        whole = np.full((len(counts), (blocks + 1) * block), np.nan, np.float32)
        whole[:, :width] = padded
        out[f"coarse_{g}"] = whole.reshape(len(counts), blocks + 1, block)[:, :blocks, -1].copy()
        out[f"fine_{g}"] = whole.reshape(-1, block)
    return out


def _sources(graph: Graph, row: str, sources: Sources, comparison: str, precision: str) -> str:
    """[N, V]: the ranks that tests read."""
    passes = "GreaterOrEqual" if comparison == "<" else "Greater"
    tables = edges(sources)
    ranked = []
    for g, part in enumerate(groups(sources.ranking)):
        column = sources.column[part]
        own = graph.add("Gather", [row, graph.constant(f"columns_{g}", column.astype(np.int32))], f"x_{g}", axis=1)
        single = sources.ranking.counts[part].max() <= 1
        if f"fine_{g}" in tables:
            ranked.append(_in_blocks(graph, g, own, passes, tables[f"coarse_{g}"], tables[f"fine_{g}"]))
        elif single:
            edge = graph.constant(f"edges_{g}", tables[f"edges_{g}"][:, 0])
            above = graph.add(passes, [own, edge], f"passes_{g}")
            ranked.append(graph.add("Cast", [above], f"rank_{g}", to=TensorProto.FLOAT))
        else:
            ranked.append(
                _counted(graph, f"rank_{g}", _last(graph, own, f"x_{g}"), passes, f"edges_{g}", tables[f"edges_{g}"])
            )
    ranks = ranked[0] if len(ranked) == 1 else graph.add("Concat", ranked, "column_ranks", axis=1)
    if not np.array_equal(sources.of_column, np.arange(len(sources.column))):
        own = graph.constant("of_column", sources.of_column.astype(np.int32))
        ranks = graph.add("Gather", [ranks, own], "ranks", axis=1)
    if sources.missing.any():
        read = graph.constant("source_column", sources.column[sources.of_column].astype(np.int32))
        missing = graph.add("IsNaN", [graph.add("Gather", [row, read], "source_x", axis=1)], "source_is_missing")
        highest = graph.constant("missing_rank", sources.missing.astype(np.float32))
        ranks = graph.add("Where", [missing, highest, ranks], "source_ranks")
    kind, _ = KINDS[precision]
    return ranks if precision == "fp32" else graph.add("Cast", [ranks], f"ranks_{precision}", to=kind)


def _last(graph: Graph, value: str, name: str) -> str:
    return graph.add("Unsqueeze", [value, graph.constant("axis_2", np.array([2]))], f"{name}_last")


def _counted(graph: Graph, output: str, value: str, passes: str, name: str, table: Any) -> str:
    """float32 [N, C]: how many of each column's thresholds [C, E] the values [N, C, 1] pass."""
    above = graph.add(passes, [value, graph.constant(name, table)], f"{output}_passes")
    ones = graph.add("Cast", [above], f"{output}_ones", to=TensorProto.FLOAT)
    return graph.add("ReduceSum", [ones, graph.constant("axis_2", np.array([2]))], output, keepdims=0)


def _in_blocks(graph: Graph, g: int, own: str, passes: str, coarse: Any, fine: Any) -> str:
    value = _last(graph, own, f"x_{g}")
    block = _counted(graph, f"block_{g}", value, passes, f"coarse_{g}", coarse)
    number = graph.add("Cast", [block], f"block_{g}_number", to=TensorProto.INT32)
    first = graph.constant(f"first_block_{g}", np.arange(len(coarse), dtype=np.int32) * (coarse.shape[1] + 1))
    at = graph.add("Add", [number, first], f"block_{g}_at")
    there = graph.add("Gather", [graph.constant(f"fine_{g}", fine), at], f"block_{g}_edges", axis=0)
    above = graph.add(passes, [value, there], f"within_{g}_passes")
    ones = graph.add("Cast", [above], f"within_{g}_ones", to=TensorProto.FLOAT)
    within = graph.add("ReduceSum", [ones, graph.constant("axis_2", np.array([2]))], f"within_{g}", keepdims=0)
    before = graph.add("Mul", [block, graph.constant(f"block_size_{g}", np.float32(fine.shape[1]))], f"before_{g}")
    return graph.add("Add", [before, within], f"rank_{g}")


def _tests(graph: Graph, plan: Plan, level: int, precision: str) -> tuple[str, str]:
    """The constants of a level: sources int32 and ranks, flat."""
    source, rank = plan.tests(level)
    return (
        graph.constant(f"test_source_{level}", source.astype(np.int32)),
        graph.constant(f"test_rank_{level}", rank.astype(KINDS[precision][1])),
    )


def _table(graph: Graph, plan: Plan, ranks: str, precision: str) -> str:
    trees, bits = plan.levels[0].shape
    source, rank = _tests(graph, plan, 0, precision)
    read = graph.add("Gather", [ranks, source], "read_0", axis=1)
    above = graph.add("Greater", [read, rank], "right_0")
    ones = graph.add("Cast", [above], "bits", to=TensorProto.FLOAT)
    apart = graph.add("Reshape", [ones, graph.constant("bits_shape", np.array([0, trees, bits]))], "bits_by_tree")
    powers = graph.constant("powers", (2.0 ** np.arange(bits)).astype(np.float32)[:, None])
    product = graph.add("MatMul", [apart, powers], "product")
    whole = graph.add("Squeeze", [product, graph.constant("axis_2", np.array([2]))], "number")
    number = graph.add("Cast", [whole], "number_as_index", to=TensorProto.INT32)
    first = graph.constant("first_slot", np.arange(trees, dtype=np.int32) << bits)
    return graph.add("Add", [number, first], "slot")


def _perfect(graph: Graph, plan: Plan, ranks: str, precision: str) -> str:
    double, place = graph.constant("root_doubled", np.arange(plan.trees, dtype=np.int32) * 2), ""
    for level in range(plan.depth):
        source, rank = _tests(graph, plan, level, precision)
        if level:
            source = graph.add("Gather", [source, place], f"source_at_{level}", axis=0)
            rank = graph.add("Gather", [rank, place], f"rank_at_{level}", axis=0)
            double = graph.add("Add", [place, place], f"double_{level}")
        right = _right(graph, level, ranks, source, rank, same=not level)
        place = graph.add("Add", [double, right], f"slot_{level}")
    return place


def _walk(graph: Graph, plan: Plan, ranks: str, precision: str) -> str:
    left = graph.constant("left", plan.left.astype(np.int32))
    place = roots = graph.constant("roots", np.arange(plan.trees, dtype=np.int32))
    for level in range(plan.depth):
        source, rank = _tests(graph, plan, 0, precision)
        own = graph.add("Gather", [source, place], f"source_at_{level}", axis=0)
        bound = graph.add("Gather", [rank, place], f"rank_at_{level}", axis=0)
        right = _right(graph, level, ranks, own, bound, same=place == roots)
        below = graph.add("Gather", [left, place], f"left_{level}", axis=0)
        place = graph.add("Add", [below, right], f"slot_{level}")
    return place


def _right(graph: Graph, level: int, ranks: str, source: str, bound: str, *, same: bool) -> str:
    """int32 [N, T]: 1 where the rank of ``source`` is above ``bound``. ``same``: these are [T], the same for every row,
    and not [N, T]."""
    read = graph.add("Gather" if same else "GatherElements", [ranks, source], f"read_{level}", axis=1)
    above = graph.add("Greater", [read, bound], f"right_{level}")
    return graph.add("Cast", [above], f"step_{level}", to=TensorProto.INT32)


def _margin(graph: Graph, forest: Forest) -> None:
    """``margin`` float32 [N, K] from the leaves."""
    value = graph.add("Gather", [graph.constant("leaf_value", leaf_values(forest)), LEAF], "leaf_values", axis=0)
    axis, total = graph.constant("axis_1", np.array([1])), ""
    if (forest.tree_output == VECTOR_LEAF).any():  # [N, T, K]
        total = graph.add("ReduceSum", [value, axis], "total", keepdims=0)
    elif forest.n_outputs == 1:  # [N, T]
        total = graph.add("ReduceSum", [value, axis], "total", keepdims=1)
    else:
        by_output, axis = _by_output(graph, forest, value)
        total = graph.add("ReduceSum", [by_output, axis], "total", keepdims=0)
    if forest.reduction == "average":
        total = graph.add("Div", [total, graph.constant("trees", np.float32(forest.n_trees))], "average")
    graph.add("Add", [total, graph.constant("base_scores", forest.base_scores.astype(np.float32))], "margin")


def _by_output(graph: Graph, forest: Forest, value: str) -> tuple[str, str]:
    """Values [N, T] with an axis for outputs and one for the trees that add to them, and which one that is."""
    trees, outputs = forest.n_trees, forest.n_outputs
    each = -(-trees // outputs)
    if trees == each * outputs and np.array_equal(forest.tree_output, np.tile(np.arange(outputs), each)):
        shape = graph.constant("by_round", np.array([0, each, outputs]))
        return graph.add("Reshape", [value, shape], "values_by_round"), graph.constant("axis_1", np.array([1]))
    count = np.bincount(forest.tree_output, minlength=outputs)
    column = np.full((outputs, int(count.max())), trees, np.int32)  # past the last tree: a column of zeros
    order = np.argsort(forest.tree_output, kind="stable")
    column[np.arange(column.shape[1]) < count[:, None]] = order
    padded = graph.add("Pad", [value, graph.constant("one_column", np.array([0, 0, 0, 1]))], "padded_values")
    sorted_ = graph.add("Gather", [padded, graph.constant("tree_of_output", column.ravel())], "sorted_values", axis=1)
    shape = graph.constant("by_output", np.array([0, *column.shape]))
    return graph.add("Reshape", [sorted_, shape], "values_by_output"), graph.constant("axis_2", np.array([2]))


def leaf_values(forest: Forest) -> npt.NDArray[np.float32]:
    """What the forest's leaves add, in their order: [L]; [L, K] where some tree's leaves add to every output."""
    leaf = np.flatnonzero(forest.is_leaf)
    output = forest.tree_output[forest.tree_of_node()[leaf]]
    if not (forest.tree_output == VECTOR_LEAF).any():
        single: npt.NDArray[np.float32] = forest.leaf_value[leaf, 0].astype(np.float32)
        return single
    vector = forest.leaf_value[leaf].astype(np.float32)
    own = (np.arange(forest.n_outputs) == output[:, None]) * vector[:, :1]
    return np.where((output == VECTOR_LEAF)[:, None], vector, own).astype(np.float32)
