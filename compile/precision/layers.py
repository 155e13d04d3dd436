"""What each layer costs: alone at the lower precision, all others fp32, against fp32 on rows that judge."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...values import LayerCost
from .gap import Gap, Judge
from .lowering import Lowering


def sensitivity(lowering: Lowering, judge: Judge) -> tuple[LayerCost, ...]:
    """One line a layer, the dearest first."""
    names = [layer.name for layer in lowering.layers]
    found = [
        LayerCost(
            name=layer.name,
            operator=layer.operator,
            error=measured(lowering, [name for name in names if name != layer.name], judge).error,
        )
        for layer in lowering.layers
    ]
    return tuple(sorted(found, key=lambda cost: -cost.error))


def measured(lowering: Lowering, kept: Collection[str], judge: Judge) -> Gap:
    """How far the graph with ``kept`` layers in fp32 is from fp32. Raises :class:`.lowering.NotLoweredError`."""
    return judge.of(lowering.typed(kept))


def marked(costs: Sequence[LayerCost], kept: Collection[str]) -> tuple[LayerCost, ...]:
    """The same lines, saying which layers stayed fp32."""
    return tuple(
        LayerCost(name=cost.name, operator=cost.operator, error=cost.error, kept=cost.name in kept) for cost in costs
    )
