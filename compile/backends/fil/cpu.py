"""``fil``: the forest as a Treelite checkpoint, written at the version that the Triton release's FIL reads.

Written by us, byte by byte, from Treelite's published serialization format v4: no node goes through a builder's
call, and any release's version can be written whatever Treelite is installed. Treelite reads it back for parity.
FIL has no encoder in front of it, and its regressors have one output. A program that needs either gets the encoders'
tables beside its checkpoint and is served by Triton's python backend, which runs Treelite behind them: the same tensors
for the client.
"""

from __future__ import annotations

import itertools
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ....passes import encoding
from ....passes.forest import VECTOR_LEAF, Forest, Rows
from ....passes.program import PAIRS, Postprocess, Program, encoding_tables
from ....triton_releases import Release
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported

MODEL_FILE = "checkpoint.tl"

BINARY, REGRESSOR, MULTICLASS = 0, 1, 2
"""Treelite's TaskType."""
FLOAT32, LESS, LESS_EQUAL = 2, 2, 3
"""Treelite's TypeInfo and Operator."""

FIELDS = {"node_type": "node_type", "cleft": "left", "cright": "right", "split_index": "feature",
          "default_left": "default_left", "threshold": "threshold", "cmp": "operator"}  # fmt: skip
"""Treelite's fields of a node, and ours."""

SETS = ("category_list", "category_list_begin", "category_list_end", "category_list_right_child")
"""Treelite's fields of a tree's sets of categories."""

CATEGORICAL = 2
"""Treelite's TreeNodeType of a test of a category; 0 is a leaf, 1 a test of a number."""

POSTPROCESSORS: dict[Postprocess, tuple[str, str]] = {
    "identity": ("identity", "identity_multiclass"),
    "binary": ("sigmoid", "sigmoid"),
    "sigmoid": ("sigmoid", "multiclass_ova"),
    "softmax": ("softmax", "softmax"),
    "exp": ("exponential", "exponential"),
    "hinge": ("hinge", "hinge"),
    "binary-hinge": ("hinge", "hinge"),
    "binary-raw": ("identity", "identity_multiclass"),
    "sort": ("identity", "identity_multiclass"),
    "mean-variance": ("identity", "identity_multiclass"),
}
"""Treelite's names, for one output and for several. What is left to do the runner does."""

IN_FIL: frozenset[Postprocess] = frozenset({"identity", "binary", "sigmoid", "softmax", "exp", "hinge"})
"""Answers that FIL itself gives."""

ENCODER_FILE, ENCODING_FILE = "encoder.npz", "encoding.py"


@dataclass(frozen=True)
class Fil:
    name: str = "fil"
    precision: str = "fp32"
    rank: int = 1

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        reason = _unsupported(program)
        if reason:
            return Unsupported(reason=f"fil: {reason}")
        encoded = bool(program.encoders) or program.categories is not None
        if encoded:
            np.savez(folder / ENCODER_FILE, **encoding_tables(program))  # type: ignore[arg-type]
            shutil.copyfile(encoding.__file__, folder / ENCODING_FILE)
        with (folder / MODEL_FILE).open("wb") as file:
            write(program, release.treelite, file)
        several = program.n_probabilities > 1 and source.signature.output.kind != "probability"
        in_fil = not (encoded or several or program.decision is not None) and program.postprocess in IN_FIL
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="treelite_runner",
            triton_backend="fil" if in_fil else "python",
            parameters={
                "answer": program.postprocess,
                **({"encoder": ENCODER_FILE} if encoded else {}),
                **({"decision": program.decision.how, "cut": repr(program.decision.cut)} if program.decision else {}),
            },
            requirements=(f"treelite=={release.treelite}",),
            timed_by="Treelite's interpreter, not FIL itself" if in_fil else "",
            files=(ENCODER_FILE, ENCODING_FILE) if encoded else (),
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        from ...runners.treelite_runner import Runner

        return Runner(folder / artifact.model_file, artifact.parameters, threads=1).leaves(rows, categories)  # type: ignore[no-any-return]

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        import treelite

        model = treelite.Model.deserialize(str(folder / artifact.model_file))
        got, must = _read_back(model, _vector(program.forest)), _must_be(program)
        if artifact.parameters.get("encoder"):
            with np.load(folder / ENCODER_FILE, allow_pickle=False) as held:
                got = np.concatenate([got, as_numbers({name: held[name] for name in held.files})])
            must = np.concatenate([must, as_numbers(encoding_tables(program))])
        return got, must

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        return leaf - program.forest.tree_start[:-1]


