"""Reads and checks the file that compile/backends/native/cuda_file.py wrote, before any of it goes to a GPU: there a
wrong number would read or write where it mustn't, or never end. Standalone: numpy only."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VERSION, HEADER, ENTRY = 1, 128, 32
NUMBERS = (
    "inputs", "columns", "trees", "outputs", "answers", "leaf_stride", "wide", "rank_bytes", "doubles", "or_equal",
    "average", "base_last", "postprocess", "nodes", "depth",
)  # fmt: skip
SECTIONS = (
    "search", "feature", "column", "member", "set_start", "sentinel", "tree", "tree_at", "tree_id", "tree_slot",
    "slot_target", "deep", "leaf_row", "leaf_value", "output_start", "base", "group",
)  # fmt: skip
"""Kinds of sections, from 1 on."""
FLOATS, SIGNED, OWN = ("search", "sentinel"), ("leaf_row",), ("leaf_value", "base")
VALUES, LEAF, NO_SET, CATEGORIES = 256, 1 << 31, 0xFFFFFFFF, 1 << 24
LEAST_LEVELS, MOST_LEVELS = 3, 8
"""Of a tree's heap: the kernel compares three at once; what lies below the eighth is walked in the GPU's caches."""
TREE_BYTES = 16384
"""Of shared memory for a group of trees; ``kTreeBytes`` of forest.cu."""
WIDE = 4
MOST = 1 << 28
MOST_BLOCKS = 65535
"""Of a grid's second dimension."""
PAIRS, MEAN_VARIANCE, POSTPROCESSES = (2, 6, 7), 9, 10


class ForestError(ValueError):
    """The file isn't a forest for this kernel."""


@dataclass(frozen=True, eq=False)
class CudaForest:
    numbers: dict[str, int]
    arrays: dict[str, Any]


def read(path: Path) -> CudaForest:
    """Raises ForestError for a file that isn't whole, of this version and sound."""
    blob = Path(path).read_bytes()
    try:
        found = _read(blob)
        _check(found.numbers, found.arrays)
    except ForestError as error:
        raise ForestError(f"{path}: {error}") from None
    return found


