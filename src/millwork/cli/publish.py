"""``millwork publish``: publish what a run, dry or not, has chosen."""

from __future__ import annotations

from ..commands.options import PublishOptions
from .command import command


@command(PublishOptions)
def publish(options: PublishOptions) -> int:
    """Publish what the run in RUN_DIR chose.

    It is verified on a real Triton, as optimize does.
    """
    from ..commands import publish as publications
    from .console import Console
    from .terminal import TerminalProgress

    with TerminalProgress(Console()) as progress:
        publications.publish(options, progress)
    return 0
