"""``millwork predict``: the published artifact, run here without a server."""

from __future__ import annotations

from ..commands.options import PredictOptions
from .command import command


@command(PredictOptions)
def predict(options: PredictOptions) -> int:
    """Run a published version on the rows of a file."""
    from ..commands import predict as predictions
    from .console import Console, plain

    Console().print(plain(predictions.predict(options)), soft_wrap=True)
    return 0
