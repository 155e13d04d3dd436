"""What each layer costs: alone at the lower precision, all others fp32, against fp32 on rows that judge."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...values import LayerCost
from .gap import Gap, gap
from .lowering import Lowering
from .running import Answers, Feeds, answers


def sensitivity(lowering: Lowering, rows: Feeds, reference: Answers) -> tuple[LayerCost, ...]:
    """One line a layer, the dearest first. ``reference``: fp32's answers to ``rows``, float32 [N, K]."""
    names = [layer.name for layer in lowering.layers]
    found = [
        LayerCost(
            name=layer.name, operator=layer.operator,
            error=measured(lowering, [name for name in names if name != layer.name], rows, reference).error,
        )
        for layer in lowering.layers
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda cost: -cost.error))


def measured(lowering: Lowering, kept: Collection[str], rows: Feeds, reference: Answers) -> Gap:
    """How far the graph with ``kept`` layers in fp32 is from fp32. Raises :class:`.lowering.NotLoweredError`."""
    return gap(reference, answers(lowering.typed(kept), rows))


def marked(costs: Sequence[LayerCost], kept: Collection[str]) -> tuple[LayerCost, ...]:
    """The same lines, saying which layers stayed fp32."""
    return tuple(
        LayerCost(name=cost.name, operator=cost.operator, error=cost.error, kept=cost.name in kept) for cost in costs
    )
