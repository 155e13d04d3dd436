"""The file of the forest kernel for GPUs: written from a program. compile/kernel/cuda/forest.cu says what they are.

    0   "MILLCUDA"   8 u32 version   12 u32 CRC-32 of the bytes from 16 on   16 u64 size of the file
    24  u32 sections   28 u32 of each number in NUMBERS   128 the sections: u32 kind, u32 bytes an item, u64 offset,
    u64 items, u64 0

Little-endian; each section starts at a multiple of 64 bytes. compile/runners/cuda_forest.py reads and checks it, and
compile/kernel/cuda/cuda_forest.cpp for Triton's backend.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....passes.forest import VECTOR_LEAF, Forest
from ....passes.program import POSTPROCESSES, Program, encoding_tables
from ....passes.threshold_ranks import rank
from ...runners.cuda_forest import (
    ENTRY,
    HEADER,
    LEAF,
    LEAST_LEVELS,
    MOST_LEVELS,
    NO_SET,
    NUMBERS,
    SECTIONS,
    TREE_BYTES,
    VALUES,
    VERSION,
    WIDE,
)

ALIGNMENT = 64
MOST_COLUMNS = 65535

Arrays = dict[str, npt.NDArray[Any]]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Columns:
    """``test``: of each node its column << 16 | key, uint32 [M]; the tables of forest.cu."""

    test: npt.NDArray[np.uint32]
    feature: npt.NDArray[np.uint32]
    column: npt.NDArray[np.uint32]
    search: npt.NDArray[np.float32]
    bytes_a_rank: int


def refused(program: Program) -> str:
    """Why there is no such file of the program; empty where there is one."""
    forest = program.forest
    if program.linear is not None:
        return "a linear model has no trees"
    if program.categories is not None:
        return "the model takes categories (input__1), which are encoded on the CPU"
    vector = forest.tree_output == VECTOR_LEAF
    if vector.any() and not vector.all():
        return "some trees have leaves of one value, others have leaves of one value for each output"
    if len(_columns(forest, program.columns, 2).column) > MOST_COLUMNS:
        return f"tests read more than {MOST_COLUMNS:,} columns of ranks"
    return ""


def write(program: Program, path: Path) -> None:
    """The file of a program that isn't :func:`refused`."""
    numbers, parts = packed(program)
    entries, blobs, at = [], [], _aligned(HEADER + ENTRY * len(parts))
    for name, values in parts.items():
        blob = np.ascontiguousarray(values).tobytes()
        entries.append(struct.pack("<IIQQQ", SECTIONS.index(name) + 1, values.itemsize, at, values.size, 0))
        blobs.append(blob + bytes(_aligned(len(blob)) - len(blob)))
        at += len(blobs[-1])
    head = struct.pack(f"<{1 + len(NUMBERS)}I", len(parts), *(numbers[name] for name in NUMBERS))
    body = head + bytes(HEADER - 24 - len(head)) + b"".join(entries)
    body += bytes(_aligned(HEADER + ENTRY * len(parts)) - 24 - len(body)) + b"".join(blobs)
    checked = struct.pack("<Q", at) + body
    path.write_bytes(b"MILLCUDA" + struct.pack("<II", VERSION, zlib.crc32(checked)) + checked)


