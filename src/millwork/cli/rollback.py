"""``millwork rollback``: let an earlier version serve again."""

from __future__ import annotations

from ..commands.options import RollbackOptions
from .command import command


@command(RollbackOptions)
def rollback(options: RollbackOptions) -> int:
    """Let an earlier version serve again.

    Its configuration is put back atomically, and verified on a real Triton.
    """
    from ..commands import rollback as rollbacks
    from .console import Console
    from .terminal import TerminalProgress

    with TerminalProgress(Console()) as progress:
        rollbacks.rollback(options, progress)
    return 0