def backend() -> Backend:
    return Fil()


def _unsupported(program: Program) -> str:
    """What Treelite can't express, and why; empty where it can."""
    if program.linear is not None:
        return "a linear model has no trees"
    if not program.forest.n_trees:
        return "the model has no trees, and a checkpoint needs one"
    if program.forest.n_outputs > 1 and program.postprocess == "exp":
        return "Treelite has no transform for an exponential of each of several outputs"
    return ""


def as_numbers(tables: dict[str, npt.NDArray[Any]]) -> Table:
    """The encoders' tables, one after the other by name, byte by byte."""
    parts = [np.frombuffer(tables[name].tobytes(), np.uint8).astype(np.float64) for name in sorted(tables)]
    return np.concatenate([np.zeros(0), *parts])


def write(program: Program, version: str, file: BinaryIO) -> None:
    """The checkpoint, in Treelite's format v4 with ``version`` (4.x.y) in its header. Floats are float32."""
    forest = program.forest
    major, minor, patch = (int(part) for part in version.split("."))
    outputs, several = forest.n_outputs, forest.n_outputs > 1
    vector = _vector(forest)
    task = MULTICLASS if several else BINARY if program.postprocess in PAIRS else REGRESSOR
    _scalars(file, "<iiiBBQ", major, minor, patch, FLOAT32, FLOAT32, forest.n_trees)
    _scalars(file, "<iBBi", program.n_encoded, task, int(forest.reduction == "average"), 1)
    _array(file, np.array([outputs], "<i4"))
    _array(file, np.array([1, outputs if vector else 1], "<i4"))
    _array(file, np.zeros(forest.n_trees, "<i4"))  # the one target
    _array(file, _class_ids(forest))
    _text(file, POSTPROCESSORS[program.postprocess][several])
    _scalars(file, "<ff", 1.0, 1.0)  # sigmoid_alpha, ratio_c
    _array(file, forest.base_scores.astype("<f8"))
    _text(file, "{}")
    _scalars(file, "<i", 0)  # no optional fields a model
    columns = _columns(program)
    for t in range(forest.n_trees):
        _tree(file, forest, columns, slice(int(forest.tree_start[t]), int(forest.tree_start[t + 1])), vector=vector)


def _read_back(model: Any, vector: bool) -> Table:
    """Base scores, what each tree adds to, and every field of every node, read by Treelite."""
    header = model.get_header_accessor()
    trees = [model.get_tree_accessor(t) for t in range(model.num_tree)]
    values = ("leaf_vector",) if vector else ("leaf_value",)
    names = (*FIELDS, *SETS, *values)
    fields = [np.concatenate([tree.get_field(name) for tree in trees]) for name in names]
    return np.concatenate([header.get_field("base_scores"), header.get_field("class_id"), *fields]).astype(np.float64)


def _must_be(program: Program) -> Table:
    """The same of the lowered program, as float32 where the checkpoint has that."""
    forest, columns, vector = program.forest, _columns(program), _vector(program.forest)
    leaf = forest.leaf_value.astype(np.float32)
    values = leaf[forest.is_leaf].ravel() if vector else leaf[:, 0]
    fields = [columns[name] for name in FIELDS.values()]
    fields += _sets_of_all(forest)
    return np.concatenate([forest.base_scores, _class_ids(forest), *fields, values]).astype(np.float64)


def _class_ids(forest: Forest) -> npt.NDArray[np.int32]:
    """Which output each tree adds to; -1: to all."""
    vector = _vector(forest)
    return np.where(forest.tree_output == VECTOR_LEAF, -1 if vector else 0, forest.tree_output).astype("<i4")


