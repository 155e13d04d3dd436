"""Whether a net answers the same rows as before: without that there is no answer to hold anything to."""

from __future__ import annotations

import torch

from ....errors import ModelError
from . import probing
from .interface import Interface
from .run_net import Run, first

REPEATED = 1e-6
"""Of the answers' own size: more than threads that add up in another order make of the same rows."""
ASKED = 264


def require_repeatable(run: Run, interface: Interface, known: probing.Known) -> None:
    """ModelError where the same rows are answered differently from call to call."""
    together = probing.rows(run, interface, known, size=ASKED)
    with torch.no_grad():
        require_same(first(run(*together)), first(run(*together)))


def require_same(one: torch.Tensor, again: torch.Tensor) -> None:
    """ModelError where two answers to the same rows are further apart than another order of adding up makes them."""
    if one.shape == again.shape:
        size = float(one.abs().nan_to_num(posinf=0.0).max()) if one.numel() else 0.0
        apart = float((one - again).abs().nan_to_num(nan=0.0).max()) if one.numel() else 0.0
        if apart <= REPEATED * max(size, 1e-6) and not bool((one.isnan() != again.isnan()).any()):
            return
        how = f"by {apart:.3g}"
    else:
        how = f"{list(one.shape)}, then {list(again.shape)}"
    raise ModelError(
        f"the net's answers differ from call to call on the same rows ({how}): dropout or noise is left on in forward",
        "Give functional dropout training=self.training, and add noise only where self.training is set.",
    )