def packed(program: Program) -> tuple[dict[str, int], Arrays]:
    """The numbers and the sections of the file."""
    forest = program.forest
    kinds = [_columns(forest, program.columns, size) for size in (1, 2)]
    columns = min(kinds, key=lambda one: len(one.column) * one.bytes_a_rank)
    wide = bool(len(forest.tree_output)) and bool(forest.tree_output[0] == VECTOR_LEAF)
    order = np.arange(forest.n_trees) if wide else np.argsort(forest.tree_output, kind="stable")
    leaf = np.flatnonzero(forest.is_leaf)
    stride = -(-forest.n_outputs // WIDE) * WIDE if wide else 1
    value = np.zeros((len(leaf), stride), forest.leaf_value.dtype)
    value[:, : forest.leaf_value.shape[1]] = forest.leaf_value[leaf]
    trees = _trees(forest, columns.test, order, wide=wide)
    doubles = forest.leaf_value.dtype == np.float64
    numbers = {
        "inputs": program.n_columns,
        "columns": max(len(columns.column), 1),
        "trees": forest.n_trees,
        "outputs": forest.n_outputs,
        "answers": program.n_probabilities,
        "leaf_stride": stride,
        "wide": int(wide),
        "rank_bytes": columns.bytes_a_rank,
        "doubles": int(doubles),
        "or_equal": int(forest.comparison == "<="),
        "average": int(forest.reduction == "average"),
        "base_last": int(doubles),
        "postprocess": POSTPROCESSES.index(program.postprocess),
        "nodes": forest.n_nodes,
        "depth": forest.depth(),
    }
    counts = np.bincount(forest.tree_output[order], minlength=forest.n_outputs) if not wide else np.zeros(0, int)
    arrays: Arrays = {
        "search": columns.search,
        "feature": columns.feature.ravel(),
        "column": columns.column.ravel(),
        "member": forest.set_member.astype("<u4"),
        "set_start": forest.set_start.astype("<u4"),
        "sentinel": encoding_tables(program)["sentinels"].astype("<f4"),
        **trees,
        "tree_id": order.astype("<u4"),
        "leaf_row": leaf.astype("<i4"),
        "leaf_value": value.ravel(),
        "output_start": np.cumsum([0, *counts]).astype("<u4"),
        "base": forest.base_scores.astype(forest.leaf_value.dtype),
        "group": groups(trees["tree_at"]),
    }
    return numbers, arrays


def groups(tree_at: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Where each group of trees begins that lies in shared memory together, and the number of trees."""
    starts, room = [0], TREE_BYTES // 4
    while starts[-1] < len(tree_at) - 1:
        last = int(np.searchsorted(tree_at, tree_at[starts[-1]] + room, side="right")) - 1
        starts.append(last)
    return np.array(starts, "<u4")


def _columns(forest: Forest, sources: npt.NDArray[Any], size: int) -> Columns:
    """Columns of ``size`` bytes a rank, and what makes them. One for each feature, each run of as many of its
    thresholds as a rank holds, and each way that NaN goes; one for each of its sets likewise."""
    most = (1 << 8 * size) - 1
    test = np.flatnonzero(~forest.is_leaf)
    by_set = forest.is_categorical[test]
    number = test[~by_set]
    ranking = rank(forest.feature[number], forest.threshold[number], forest.n_features)
    place = np.zeros(len(test), np.int64)
    place[~by_set] = ranking.place
    part = np.where(by_set, forest.category_set[test], place // most)
    turn = np.argsort(sources, kind="stable")  # features ascending by source
    position = np.empty(len(sources), np.int64)
    position[turn] = np.arange(len(sources))
    parts = int(part.max(initial=0)) + 1
    left = forest.default_left[test].astype(np.int64)
    code = ((position[forest.feature[test]] * 2 + by_set) * parts + part) * 2 + left
    distinct, column = np.unique(code, return_inverse=True)
    owner, is_set, which = turn[distinct // (4 * parts)], distinct // (2 * parts) % 2 == 1, distinct // 2 % parts
    table = np.stack(
        [np.where(is_set, 0, which * most), np.where(distinct % 2 == 1, 0, most), np.where(is_set, which, NO_SET)], 1
    )
    tests = np.zeros(forest.n_nodes, np.uint32)
    tests[test] = (column.ravel() << 16 | np.where(by_set, 0, place % most)).astype(np.uint32)
    used, first = np.unique(position[owner], return_index=True)
    features, search, at = [], [], 0
    for feature, begins, ends in zip(turn[used], first, np.append(first, len(distinct))[1:], strict=True):
        own = ranking.thresholds[ranking.start[feature] : ranking.start[feature + 1]]
        levels = len(own).bit_length()
        features.append((sources[feature], begins, ends, levels, len(own), at))
        search.append(_heap(own, levels))
        at += len(search[-1])
    return Columns(
        tests,
        np.array(features, "<u4").reshape(-1, 6),
        table.astype("<u4").reshape(-1, 3),
        np.concatenate([np.zeros(0, "<f4"), *search]).astype("<f4"),
        size,
    )


def _heap(thresholds: npt.NDArray[np.float32], levels: int) -> npt.NDArray[np.float32]:
    """A perfect search tree from 1 on, padded with infinities."""
    out = np.full(1 << levels, np.inf, np.float32)
    padded = np.full((1 << levels) - 1, np.inf, np.float32)
    padded[: len(thresholds)] = thresholds
    for level in range(levels):
        step = 1 << (levels - level)
        out[1 << level : 2 << level] = padded[step // 2 - 1 :: step]
    return out


def _trees(forest: Forest, test: npt.NDArray[np.uint32], order: Integers, *, wide: bool) -> Arrays:
    """The heaps, the targets of their slots and the nodes below them, trees in ``order``."""
    level = _levels_of_nodes(forest)
    tree = forest.tree_of_node()
    depth = np.zeros(forest.n_trees, np.int64)
    np.maximum.at(depth, tree, level)
    many = np.bincount(tree[forest.is_leaf], minlength=forest.n_trees)
    ample = np.ceil(np.log2(np.maximum(many, 1))).astype(np.int64)
    levels = np.clip(np.where(depth <= MOST_LEVELS, depth, ample), LEAST_LEVELS, MOST_LEVELS)
    direct = (depth <= levels) & (not wide)
    words = forest.leaf_value.dtype.itemsize // 4
    size = (1 << levels) * (1 + direct * words)
    tree_at = np.concatenate([[0], np.cumsum(size[order])])
    tree_slot = np.concatenate([[0], np.cumsum(1 << levels[order])])
    place = np.empty(forest.n_trees, np.int64)
    place[order] = np.arange(forest.n_trees)
    target, deep = _targets(forest, test, level >= levels[tree], level)
    stream, slots = np.zeros(tree_at[-1], "<u4"), np.zeros(tree_slot[-1], "<u4")
    for p in np.unique(levels):
        for values in (False, True):
            own = np.flatnonzero((levels == p) & (direct == values))
            if not len(own):
                continue
            heap, last = _heaps(forest, test, forest.tree_start[own], int(p))
            heap[:, 0] = p | (VALUES if values else 0)
            parts = [heap]
            if values:
                value = np.ascontiguousarray(forest.leaf_value[last][..., 0])
                parts.append(value.view("<u4").reshape(len(own), -1))
            chunk = np.concatenate(parts, axis=1)
            stream[tree_at[place[own]][:, None] + np.arange(chunk.shape[1])] = chunk
            slots[tree_slot[place[own]][:, None] + np.arange(1 << p)] = target[last]
    return {
        "tree": stream,
        "tree_at": tree_at.astype("<u4"),
        "tree_slot": tree_slot[:-1].astype("<u4"),
        "slot_target": slots,
        "deep": deep.ravel(),
    }


def _heaps(
    forest: Forest, test: npt.NDArray[np.uint32], roots: npt.NDArray[Any], levels: int
) -> tuple[npt.NDArray[np.uint32], Integers]:
    """Of some trees [t, 2^levels]: the tests of heap nodes (place 0 is free), and the node that each slot stands for. A
    leaf above the slots is at all places below it, whatever is tested there."""
    heap = np.zeros((len(roots), 1 << levels), np.uint32)
    at = roots.astype(np.int64)[:, None]
    for level in range(levels):
        heap[:, 1 << level : 2 << level] = test[at]
        leaf = forest.is_leaf[at]
        children = [np.where(leaf, at, side[at]) for side in (forest.left, forest.right)]
        at = np.stack(children, axis=2).reshape(len(roots), -1)
    return heap, at


def _targets(
    forest: Forest, test: npt.NDArray[np.uint32], is_below: npt.NDArray[np.bool_], level: Integers
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Each node as a target, and the table of the nodes that are walked: parents before their children."""
    leaf = np.flatnonzero(forest.is_leaf)
    walked = np.flatnonzero(~forest.is_leaf & is_below)
    walked = walked[np.argsort(level[walked], kind="stable")]
    target = np.zeros(forest.n_nodes, np.uint32)
    target[leaf] = np.arange(len(leaf)) + LEAF
    target[walked] = np.arange(len(walked))
    deep = np.zeros((len(walked), 4), "<u4")
    deep[:, 0], deep[:, 1], deep[:, 2] = test[walked], target[forest.left[walked]], target[forest.right[walked]]
    return target, deep


def _levels_of_nodes(forest: Forest) -> Integers:
    """[M]: tests above each node."""
    out = np.zeros(forest.n_nodes, np.int64)
    at, depth = forest.tree_start[:-1].astype(np.int64), 0
    while len(at):
        out[at] = depth
        tests = at[~forest.is_leaf[at]]
        at, depth = np.concatenate([forest.left[tests], forest.right[tests]]).astype(np.int64), depth + 1
    return out


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