def _vector(forest: Forest) -> bool:
    """Whether leaves hold a value for each of several outputs."""
    return bool(np.any(forest.tree_output == VECTOR_LEAF)) and forest.n_outputs > 1


def _columns(program: Program) -> dict[str, npt.NDArray[Any]]:
    """The node table as Treelite's fields, for all trees at once."""
    forest = program.forest
    test = ~forest.is_leaf
    start = forest.tree_start[forest.tree_of_node()]
    feature = np.full(forest.n_nodes, -1)
    feature[test] = program.columns[forest.feature[test]]
    operator = LESS if forest.comparison == "<" else LESS_EQUAL
    return {
        "node_type": np.where(forest.is_categorical, CATEGORICAL, test).astype("<i1"),
        "left": np.where(test, forest.left - start, -1).astype("<i4"),
        "right": np.where(test, forest.right - start, -1).astype("<i4"),
        "feature": feature.astype("<i4"),
        "default_left": forest.default_left.astype("<i1"),
        "leaf_value": forest.leaf_value[:, 0].astype("<f4"),
        "threshold": forest.threshold.astype("<f4"),
        "operator": np.where(test & ~forest.is_categorical, operator, 0).astype("<i1"),
    }


def _tree(file: BinaryIO, forest: Forest, columns: dict[str, npt.NDArray[Any]], nodes: slice, *, vector: bool) -> None:
    n = nodes.stop - nodes.start
    members, first, last, right = _sets(forest, nodes)
    _scalars(file, "<iB", n, int(len(members) > 0 or right.any()))
    for name in ("node_type", "left", "right", "feature", "default_left"):
        _array(file, columns[name][nodes])
    leaf = forest.is_leaf[nodes]
    _array(file, np.zeros(n, "<f4") if vector else columns["leaf_value"][nodes])
    _array(file, columns["threshold"][nodes])
    _array(file, columns["operator"][nodes])
    _array(file, right)
    width = forest.n_outputs if vector else 0
    end = (np.cumsum(leaf) * width).astype("<u8")
    _array(file, forest.leaf_value[nodes][leaf].astype("<f4").ravel() if vector else np.zeros(0, "<f4"))
    _array(file, end - (leaf * width).astype("<u8"))
    _array(file, end)
    _array(file, members)
    _array(file, first)
    _array(file, last)
    for dtype in ("<u8", "<i1", "<f8", "<i1", "<f8", "<i1"):  # data_count, sum_hess, gain, and which are present
        _array(file, np.zeros(0, dtype))
    _scalars(file, "<ii", 0, 0)  # no optional fields a tree, none a node


def _sets(forest: Forest, nodes: slice) -> tuple[npt.NDArray[Any], ...]:
    """One tree's sets: the categories of its nodes one after the other, where each node's begin and end, and whether
    they lead to its right child."""
    chosen = forest.category_set[nodes]
    size = np.where(chosen >= 0, np.diff(np.append(forest.set_start, 0))[chosen], 0)
    end = np.cumsum(size)
    begin = end - size
    at = np.repeat(forest.set_start[chosen] - begin, size) + np.arange(int(size.sum()))
    right = (chosen >= 0).astype("<i1")
    return forest.set_member[at].astype("<u4"), begin.astype("<u8"), end.astype("<u8"), right


def _sets_of_all(forest: Forest) -> list[npt.NDArray[Any]]:
    """The same of every tree, field by field."""
    if not forest.n_trees:
        return []
    spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(forest.tree_start)]
    return [np.concatenate(parts) for parts in zip(*(_sets(forest, span) for span in spans), strict=True)]


def _scalars(file: BinaryIO, layout: str, *values: float) -> None:
    file.write(struct.pack(layout, *values))


def _array(file: BinaryIO, values: npt.NDArray[Any]) -> None:
    file.write(struct.pack("<Q", len(values)))
    file.write(np.ascontiguousarray(values).tobytes())


def _text(file: BinaryIO, text: str) -> None:
    _array(file, np.frombuffer(text.encode(), np.int8))
