"""The forest passes by name, and the order that lowering runs them in. A clash of names is an error."""

from __future__ import annotations

from ..errors import UsageError
from .base import Pass, UntilStable
from .trees.drop_unreachable import DropUnreachable
from .trees.drop_unused_features import DropUnusedFeatures
from .trees.fold_missing import FoldMissing
from .trees.merge_equal_leaves import MergeEqualLeaves
from .trees.slice_iterations import SliceIterations

PASSES: dict[str, Pass] = {
    step.name: step
    for step in (
        SliceIterations(),
        FoldMissing(),
        DropUnreachable(),
        MergeEqualLeaves(),
        DropUnusedFeatures(),
    )
}

LOWERING: tuple[Pass, ...] = (
    SliceIterations(),
    FoldMissing(),
    UntilStable((DropUnreachable(), MergeEqualLeaves())),
    DropUnusedFeatures(),
)


def spec(passes: tuple[Pass, ...]) -> str:
    """The sequence as text; :func:`parse` reads it back."""
    return ",".join(step.name for step in passes)


def parse(text: str) -> tuple[Pass, ...]:
    """``a,until-stable(b,c),d`` as passes. UsageError names a pass that doesn't exist."""
    passes: list[Pass] = []
    for item in _split(text):
        if item.startswith("until-stable(") and item.endswith(")"):
            passes.append(UntilStable(parse(item.removeprefix("until-stable(")[:-1])))
        elif item in PASSES:
            passes.append(PASSES[item])
        else:
            raise UsageError(f"unknown pass {item!r}", f"Known passes: {', '.join(PASSES)}.")
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
