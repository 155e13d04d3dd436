"""Mixed precision: the fewest layers kept fp32 with which a lowered graph is close enough.

All layers low is tried first. Where that is too far off, layers are kept in the order of what they cost alone: how many
of them is found by bisection, and then each that is kept is lowered again, the cheapest first, where that still holds.
Every graph on the way is built and measured; the number of those is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ...values import LayerCost
from .gap import Accept, Gap

Measure = Callable[[Collection[str]], Gap]
"""How far the graph is from fp32 when these layers are kept."""

MOST_TRIES = 24


@dataclass(frozen=True)
class Mixture:
    """``kept``: layers in fp32. ``gap``: what that leaves; ``unmixed``: what all layers low would have left."""

    kept: frozenset[str]
    gap: Gap
    unmixed: Gap
    tries: int


def search(
    costs: Callable[[], Sequence[LayerCost]], measure: Measure, accept: Accept, most_tries: int = MOST_TRIES
) -> Mixture | None:
    """The mixture; None where no choice of layers is close enough, but to lower none of them.

    ``costs`` gives the layers, dearest first; it is asked only where all of them low isn't close enough.
    """
    unmixed = measure(())
    if accept(unmixed):
        return Mixture(frozenset(), unmixed, unmixed, 1)
    order = [cost.name for cost in costs()]
    trials = _Trials(measure, accept, most_tries - 1)
    kept = _fewest_of_the_dearest(order, trials)
    if kept is None:
        return None
    kept = _trimmed(kept, trials)
    return Mixture(frozenset(kept), trials.known[frozenset(kept)], unmixed, 1 + len(trials.known))


class _Trials:
    """What was measured, once each, within the number of tries."""

    def __init__(self, measure: Measure, accept: Accept, most: int) -> None:
        self.known: dict[frozenset[str], Gap] = {}
        self._measure, self._accept, self._most = measure, accept, most

    @property
    def left(self) -> int:
        return self._most - len(self.known)

    def hold(self, kept: Collection[str]) -> bool:
        key = frozenset(kept)
        if key not in self.known:
            self.known[key] = self._measure(key)
        return self._accept(self.known[key])


def _fewest_of_the_dearest(order: Sequence[str], trials: _Trials) -> list[str] | None:
    """The shortest beginning of ``order``, not all of it, that is enough when kept, as if more were never worse."""
    low, high = 1, len(order) - 1
    if high < low or not trials.hold(order[:high]):
        return None
    while low < high and trials.left:
        middle = (low + high) // 2
        if trials.hold(order[:middle]):
            high = middle
        else:
            low = middle + 1
    return list(order[:high])


def _trimmed(kept: list[str], trials: _Trials) -> list[str]:
    """Without those that needn't be kept, the cheapest first."""
    for name in reversed(kept):
        rest = [other for other in kept if other != name]
        if trials.left and rest and trials.hold(rest):
            kept = rest
    return kept