def _read(blob: bytes) -> CudaForest:
    _require(len(blob) >= HEADER and blob[:8] == b"MILLCUDA", "not a forest for the CUDA kernel")
    version, crc, size = struct.unpack_from("<IIQ", blob, 8)
    _require(version == VERSION, f"version {version} of the file; this runner reads {VERSION}")
    _require(size == len(blob), f"{len(blob)} bytes where it says {size}")
    _require(crc == zlib.crc32(blob[16:]), "the file has changed since it was written")
    count, *values = struct.unpack_from(f"<{1 + len(NUMBERS)}I", blob, 24)
    numbers = dict(zip(NUMBERS, values, strict=True))
    _require(count == len(SECTIONS) and HEADER + ENTRY * count <= size, f"{count} sections")
    arrays: dict[str, Any] = {}
    for i in range(count):
        kind, item, offset, items, _ = struct.unpack_from("<IIQQQ", blob, HEADER + ENTRY * i)
        _require(1 <= kind <= len(SECTIONS), f"a section of kind {kind}")
        name = SECTIONS[kind - 1]
        dtype = np.dtype(_dtype(name, numbers["doubles"]))
        _require(name not in arrays and item == dtype.itemsize, f"{name}: twice, or of another type")
        _require(offset % 64 == 0 and offset <= size and items <= (size - offset) // item, f"{name}: beyond the file")
        arrays[name] = np.frombuffer(blob, dtype, items, offset)
    return CudaForest(numbers, arrays)


def _dtype(name: str, doubles: int) -> str:
    if name in OWN:
        return "<f8" if doubles else "<f4"
    return "<f4" if name in FLOATS else "<i4" if name in SIGNED else "<u4"


def _check(n: dict[str, int], a: dict[str, Any]) -> None:
    """Every index that a kernel follows is in range, and every walk ends."""
    flags = ("wide", "doubles", "or_equal", "average", "base_last")
    _require(all(n[name] <= 1 for name in flags) and n["rank_bytes"] in (1, 2), "a flag that is neither 0 nor 1")
    _require(1 <= n["columns"] <= 65536 and 1 <= n["outputs"] <= 1 << 20, "its number of columns or outputs")
    _require(not n["wide"] or n["outputs"] <= WIDE * MOST_BLOCKS, "its number of columns or outputs")
    _require(n["inputs"] < MOST and n["trees"] < MOST, "its number of features or trees")
    _require(n["postprocess"] < POSTPROCESSES, f"postprocess {n['postprocess']}")
    pair = n["postprocess"] in PAIRS
    _require(not (pair and n["outputs"] != 1), "two classes of more than one output")
    _require(not (n["postprocess"] == MEAN_VARIANCE and n["outputs"] != 2), "mean and variance of other than two")
    _require(n["answers"] == (2 if pair else n["outputs"]), "its number of answers")
    stride = -(-n["outputs"] // WIDE) * WIDE if n["wide"] else 1
    _require(n["leaf_stride"] == stride and len(a["base"]) == n["outputs"], "its base scores or leaves")
    _require(
        bool(np.all(np.isfinite(a["base"]))) and bool(np.all(np.isfinite(a["leaf_value"]))), "a value isn't finite"
    )
    _check_features(n, a)
    _check_trees(n, a)


def _check_features(n: dict[str, int], a: dict[str, Any]) -> None:
    _require(len(a["feature"]) % 6 == 0 and len(a["column"]) % 3 == 0, "its features or columns")
    feature = a["feature"].reshape(-1, 6).astype(np.int64)
    source, first, last, levels, count, table = feature.T
    _require(bool(np.all(source < n["inputs"]) and np.all(np.diff(source) >= 0)), "a feature reads another column")
    starts = np.concatenate([[0], last])
    _require(bool(np.all(first == starts[:-1]) and np.all(first < last)), "the columns of its features")
    _require(int(starts[-1]) == len(a["column"]) // 3 <= n["columns"], "its number of columns")
    _require(bool(np.all(levels <= 24)), "a search that is too deep")
    _require(bool(np.all(count < 1 << levels) and np.all(table + (1 << levels) <= len(a["search"]))), "a search table")
    _require(not np.any(np.isnan(a["search"])) and not np.any(np.isnan(a["sentinel"])), "a threshold is NaN")
    _require(len(a["set_start"]) >= 1 and a["set_start"][0] == 0, "its sets")
    _require(bool(np.all(np.diff(a["set_start"].astype(np.int64)) >= 0)), "its sets")
    _require(int(a["set_start"][-1]) == len(a["member"]) and bool(np.all(a["member"] < CATEGORIES)), "its sets")
    column = a["column"].reshape(-1, 3)
    most = (1 << 8 * n["rank_bytes"]) - 1
    _require(bool(np.all(column[:, 1] <= most)), "a rank of NaN")
    _require(
        bool(np.all((column[:, 2] == NO_SET) | (column[:, 2] < len(a["set_start"]) - 1))), "a set that isn't there"
    )


def _check_trees(n: dict[str, int], a: dict[str, Any]) -> None:
    trees, at = n["trees"], a["tree_at"].astype(np.int64)
    _require(len(at) == trees + 1 and at[0] == 0 and int(at[-1]) == len(a["tree"]), "where its trees begin")
    _require(bool(np.all(np.diff(at) > 0)) and not np.any(at % 4), "where its trees begin")
    _require(len(a["tree_id"]) == len(a["tree_slot"]) == trees, "its number of trees")
    _require(np.array_equal(np.sort(a["tree_id"]), np.arange(trees)), "the numbers of its trees")
    header = a["tree"][at[:-1]].astype(np.int64)
    levels, direct = header & 255, header & VALUES
    _require(not np.any(header & ~(VALUES | 255)), "the header of a tree")
    _require(bool(np.all((levels >= LEAST_LEVELS) & (levels <= MOST_LEVELS))), "the levels of a tree")
    _require(not (n["wide"] and np.any(direct)), "the values of a tree")
    size = (1 << levels) * (1 + (direct > 0) * (2 if n["doubles"] else 1))
    _require(np.array_equal(np.diff(at), size), "the size of a tree")
    # A heap's own words: all but its header and the values behind it.
    inside = np.arange(len(a["tree"])) - np.repeat(at[:-1], size)
    tests = a["tree"][(inside > 0) & (inside < np.repeat(1 << levels, size))]
    _require(bool(np.all(tests >> 16 < n["columns"])), "a test of a column that isn't there")
    slot = a["tree_slot"].astype(np.int64)
    _require(bool(np.all(slot + (1 << levels) <= len(a["slot_target"]))), "the slots of a tree")
    leaves = len(a["leaf_row"])
    _require(len(a["leaf_value"]) == leaves * n["leaf_stride"], "the values of its leaves")
    _require(bool(np.all((a["leaf_row"] >= 0) & (a["leaf_row"] < max(n["nodes"], 1)))), "the numbers of its leaves")
    _require(len(a["deep"]) % 4 == 0, "its deep nodes")
    deep = a["deep"].reshape(-1, 4)
    _require(bool(np.all(deep[:, 0] >> 16 < n["columns"])), "a test of a column that isn't there")
    _require_targets(a["slot_target"], leaves, len(deep), np.zeros(len(a["slot_target"]), np.int64))
    for side in (1, 2):  # children come after their parents: a walk ends
        _require_targets(deep[:, side], leaves, len(deep), np.arange(1, len(deep) + 1))
    start = a["output_start"].astype(np.int64)
    _require(len(start) == n["outputs"] + 1 if not n["wide"] else len(start) >= 1, "the trees of its outputs")
    if not n["wide"]:
        _require(
            start[0] == 0 and int(start[-1]) == trees and bool(np.all(np.diff(start) >= 0)), "the trees of its outputs"
        )
    group = a["group"].astype(np.int64)
    _require(len(group) >= 1, "its groups of trees")
    _require(group[0] == 0 and int(group[-1]) == trees and bool(np.all(np.diff(group) > 0)), "its groups of trees")
    _require(bool(np.all(np.diff(at[group]) * 4 <= TREE_BYTES)), "a group of trees is too large")


def _require_targets(target: Any, leaves: int, nodes: int, least: Any) -> None:
    leaf = (target & LEAF) > 0
    number = (target & (LEAF - 1)).astype(np.int64)
    _require(bool(np.all(number[leaf] < leaves)), "a leaf that isn't there")
    _require(bool(np.all((number[~leaf] < nodes) & (number[~leaf] >= least[~leaf]))), "a node that isn't there")


def _require(so: bool, what: str) -> None:
    if not so:
        raise ForestError(what)
