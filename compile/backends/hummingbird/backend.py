"""``hummingbird``: trees as Hummingbird's tensor operators, between our encoders and our answers, for ONNX Runtime.

Hummingbird itself works in an environment of its own (``millwork toolchain install hummingbird``), fed with our forest
(:mod:`.feed`); what it made is read here as a graph, and judged leaf by leaf as any other::

    input__0, input__1 -> encoders (onnx_encoders) -> row [N, W] -> sources [N, V], no NaN left
    -> Hummingbird's operators, ending in Gather(leaf_table, slot) and a ReduceSum -> margin [N, K] -> the answer
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from ....errors import ModelError
from ....passes.forest import Forest, Rows
from ....passes.graph.operators import foreign
from ....passes.program import Program
from ....triton_releases import Release
from ..base import Artifact, Backend, Leaves, Source, Table, Unsupported
from ..onnx.artifact import constants
from ..onnx.encoders import Graph, encoded
from ..onnx.layout import layout
from ..onnx.probe import asked, cut_off
from ..onnx.writer import finished
from .conversion import LEAVES_FILE, TREES_FILE, Converted, read_reply
from .feed import BASE_TREES, Feed, feed, values

MODEL_FILE = "model.onnx"
LEAF_TABLE, SLOT = "leaf_table", "slot"
"""Rows a call, when leaves are asked for."""


@dataclass(frozen=True)
class Hummingbird:
    name: str = "hummingbird"
    precision: str = "fp32"
    rank: int = 5

    def build(self, program: Program, source: Source, folder: Path, release: Release) -> Artifact | Unsupported:
        made = feed(program)
        if isinstance(made, str):
            return Unsupported(reason=f"hummingbird: {made}")
        if not source.converted:
            return Unsupported(
                reason="hummingbird: it runs in its own environment, which only `millwork optimize` starts"
            )
        said = read_reply(Path(source.converted))
        model = spliced(program, made, Path(source.converted), said, release, source.signature.provenance.sha256)
        (folder / MODEL_FILE).write_bytes(model.SerializeToString())
        np.save(folder / LEAVES_FILE, np.load(Path(source.converted) / LEAVES_FILE, allow_pickle=False))
        return Artifact(
            backend=self.name,
            precision=self.precision,
            model_file=MODEL_FILE,
            runner="onnx_runner",
            triton_backend="onnxruntime",
            parameters={},
            requirements=("onnxruntime",),
            foreign=foreign(model),
            passes=(said.note,),
        )

    def leaves(self, artifact: Artifact, folder: Path, rows: Rows, categories: Any = None) -> Leaves:
        """Of each row the places of its leaves among the forest's, by the slots that the graph itself looks up."""
        probe = slot_probe(onnx.load_model(str(folder / artifact.model_file)))
        leaf = np.load(folder / LEAVES_FILE, allow_pickle=False)
        slots = np.concatenate([part.ravel() for part in asked(probe, artifact.parameters, rows, categories)])
        return np.asarray(leaf[slots.reshape(len(rows), -1)][:, BASE_TREES:], np.int32)

    def node_table(self, artifact: Artifact, folder: Path, program: Program) -> tuple[Table, Table] | None:
        """The base scores; what Hummingbird's table adds in each slot of a leaf, and what that leaf adds; then each
        leaf of the forest once. Its tests are padded and reordered by it: rows alone show that they are right."""
        model = onnx.load_model(str(folder / artifact.model_file))
        leaf = np.load(folder / LEAVES_FILE, allow_pickle=False)
        forest = program.forest
        table = constants(model, [LEAF_TABLE]).reshape(len(leaf), -1)
        per_tree = len(leaf) // (forest.n_trees + BASE_TREES)
        of_leaf = values(forest)[forest.is_leaf].astype(np.float64)
        first = np.repeat(leaves_before(forest), per_tree)
        table, base, leaf = table[per_tree:], table[:per_tree], leaf[per_tree:]
        used = leaf >= 0
        place = (leaf + first)[used]
        seen = np.full(of_leaf.shape, np.nan)
        seen[place] = table[used]
        got = [base[base.any(axis=1)][:1].ravel(), table[used].ravel(), seen.ravel()]
        added = forest.base_scores.astype(np.float32)
        must = [added if added.any() else added[:0], of_leaf[place].ravel(), of_leaf.ravel()]
        return np.concatenate(got), np.concatenate(must).astype(np.float64)

    def expected(self, program: Program, leaf: Leaves, framework_leaf: Leaves) -> Leaves:
        forest = program.forest
        place = np.cumsum(forest.is_leaf) - 1
        return (place[leaf] - leaves_before(forest)).astype(np.int32)


def leaves_before(forest: Forest) -> npt.NDArray[np.int64]:
    """[T]: how many leaves the trees before each have."""
    return np.concatenate([[0], np.cumsum(forest.is_leaf)])[forest.tree_start[:-1]].astype(np.int64)


def spliced(
    program: Program, made: Feed, folder: Path, said: Converted, release: Release, source_sha256: str
) -> onnx.ModelProto:
    """Hummingbird's graph in ``folder`` behind the program's encoders, in front of its answer."""
    graph = Graph()
    row = encoded(graph, program, layout(program))
    read = graph.add("Gather", [row, graph.constant("source_column", made.column)], "source_x", axis=1)
    missing = graph.add("IsNaN", [read], "source_is_missing")
    sources = graph.add("Where", [missing, graph.constant("missing_value", made.missing[None, :]), read], "sources")
    theirs = onnx.load_model(str(folder / TREES_FILE)).graph
    if len(theirs.input) != 1 or len(theirs.output) != 1:
        raise ModelError(f"Hummingbird's graph has {len(theirs.input)} inputs and {len(theirs.output)} outputs, not 1")
    names = {theirs.input[0].name: sources, theirs.output[0].name: "margin", said.table: LEAF_TABLE}
    looked_up = [node for node in theirs.node if node.op_type == "Gather" and node.input[0] == said.table]
    if len(looked_up) != 1:
        raise ModelError(f"Hummingbird's graph looks leaves up in {len(looked_up)} places, not 1")
    names[looked_up[0].input[1]] = SLOT
    for one in theirs.initializer:
        graph.constant(names.get(one.name, f"hummingbird/{one.name}"), numpy_helper.to_array(one))
    for node in theirs.node:
        moved = onnx.NodeProto()
        moved.CopyFrom(node)
        moved.name = ""
        del moved.input[:], moved.output[:]
        moved.input.extend(names.get(name, f"hummingbird/{name}" if name else "") for name in node.input)
        moved.output.extend(names.get(name, f"hummingbird/{name}") for name in node.output)
        graph.nodes.append(moved)
    return finished(graph, program, release, source_sha256)


def slot_probe(model: onnx.ModelProto) -> onnx.ModelProto:
    """The built model cut off where it has the slots: int64 [N * (1 + T)], row by row."""
    return cut_off(model, SLOT, TensorProto.INT64, None)


def backend() -> Backend:
    return Hummingbird()
