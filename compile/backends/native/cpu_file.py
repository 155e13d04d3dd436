"""The packed file of the forest kernel: written from a program, and read back. compile/kernel/packed.h defines it.

    0   "MILLWORK"   8 u32 version   12 u32 CRC-32 of the bytes from 16 on   16 u64 size of the file
    24  u32: sections, columns, encoded columns, features F, trees T, outputs K, values a leaf D, nodes M, leaves L
    60  u8: comparison (1: <=), reduction (1: average), leaf type (1: double), postprocess   64 u32 0
    68  u32 1: base scores are added last   128 the sections: u32 kind, u32 bytes an item, u64 offset, u64 items, u64 0

Little-endian; each section starts at a multiple of 64 bytes.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ModelError
from ....passes.categories import Categories
from ....passes.forest import Forest
from ....passes.program import POSTPROCESSES, Program, encoding_tables
from ....passes.threshold_ranks import rank

VERSION, HEADER, ENTRY, ALIGNMENT = 1, 128, 32, 64

SECTIONS = (
    "columns", "tree_start", "feature", "test", "flags", "left", "right", "leaf_value", "leaf_number", "tree_output",
    "base_scores", "threshold_start", "thresholds", "set_start", "set_member", "sentinels", "vocabulary_start",
    "word_start", "word_bytes", "word_integers", "hashes", "code_feature", "code_table", "ctr_shape", "ctr_categories",
    "ctr_columns", "ctr_borders", "ctr_nan", "ctr_features", "ctr_values", "ctr_keys", "ctr_table",
)  # fmt: skip
"""Kinds of sections, from 1 on."""

NAN_LEFT, CATEGORICAL = 1, 2
"""A node's flags."""

Sections = dict[str, npt.NDArray[Any]]


def write(program: Program, path: Path) -> None:
    """The program's packed file: the same program is the same file, wherever and whenever it is written."""
    parts = sections(program)
    entries, blobs, at = [], [], _aligned(HEADER + ENTRY * len(parts))
    for name, values in parts.items():
        blob = np.ascontiguousarray(values).tobytes()
        entries.append(struct.pack("<IIQQQ", SECTIONS.index(name) + 1, values.itemsize, at, values.size, 0))
        blobs.append(blob + bytes(_aligned(len(blob)) - len(blob)))
        at += len(blobs[-1])
    forest = program.forest
    head = struct.pack(
        "<9I4B2I",
        len(parts),
        program.n_columns,
        program.n_encoded,
        forest.n_features,
        forest.n_trees,
        forest.n_outputs,
        forest.leaf_value.shape[1],
        forest.n_nodes,
        int(forest.is_leaf.sum()),
        forest.comparison == "<=",
        forest.reduction == "average",
        forest.leaf_value.dtype == np.float64,
        POSTPROCESSES.index(program.postprocess),
        0,
        forest.leaf_value.dtype == np.float64,
    )
    body = head + bytes(HEADER - 24 - len(head)) + b"".join(entries)
    body += bytes(_aligned(HEADER + ENTRY * len(parts)) - 24 - len(body)) + b"".join(blobs)
    checked = struct.pack("<Q", at) + body
    path.write_bytes(b"MILLWORK" + struct.pack("<II", VERSION, zlib.crc32(checked)) + checked)


