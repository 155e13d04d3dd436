"""The passes by what a spec calls them, and the sequences that are run. Two passes of one spelling are an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from ..errors import InternalError, UsageError
from .base import P, Pass, R, UntilStable
from .graph.batch_last import BatchLast
from .graph.constant_sizes import ConstantSizes
from .graph.graph_pass import GraphRewrite
from .graph.pair_products import PairProducts
from .graph.short_sums import ShortSums
from .graph.tidy import Tidy
from .program import Program
from .trees.drop_unreachable import DropUnreachable
from .trees.drop_unused_features import DropUnusedFeatures
from .trees.fold_missing import FoldMissing
from .trees.merge_equal_leaves import MergeEqualLeaves
from .trees.slice_iterations import SliceIterations
from .trees.tree_pass import TreeRewrite

OfTrees = Pass[Program, TreeRewrite]
OfGraphs = Pass[onnx.ModelProto, GraphRewrite]


def by_spec(*passes: Pass[P, R]) -> dict[str, Pass[P, R]]:
    """The passes by their specs. InternalError where two have the same one."""
    found = {step.spec: step for step in passes}
    if len(found) < len(passes):
        raise InternalError(f"two passes have the same spec: {spec(passes)}")
    return found


def spec(passes: Sequence[Pass[P, R]]) -> str:
    """The sequence as text; :func:`parse` or :func:`parse_graph` reads it back."""
    return ",".join(step.spec for step in passes)


PASSES: dict[str, OfTrees] = by_spec(
    SliceIterations(),
    FoldMissing(),
    DropUnreachable(),
    MergeEqualLeaves(),
    DropUnusedFeatures(),
)

LOWERING: tuple[OfTrees, ...] = (
    SliceIterations(),
    FoldMissing(),
    UntilStable((DropUnreachable(), MergeEqualLeaves())),
    DropUnusedFeatures(),
)
"""What every model of trees goes through."""

GRAPH_PASSES: dict[str, OfGraphs] = by_spec(
    Tidy(),
    Tidy(keep_equal=True),
    ConstantSizes(),
    ShortSums(),
    PairProducts(),
    BatchLast(),
)

NET_LOWERING: tuple[OfGraphs, ...] = (Tidy(),)
"""What every net goes through."""

FOR_CPU: tuple[OfGraphs, ...] = (ConstantSizes(), ShortSums(), PairProducts(), BatchLast())
"""A net's finished graph for ONNX Runtime's CPU kernels: the same numbers by operators that those are faster at."""

WRITTEN: tuple[OfGraphs, ...] = (Tidy(keep_equal=True),)
"""A graph that was written from a model of trees."""


def parse(text: str) -> tuple[OfTrees, ...]:
    """``a,until-stable(b,c),d`` as passes on trees. UsageError names a pass that doesn't exist."""
    return _parse(text, PASSES)


def parse_graph(text: str) -> tuple[OfGraphs, ...]:
    """The same of passes on graphs."""
    return _parse(text, GRAPH_PASSES)


def _parse(text: str, known: Mapping[str, Pass[P, R]]) -> tuple[Pass[P, R], ...]:
    begin, end = f"{UntilStable.name}(", ")"
    passes: list[Pass[P, R]] = []
    for item in _split(text):
        if item.startswith(begin) and item.endswith(end):
            passes.append(UntilStable(_parse(item.removeprefix(begin).removesuffix(end), known)))
        elif item in known:
            passes.append(known[item])
        else:
            raise UsageError(f"unknown pass {item!r}", f"Known passes: {', '.join(known)}.")
    return tuple(passes)


def _split(text: str) -> list[str]:
    """Split at commas that stand outside brackets."""
    items, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            items.append(text[start:i])
            start = i + 1
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]