def sections(program: Program) -> Sections:
    """Every section of the file by name."""
    forest = program.forest
    test = ~forest.is_leaf
    start, thresholds, place = _thresholds(forest)
    which = np.where(forest.is_categorical, forest.category_set, place)
    flags = (forest.default_left & test) * NAN_LEFT + forest.is_categorical * CATEGORICAL
    leaf = np.flatnonzero(~test)
    out: Sections = {
        "columns": program.columns.astype("<u4"),
        "tree_start": forest.tree_start.astype("<u4"),
        "feature": forest.feature.astype("<i4"),
        "test": np.where(test, which, 0).astype("<u4"),
        "flags": flags.astype("u1"),
        "left": np.where(test, forest.left, 0).astype("<u4"),
        "right": np.where(test, forest.right, 0).astype("<u4"),
        "leaf_value": forest.leaf_value[leaf].ravel(),
        "leaf_number": forest.leaf_number[leaf].astype("<i4"),
        # a vector of one value is a value
        "tree_output": forest.tree_output.clip(-1 if forest.n_outputs > 1 else 0).astype("<i4"),
        "base_scores": forest.base_scores.astype(forest.leaf_value.dtype),
        "threshold_start": start.astype("<u4"),
        "thresholds": thresholds.astype("<f4"),
        "set_start": forest.set_start.astype("<u4"),
        "set_member": forest.set_member.astype("<u4"),
        "sentinels": encoding_tables(program)["sentinels"].astype("<f4"),
    }
    return out if program.categories is None else out | _encoders(program.categories)


def read(path: Path) -> Sections:
    """Every section of a packed file. ModelError where it isn't one; the library checks much more."""
    blob = path.read_bytes()
    if len(blob) < HEADER or blob[:8] != b"MILLWORK" or zlib.crc32(blob[16:]) != struct.unpack_from("<I", blob, 12)[0]:
        raise ModelError(f"{path}: not a packed forest")
    found: Sections = {}
    doubles = blob[62]
    for i in range(struct.unpack_from("<I", blob, 24)[0]):
        kind, item, offset, count, _ = struct.unpack_from("<IIQQQ", blob, HEADER + ENTRY * i)
        name = SECTIONS[kind - 1]
        found[name] = np.frombuffer(blob, _dtype(name, item, doubles=bool(doubles)), count, offset)
    return found


def _dtype(name: str, item: int, *, doubles: bool) -> str:
    if name in ("leaf_value", "base_scores"):
        return "<f8" if doubles else "<f4"
    if name in ("thresholds", "sentinels", "code_table", "ctr_borders", "ctr_table"):
        return "<f4"
    signed = name in ("feature", "leaf_number", "tree_output", "word_integers", "hashes", "ctr_values")
    return f"<{'i' if signed else 'u'}{item}"


def _thresholds(forest: Forest) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Where each feature's distinct thresholds begin, the thresholds, and each test's place among its feature's."""
    number = np.flatnonzero(~forest.is_leaf & ~forest.is_categorical)
    ranking = rank(forest.feature[number], forest.threshold[number], forest.n_features)
    place = np.zeros(forest.n_nodes, np.int64)
    place[number] = ranking.place
    return ranking.start, ranking.thresholds, place


def _encoders(categories: Categories) -> Sections:
    words = categories.vocabularies
    out: Sections = {"vocabulary_start": _starts(len(own) for own in words)}
    if categories.integer:
        out["word_integers"] = np.array([word for own in words for word in own], "<i8")
    else:
        texts = [str(word).encode() for own in words for word in own]
        out["word_start"] = _starts(map(len, texts))
        out["word_bytes"] = np.frombuffer(b"".join(texts), "u1")
    if categories.hashes:
        out["hashes"] = np.concatenate(categories.hashes).astype("<i8")
    out["code_feature"] = np.array([code.feature for code in categories.codes], "<u4")
    out["code_table"] = np.concatenate([np.zeros(0, "<f4"), *(code.table for code in categories.codes)]).astype("<f4")
    ctrs = categories.ctrs
    out["ctr_shape"] = np.array(
        [[len(c.categories), len(c.columns), len(c.features), len(c.keys), c.width] for c in ctrs], "<u4"
    ).ravel()
    for name, dtype in (
        ("categories", "<u4"),
        ("columns", "<u4"),
        ("borders", "<f4"),
        ("nan", "u1"),
        ("features", "<u4"),
        ("values", "<i8"),
        ("keys", "<u8"),
        ("table", "<f4"),
    ):
        parts = [getattr(ctr, name).ravel() for ctr in ctrs]
        out[f"ctr_{name}"] = np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in parts)]).astype(dtype)
    return out


def _starts(sizes: Any) -> npt.NDArray[np.uint32]:
    return np.cumsum([0, *sizes]).astype("<u4")


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
